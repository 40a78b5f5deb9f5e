"""Who reads the scores: plain torch, compiled loops on the CPU, or Triton kernels."""
