"""What the tests read in PTX: the order of loads, stores and barriers, and a race of warps."""

import re
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^\s*(?:@!?(?P<guard>%p\d+)\s+)?(?P<code>[a-z][\w.:]*)\s+(?P<rest>.*);")
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,]+")
_REGISTER = re.compile(r"%[a-z]+\d+")
_ADDRESS = re.compile(r"(%rd\d+)\s*(?:\+\s*(-?\d+))?")
_SUM = re.compile(r"^(%rd\d+), (%rd\d+), (-?\d+)$")
SINKS = ("st", "red", "bra", "bar", "ret")  # they have no result


@dataclass(frozen=True)
class Instruction:
    """One line: what it does, to what, from what; `place` is a global address."""

    code: str  # as ld.global.cg.v4.b32, atom.global.gpu.acq_rel.add.u32, bar.sync
    guarded: bool = False  # whether some threads leave it out
    results: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    place: tuple[str, int] | None = None  # base register and offset

    def is_a(self, *starts):
        return self.code.startswith(starts)


def ptx_of(record):
    """The PTX of a kernel that `compile_only` compiled."""
    return Path(
        next(path for path in record["files"].values() if path.endswith(".ptx"))
    ).read_text()


def instructions(ptx):
    """All of them, in the order of the text; equal addresses are equal places."""
    found, moved = [], {}
    for line in ptx.splitlines():
        seen = _LINE.match(line)
        if seen is None:
            continue
        code, rest = seen["code"], seen["rest"]
        if code == "add.s64" and (plus := _SUM.match(rest)):
            base, offset = moved.get(plus[2], (plus[2], 0))
            moved[plus[1]] = base, offset + int(plus[3])
        operands = [part.strip() for part in _OPERAND.findall(rest) if part.strip()]
        count = 0 if code.startswith(SINKS) else 1
        results = frozenset(_REGISTER.findall(" ".join(operands[:count])))
        sources = frozenset(_REGISTER.findall(" ".join([seen["guard"] or "", *operands[count:]])))
        place = None
        if ".global" in code:
            address = _ADDRESS.search(next(part for part in operands if part.startswith("[")))
            base, offset = moved.get(address[1], (address[1], 0))
            place = base, offset + int(address[2] or 0)
        found.append(Instruction(code, seen["guard"] is not None, results, sources, place))
    return found


def races(found):
    """Places that all threads read and one then writes, with no barrier between.

    A warp that is late reads what another has written already. That does no harm where the value
    goes nowhere but into that store, as when a counter is raised.
    """
    read, hits = {}, []
    for turn, instruction in enumerate(found):
        if instruction.is_a("bar"):
            read.clear()
        elif instruction.is_a("ld.global") and not instruction.guarded:
            read[instruction.place] = turn
        elif instruction.is_a("st.global") and instruction.guarded:
            at = read.get(instruction.place)
            if at is not None and _goes_elsewhere(found, at, instruction.place):
                hits.append(instruction.place)
    return hits


def _goes_elsewhere(found, at, place):
    """Whether what is loaded at `at` reaches more than stores to `place`."""
    tainted = set(found[at].results)
    for instruction in found[at + 1 :]:
        if not tainted & instruction.sources:
            continue
        if instruction.is_a("st.global") and instruction.place == place:
            continue
        if not instruction.results:
            return True
        tainted |= instruction.results
    return False


def barrier_faults(found):
    """What a grid barrier lacks: all sums are seen before it opens, none is read from a stale line.

    Stores of all threads, then a barrier of the program, then one thread's release of the counter;
    its acquire, a barrier of the program, then loads that pass by the first cache (`.cg`).
    """
    seen = [one for one in found if one.place is not None or one.is_a("bar")]
    adds = [at for at, one in enumerate(seen) if one.is_a("atom", "red")]
    spins = [at for at, one in enumerate(seen) if one.is_a("ld.global") and "acquire" in one.code]
    if len(adds) != 1 or len(spins) != 1 or adds > spins:
        return [f"{len(adds)} additions and {len(spins)} acquiring loads, or not in this order"]
    [add], [spin], faults = adds, spins, []
    if ".gpu.acq_rel.add" not in seen[add].code or ".gpu.acquire" not in seen[spin].code:
        faults.append(f"{seen[add].code}, {seen[spin].code}")
    if not before(seen[:add][::-1], "bar", "st.global"):
        faults.append("no barrier between the stores and the addition")
    if not before(seen[spin + 1 :], "bar", "ld.global"):
        faults.append("no barrier between the acquire and the loads")
    loads = [one for at, one in enumerate(seen) if at > add and at != spin and one.is_a("ld")]
    if not loads or not all(one.is_a("ld.global.cg") for one in loads):
        faults.append("partial sums are loaded through the first cache")
    return faults


def before(found, first, second):
    """Whether an instruction of one kind comes before any of another."""
    kinds = [one.is_a(first) for one in found if one.is_a(first, second)]
    return bool(kinds) and kinds[0]
