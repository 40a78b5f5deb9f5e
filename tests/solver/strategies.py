"""Random problems for property tests: always feasible, sizes small, all from one seed."""

import torch
from hypothesis import settings
from hypothesis import strategies as st

FEW = settings(max_examples=max(10, settings().max_examples // 3))  # for dear properties


@st.composite
def shapes(draw, *, rows=12, columns=8, least=1):
    """N, K and k with 1 <= k < K where K allows it."""
    n = draw(st.integers(least, rows))
    columns = draw(st.integers(2, columns))
    return n, columns, draw(st.integers(1, columns - 1))


@st.composite
def scores(draw, n, k, *, batch=(), scale=1.0, dtype=torch.float64):
    """Standard normal scores times `scale`."""
    seed = draw(st.integers(0, 2**31 - 1))
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*batch, n, k, generator=generator, dtype=torch.float64).to(dtype)


def unit_scores(n, k, *, seed=0, width=32, dtype=torch.float64):
    """Cosines between random unit vectors, as a contrastive encoder gives them."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, width, generator=generator, dtype=torch.float64)
    columns = torch.randn(k, width, generator=generator, dtype=torch.float64)
    normal = torch.nn.functional.normalize
    return (normal(rows, dim=-1) @ normal(columns, dim=-1).T).to(dtype)
