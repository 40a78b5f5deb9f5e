"""A solution as one line, and as a small table in a notebook."""

import html

import torch
from torch import Tensor

from multisk._problem.problem import has_values
from multisk._problem.status import Status
from multisk._solution.answer import Answer

LINES = 32  # columns, and problems of a batch, that the table shows


def line(solution: Answer) -> str:
    """Shape, verdict, error, steps and who solved it; reads the device."""
    plan = solution.plan
    kind = str(plan.dtype).removeprefix("torch.")
    shape = " x ".join(map(str, plan.shape))
    head = f"Solution(plan {shape} {kind} on {plan.device}"
    if not has_values(solution.raw.error):
        return f"{head}, by {solution.solver})"

    return f"{head}, {verdict(solution)}, {by(solution)})"


def verdict(solution: Answer) -> str:
    """The status of one problem, or how many of a batch converged, with the worst error."""
    codes, error = solution.status_code.flatten(), solution.marginal_error.flatten()
    if not codes.numel():
        return "no problem"

    good = int((codes == Status.CONVERGED.code).sum())
    first = list(Status)[int(codes[0])].name
    word = first if codes.numel() == 1 else f"{good} of {codes.numel()} converged"
    return f"{word}, error {float(error.max()):.1e}"


def by(solution: Answer) -> str:
    """Steps, solver and backend."""
    steps = solution.steps.flatten()
    most = int(steps.max()) if steps.numel() else 0
    return f"{most} step{'' if most == 1 else 's'} of {solution.solver} by {solution.backend}"


def table(solution: Answer) -> str:
    """HTML: the verdict, and what each column carries."""
    head = f"<b>{html.escape(line(solution))}</b>"
    if not has_values(solution.raw.error) or not solution.plan.numel():
        return f"<div>{head}</div>"

    with torch.no_grad():
        loads = solution.flat_plan.double().sum(-2).cpu()

    problems = [problem(solution, index, loads[index]) for index in range(len(loads[:LINES]))]
    more = len(loads) - len(problems)
    rest = f"<p>and {more} more problems</p>" if more > 0 else ""
    return f"<div>{head}{''.join(problems)}{rest}</div>"


def problem(solution: Answer, index: int, loads: Tensor) -> str:
    """One problem: its status in words, and a bar for the load of every column."""
    status = list(Status)[int(solution.status_code.flatten()[index])]
    error = float(solution.marginal_error.flatten()[index])
    most = max(float(loads.nan_to_num(0.0).max()), 1e-300)
    bars = "".join(
        f"<tr><td>{column}</td><td>{load:.4g}</td><td>"
        f'<div style="width:{100 * max(load, 0.0) / most:.0f}px;height:.7em;background:#4a90d9">'
        "</div></td></tr>"
        for column, load in enumerate(loads[:LINES].nan_to_num(0.0).tolist())
    )
    more = len(loads) - LINES
    rest = f"<tr><td colspan=3>and {more} more columns</td></tr>" if more > 0 else ""
    name = f"problem {index}: " if solution.status_code.numel() > 1 else ""

    return (
        f"<p>{name}{html.escape(status.value)} Marginal error {error:.1e}.</p>"
        f"<table><tr><th>column</th><th>load</th><th></th></tr>{bars}{rest}</table>"
    )
