"""The files of `multisk.kernels`, each imported where it is first used.

Triton takes a second to load and is missing on many machines, so nothing of it may load with
`import multisk`. Whoever runs a kernel writes `kernels.plan.assign(...)`; this is the only place
that imports them.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multisk.kernels import (  # noqa: F401
        birkhoff,
        column,
        depth,
        gradient,
        groups,
        newton,
        plan,
        resident,
        row,
        search,
        sweep,
        unroll,
        wide,
    )
else:

    def __getattr__(name: str) -> ModuleType:
        """Called once a file: afterwards it is an attribute like any other."""
        if name.startswith("_"):
            raise AttributeError(name)
        found = globals()[name] = import_module(f"multisk.kernels.{name}")
        return found
