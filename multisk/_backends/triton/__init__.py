"""The scores read by Triton kernels, behind operators of torch.library."""
