"""The scores read by loops that numba compiles for the CPU."""
