"""Triton kernels of multisk, one operation a file: the formula, its kernels, its launcher.

Importing this package loads nothing; import the file you need. Launchers allocate, choose a grid
and launch: no autograd, no host synchronisation, no checks (those stand in ``multisk``).
"""

from importlib.util import find_spec

if find_spec("triton") is None:
    raise ModuleNotFoundError(
        "multisk.kernels needs Triton 3.4 or newer, which is not installed (pip install triton, "
        "on Linux); multisk.solve runs without it, by compiled loops or plain torch operations",
        name="triton",
    )
