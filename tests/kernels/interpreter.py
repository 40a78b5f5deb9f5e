"""Triton's interpreter, made quick, and made to run the programs of a launch out of order.

A launch, and every call of a function inside it, replaces all of `triton.language` by what the
interpreter understands; every number it makes builds the table of dtypes. Both are always the same
and cost more than half of the kernel suite's time. What is computed stays as it is.

On a GPU the programs of a launch come in any order; the interpreter takes them one by one, in
ascending order, and hides a program that needs what an earlier one wrote. Here they come in an
order of their own, the same at every launch of the same grid.
"""

import contextlib
import random
import threading


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


class Together:
    """The programs of a launch side by side, each in a thread, one of which runs at a time.

    A program hands over at every atomic operation and at every barrier of its own, to one drawn at
    random. So a program that waits for the others comes to its end, which it does not where the
    interpreter takes programs one after the other.
    """

    def __init__(self, seed):
        self.draw, self.turn = random.Random(seed), threading.Condition()
        self.running, self.waiting, self.handed, self.failed = None, set(), 0, []

    def launch(self, kernel, grid, given, options):
        """Run `kernel[grid](*given, **options)` on tensors of the processor."""
        from triton.runtime import interpreter

        names = kernel.arg_names
        bound = dict(zip(names, given, strict=False))
        bound |= {name: value for name, value in options.items() if name in names}
        constants = interpreter.GridExecutor(kernel.fn, names, grid).constexprs
        arguments = {
            name: value if name in constants else interpreter._implicit_cvt(value)
            for name, value in bound.items()
        }
        self.builder = interpreter.interpreter_builder
        interpreter._patch_lang(kernel.fn)
        self.builder.set_grid_dim(*grid, 1, 1)
        self.waiting = set(range(grid[0]))
        threads = [
            threading.Thread(target=self._program, args=(at, kernel.fn, arguments))
            for at in range(grid[0])
        ]
        with self.turn:
            self._next()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failed:
            raise self.failed[0]

    def hand_over(self):
        """Let another program run, and wait for one's turn."""
        with self.turn:
            place, me = self.builder.grid_idx, self.running
            self.waiting.add(me)
            self.handed += 1
            self._next()
            self.turn.wait_for(lambda: self.running == me)
            self.builder.grid_idx = place

    def _program(self, at, function, arguments):
        with self.turn:
            self.turn.wait_for(lambda: self.running == at)
            self.builder.grid_idx = (at, 0, 0)
        try:
            function(**arguments)
        except Exception as error:
            self.failed.append(error)
        with self.turn:
            self._next()

    def _next(self):
        self.running = self.draw.choice(sorted(self.waiting)) if self.waiting else None
        self.waiting.discard(self.running)
        self.turn.notify_all()


@contextlib.contextmanager
def side_by_side(seed):
    """Within it the programs of a launch run side by side; yields how they took turns."""
    import triton
    from triton.runtime.interpreter import InterpreterBuilder

    together = Together(seed)
    plain, atomic = triton.KernelInterface.__getitem__, InterpreterBuilder.create_atomic_rmw
    barrier = InterpreterBuilder.create_barrier

    def launcher(kernel, grid):
        return lambda *given, **options: together.launch(kernel, grid, given, options)

    def handing(operation):
        def done(*given, **options):
            result = operation(*given, **options)
            together.hand_over()
            return result

        return done

    triton.KernelInterface.__getitem__ = launcher
    InterpreterBuilder.create_atomic_rmw = handing(atomic)
    InterpreterBuilder.create_barrier = handing(barrier)
    try:
        yield together
    finally:
        triton.KernelInterface.__getitem__ = plain
        InterpreterBuilder.create_atomic_rmw = atomic
        InterpreterBuilder.create_barrier = barrier
