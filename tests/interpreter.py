"""Triton's interpreter, made quick, and made to run the programs of a launch out of order.

A launch, and every call of a function inside it, replaces all of `triton.language` by what the
interpreter understands; every number it makes builds the table of dtypes. Both are always the same
and cost more than half of the kernel suite's time. What is computed stays as it is.

On a GPU the programs of a launch come in any order; the interpreter takes them one by one, in
ascending order, and hides a program that needs what an earlier one wrote. Here they come in an
order of their own, the same at every launch of the same grid.
"""

import random


class _Stays:
    """What was replaced once stays so: there is nothing to restore after a launch."""

    def restore(self):
        pass


def once_a_module(patch):
    """`_patch_lang`, done at the first call from each module's functions."""
    done = {}

    def patched(function):
        names = function.__globals__
        if id(names) not in done:
            patch(function)
            done[id(names)] = names  # held, so that no other module gets its id
        return _Stays()

    return patched


def once_a_name(find):
    """`_get_np_dtype`, looked up by the name of a value's dtype, or of a block's values."""
    known = {}

    def found(dtype):
        name = dtype.scalar.name
        if name not in known:
            known[name] = find(dtype.scalar)
        return known[name]

    return found


QUICKER = {"_patch_lang": once_a_module, "_get_np_dtype": once_a_name}


def quicken():
    """Put both in place, once a process; a Triton without them is left as it is."""
    from triton.runtime import interpreter

    for name, made in QUICKER.items():
        plain = getattr(interpreter, name, None)
        if plain is not None and not hasattr(plain, "plain"):
            quick = made(plain)
            quick.plain = plain
            setattr(interpreter, name, quick)


def permute_programs():
    """Take the programs of every launch in a random order, once a process."""
    from triton.runtime.interpreter import InterpreterBuilder

    if hasattr(InterpreterBuilder, "in_turn"):
        return
    plain = InterpreterBuilder.set_grid_dim, InterpreterBuilder.set_grid_idx

    def set_grid_dim(self, *sizes):
        plain[0](self, *sizes)
        draw = random.Random(repr(sizes))  # by the grid alone: a test run by itself fails likewise
        self.turns = [draw.sample(range(size), size) for size in sizes]

    def set_grid_idx(self, *place):
        plain[1](self, *(turn[at] for turn, at in zip(self.turns, place, strict=True)))

    InterpreterBuilder.in_turn = plain
    InterpreterBuilder.set_grid_dim = set_grid_dim
    InterpreterBuilder.set_grid_idx = set_grid_idx
