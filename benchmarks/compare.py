"""Every CPU row of the table: `taskset -c 1 python -m benchmarks.compare [case ...]`.

One thread; README.md explains the method, `common` holds what is measured and who measures.
"""

import sys

import torch

from benchmarks.common.cases import CASES, REACHED
from benchmarks.common.measure import Session
from benchmarks.common.providers import providers_of
from benchmarks.common.record import keep, machine, newest, read, timed, write

PUBLISHED = "dense channels, as published"


def main(names: list[str]) -> None:
    """Measure the named cases, or all."""
    unknown = sorted(set(names) - set(CASES))
    if unknown:
        sys.exit(f"case must be one of {', '.join(CASES)}; got {', '.join(unknown)}")
    torch.set_num_threads(1)
    session = Session(lambda work: timed(work, seconds=1.5))
    for name in names or CASES:
        for provider in providers_of(name, CASES[name]):
            keep(session.row(name, provider)[0], provider.package)
    if not names:  # a full run replaces what this machine had before
        rows, mine = read(), machine()
        write([row for row in rows if row["device"] != mine] + newest(rows, mine))
    speedups()


def speedups() -> None:
    """Fill the column: against the published iteration, or the fastest peer at the same error."""
    table = read()
    for row in newest(table):
        row["speedup"] = ""
        rivals = [
            float(other["cpu_ms"])
            for other in newest(table)
            if other["case"] == row["case"] and other["cpu_ms"] and is_rival(other)
        ]
        if rivals and row["cpu_ms"] and row["provider"].startswith("multisk"):
            row["speedup"] = f"{min(rivals) / float(row['cpu_ms']):.3g}"
    write(table)


def is_rival(row: dict[str, str]) -> bool:
    """Whose time the speed-up is taken against."""
    if row["case"] in CASES and CASES[row["case"]].budget:
        return row["provider"] == PUBLISHED
    mine = row["provider"].startswith("multisk")
    return not mine and float(row["marginal_error"]) <= 1.01 * REACHED


if __name__ == "__main__":
    main(sys.argv[1:])
