"""Every provider on every case, by pytest-benchmark: `pytest benchmarks` (see README.md).

What does not depend on the machine's mood is asserted here: steps, errors, certificates, memory.
"""

import pytest

from benchmarks.common.cases import CASES, REACHED
from benchmarks.common.providers import providers_of

ALL = [
    pytest.param(name, provider, id=f"{name}-{provider.name}")
    for name, case in CASES.items()
    for provider in providers_of(name, case)
]
STEPS = {"warm": 2, "Newton": 6}  # passes that a solve may take at most
LARGE = ("rows 2^18", "tall")  # enough cells for the interpreter's own memory not to count


@pytest.mark.parametrize(("name", "provider"), ALL)
def test_a_provider_reaches_what_it_claims(name, provider, measure):
    row = measure(name, provider)
    if not provider.name.startswith("multisk"):
        return
    case, error = CASES[name], float(row["marginal_error"])
    # Sums of float32 plans carry the rounding of their cells.
    claim = 1e-6 if case.budget else REACHED
    assert error <= (2e-6 if "Sinkhorn" in provider.name and case.budget else 1.2 * claim)
    assert float(row["gap"]) <= 1e-6
    if case.budget and "Newton" in provider.name:
        assert row["steps"] <= next(most for word, most in STEPS.items() if word in provider.name)
    if name in LARGE:
        assert float(row["extra_mb"]) <= 0.25 * (float(row["input_mb"]) + float(row["plan_mb"]))
