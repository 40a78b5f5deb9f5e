"""Types of public arguments: for editors, type checkers and the reference.

At run time they stand for anything, because what an argument must be is checked by us, with a
sentence; a runtime type checker would answer before that.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup

    Whole = int
    Number = int | float
    Budget = int | Tensor | tuple[int | Tensor, int | Tensor] | list[int | Tensor]
    Temperature = int | float | Tensor
    Load = int | float | Tensor
    Masses = Tensor | tuple[Load, Load] | list[Load]
    Capacity = Load | tuple[Load, Load] | list[Load]
    Yielding = float | Tensor | None
    Relaxed = tuple[Yielding, Yielding] | list[Yielding]
    Scores = Tensor
    Values = Tensor
    Count = int
    Real = int | float
    Group = ProcessGroup
else:  # NumPy's scalars are taken as well, and become Python's at once
    Whole = int | np.integer
    Number = int | float | np.integer | np.floating
    Budget = Temperature = Load = Masses = Capacity = Relaxed = Any
    Scores = Values = Count = Real = Group = Any
