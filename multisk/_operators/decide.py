"""The cells that budgets decide, as one operator, which may look at what a graph does not know."""

from torch import Tensor
from torch.library import custom_op

from multisk._problem.cells import passes


@custom_op("multisk::decide", mutates_args=())
def decide(
    free: Tensor,
    row_least: Tensor,
    row_most: Tensor,
    column_least: Tensor,
    column_most: Tensor,
) -> tuple[Tensor, Tensor]:
    """The cells (B, N, K) that stay free, and those that are 1.

    Args:
        free: (B, N, K), True where a cell may be more than 0.
        row_least: Bounds of the rows' sums from below, (B, N).
        row_most: The same from above.
        column_least: Bounds of the columns' sums from below, (B, K).
        column_most: The same from above.
    """
    rows, columns = (row_least, row_most), (column_least, column_most)
    still, ones, _ = passes(free, rows, columns, None, read=True)
    return (still.clone() if still is free else still), ones


@decide.register_fake
def _(
    free: Tensor,
    row_least: Tensor,
    row_most: Tensor,
    column_least: Tensor,
    column_most: Tensor,
) -> tuple[Tensor, Tensor]:
    return free.new_empty(free.shape), free.new_empty(free.shape)
