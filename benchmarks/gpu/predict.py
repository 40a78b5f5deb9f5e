"""What a case has to move and to compute, and the time an H100 or H200 needs for that at least.

    python -m benchmarks.gpu.predict        writes results/predicted.csv; nothing in it was measured

Bytes are those that must pass the memory: the scores once where they stay in the second cache,
else once a visit, and the plan written once. Operations are counted in the kernels' sources, a
cell and visit. The K x K part of a Newton step is three TF32 products up to 128 columns; above,
every round of conjugate gradients reads the scores once more, which is not counted. The floor
is the largest of the four times: a kernel cannot be faster, and need not come near it.
"""

from dataclasses import dataclass

from benchmarks.common.cases import CASES, Case
from benchmarks.common.table import RESULTS, upsert

CACHE = 32 << 20  # bytes of scores that stay in a second cache of 50 MB
NAMES = ("paper", "step", "tall", "large", "wide", "many", "transport", "square transport")
NAMES += ("transports",)


@dataclass(frozen=True)
class Chip:
    """The vendor's figures, a second."""

    bytes: float
    flops: float
    tensor: float  # TF32, dense

    @property
    def special(self) -> float:
        """Exponentials, logarithms, reciprocals: 16 where 128 multiply-adds are done."""
        return self.flops / 16


CHIPS = {
    "H100": Chip(3.35e12, 6.7e13, 4.95e14),
    "H200": Chip(4.8e12, 6.7e13, 4.95e14),
}


@dataclass(frozen=True)
class Visits:
    """How often a provider goes over the scores, and what it does to a cell each time."""

    count: int
    plain: int
    special: int
    square: bool = False
    passes: int = 1  # readings or writings of a table a visit


WORK = {
    "newton": Visits(5, 64, 10, square=True),
    "sinkhorn": Visits(20, 40, 8),
    "newton, backward": Visits(2, 24, 3, square=True, passes=2),
    "sinkhorn, backward": Visits(21, 70, 10, passes=3),
}
TRANSPORT = {"sinkhorn": Visits(20, 16, 3), "newton": Visits(5, 40, 4, square=True)}

# Microseconds on an H100, a factor of two either way: counts of machine instructions, of waves and
# of launches at 1.8 GHz, before any of it ran. `gpu.csv` has them beside what was measured.
EXPECTED = {
    ("paper", "sinkhorn", "eager"): 500,
    ("paper", "sinkhorn", "graph"): 480,
    ("paper", "sinkhorn, one launch a sweep", "graph"): 300,
    ("paper", "newton", "eager"): 1000,
    ("paper", "newton", "graph"): 240,
    ("paper", "newton", "backward"): 1250,
    ("step", "newton", "eager"): 1100,
    ("step", "newton", "graph"): 550,
    ("step", "sinkhorn", "eager"): 1200,
    ("step", "sinkhorn", "graph"): 600,
    ("tall", "newton", "eager"): 5000,
    ("tall", "newton", "graph"): 5000,
    ("large", "newton", "eager"): 2000,
    ("large", "newton", "graph"): 1400,
    ("wide", "newton", "eager"): 2000,
    ("wide", "newton", "graph"): 1500,
    ("many", "newton", "eager"): 2000,
    ("many", "newton", "graph"): 2000,
    ("many", "sinkhorn", "eager"): 1000,
    ("many", "sinkhorn", "graph"): 1000,
}


def main() -> None:
    """Write and print one row a case and provider."""
    rows = [
        row_of(name, CASES[name], provider, visits)
        for name in NAMES
        for provider, visits in (WORK if CASES[name].budget else TRANSPORT).items()
    ]
    upsert(RESULTS / "predicted.csv", rows, ("case", "provider"))
    for row in rows:
        print(*row.values())


def row_of(name: str, case: Case, provider: str, visits: Visits) -> dict[str, object]:
    """Counts and floors."""
    moved, work, special, tensor = counts(case, visits)
    row: dict[str, object] = {
        "case": name,
        "shape": "x".join(str(size) for size in case.shape),
        "provider": provider,
        "visits": visits.count,
        "bytes": moved,
        "operations": work,
        "special_functions": special,
        "tensor_operations": tensor,
    }
    for chip, speed in CHIPS.items():
        bounds = times((moved, work, special, tensor), speed)
        row[f"floor_us_{chip.lower()}"] = round(1e6 * max(bounds), 1)
        row[f"bound_{chip.lower()}"] = ("memory", "arithmetic", "special functions", "tensor")[
            bounds.index(max(bounds))
        ]
    return row | {"measured": "not measured"}


def times(done: tuple[int, int, int, int], chip: Chip) -> tuple[float, ...]:
    """Seconds for bytes, operations, special functions and tensor operations, each by itself."""
    speeds = (chip.bytes, chip.flops, chip.special, chip.tensor)
    return tuple(count / speed for count, speed in zip(done, speeds, strict=True))


def visits(case: Case, provider: str, mode: str) -> list[Visits]:
    """What a provider of ours does to the scores, forward and backward; nothing for the others."""
    known, name = (WORK if case.budget else TRANSPORT), provider.split(",")[0]
    names = [name, f"{name}, backward"] if mode == "backward" else [name]
    if provider.endswith("steps") or not known.keys() >= set(names):
        return []
    return [known[name] for name in names]


def floor(case: Case, provider: str, mode: str, device: str) -> float | str:
    """Microseconds that a call takes at least; "" for an unknown chip or provider."""
    chip = next((CHIPS[name] for name in CHIPS if name in device), None)
    parts = visits(case, provider, mode)
    if chip is None or not parts:
        return ""
    return round(sum(1e6 * max(times(counts(case, part), chip)) for part in parts), 1)


def counts(case: Case, visits: Visits) -> tuple[int, int, int, int]:
    """Bytes, operations, special functions, tensor operations."""
    cells, width = case.cells, case.shape[-1]
    table = 4 * cells
    often = 1 if table <= CACHE else visits.count * visits.passes
    squares = 3 * 2 * width if visits.square and width <= 128 else 0
    done = visits.count * cells
    return table * (often + 1), done * visits.plain, done * visits.special, done * squares


if __name__ == "__main__":
    main()
