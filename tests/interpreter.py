"""Triton's interpreter, made to prepare once what it prepares anew at every call.

A launch, and every call of a function inside it, replaces all of `triton.language` by what the
interpreter understands; every number it makes builds the table of dtypes. Both are always the same
and cost more than half of the kernel suite's time. What is computed stays as it is.
"""


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
