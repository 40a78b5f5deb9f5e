"""Check the kernels on a GPU, then time them: `python -m benchmarks.gpu --out DIR`."""
