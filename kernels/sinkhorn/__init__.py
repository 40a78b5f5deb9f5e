"""Triton kernels of multisk, one operation a file: the formula, its kernels, its launcher.

Importing this package loads nothing; import the file you need. Launchers allocate, choose a grid
and launch: no autograd, no host synchronisation, no checks (those stand in ``multisk``).
"""
