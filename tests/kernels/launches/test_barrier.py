"""The barrier of `resident.py` in every order in which its programs can be run.

A program writes its partial sums, adds one to a counter, waits until all have, reads the partial
sums of all, and goes on with the next sweep. The model takes these steps one at a time, in every
interleaving (as a sequentially consistent memory shows them). That the steps are seen in this order
by other multiprocessors is the matter of the instructions: `test_compile.py` reads them.
"""

from dataclasses import dataclass, replace

import pytest

EMPTY = -1


@dataclass(frozen=True)
class Program:
    """Where one program stands: its sweep, and `write`, `arrive`, `wait` or the next it reads."""

    sweep: int = 0
    at: str | int = "write"


@dataclass(frozen=True)
class State:
    """All programs, the counter, and the sweep whose sums stand in each place of each half."""

    programs: tuple[Program, ...]
    arrived: int
    halves: tuple[tuple[int, ...], ...]


class StaleError(Exception):
    """A program read partial sums of another sweep than its own."""


def explore(programs, sweeps, halves, arrived=0):
    """How many states there are, and how many of them cannot go on; StaleError for a bad read."""
    start = State((Program(),) * programs, arrived, ((EMPTY,) * programs,) * halves)
    seen, left, stuck = {start}, [start], 0
    while left:
        state = left.pop()
        following = list(successors(state, sweeps))
        done = all(program.sweep == sweeps for program in state.programs)
        stuck += not following and not done
        for after in following:
            if after not in seen:
                seen.add(after)
                left.append(after)
    return len(seen), stuck


def successors(state, sweeps):
    """The states after one step of any program that can take one."""
    for turn, program in enumerate(state.programs):
        if program.sweep < sweeps:
            after = stepped(state, turn, program)
            if after is not None:
                yield after


def stepped(state, turn, program):
    """One step of one program; None while it waits."""
    count, half = len(state.programs), program.sweep % len(state.halves)
    if program.at == "write":
        line = put(state.halves[half], turn, program.sweep)
        state = replace(state, halves=put(state.halves, half, line))
        return moved(state, turn, replace(program, at="arrive"))
    if program.at == "arrive":
        state = replace(state, arrived=state.arrived + 1)
        return moved(state, turn, replace(program, at="wait"))
    if program.at == "wait":
        opened = state.arrived >= (program.sweep + 1) * count
        return moved(state, turn, replace(program, at=0)) if opened else None
    if state.halves[half][program.at] != program.sweep:
        raise StaleError
    if program.at + 1 < count:
        return moved(state, turn, replace(program, at=program.at + 1))
    return moved(state, turn, Program(program.sweep + 1))


def moved(state, turn, program):
    return replace(state, programs=put(state.programs, turn, program))


def put(line, at, value):
    return (*line[:at], value, *line[at + 1 :])


@pytest.mark.parametrize(("programs", "sweeps"), [(2, 5), (3, 4), (4, 2)])
def test_nobody_reads_a_stale_sum_and_nobody_waits_for_ever(programs, sweeps):
    states, stuck = explore(programs, sweeps, halves=2)
    assert states > 100
    assert stuck == 0


def test_with_one_half_a_sum_is_overwritten_before_it_is_read():
    with pytest.raises(StaleError):
        explore(programs=2, sweeps=2, halves=1)


def test_a_counter_that_starts_too_high_opens_too_early():
    with pytest.raises(StaleError):
        explore(programs=2, sweeps=2, halves=2, arrived=1)


def test_a_counter_that_starts_too_low_never_opens():
    assert explore(programs=2, sweeps=2, halves=2, arrived=-1)[1] > 0
