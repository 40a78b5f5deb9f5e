"""What ``rfpmss findings`` does."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from rfpmss.common.files import read_bytes
from rfpmss.evaluation.page.tables import percent, write_csv, write_json
from rfpmss.evaluation.prompted.asked import Asked, Tables
from rfpmss.evaluation.prompted.groups import HOSPITAL, MISSING, TooManyError, labels_of, values_of
from rfpmss.evaluation.prompted.prompts import SHIPPED, PromptError, read_prompts
from rfpmss.evaluation.prompted.scores import UNKNOWN, Reader, look
from rfpmss.evaluation.statistics import ENOUGH
from rfpmss.options.findings import Arguments
from rfpmss.runs.opened import called, open_run, open_to_write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.data.study import Study
    from rfpmss.evaluation.prompted.prompts import Prompt
    from rfpmss.evaluation.prompted.scores import Seen
    from rfpmss.evaluation.prompted.table import RowOf
    from rfpmss.runs.opened import Opened

NAME = "zeroshot_findings"
"""Of the files."""


def run(arguments: Arguments) -> int:
    """Open the run, score, write, print; return the exit status."""
    path = arguments.prompts or SHIPPED
    prompts = read_prompts(path)
    opened = open_to_write(arguments)
    try:
        return findings(arguments, opened, prompts)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def findings(arguments: Arguments, opened: Opened, prompts: Sequence[Prompt]) -> int:
    """Score, write and print; return 0.

    Raises:
        ValueError: if no study can be scored, or no sentence be read.
    """
    chosen, scored, how = _parts(opened)
    own = called(opened.manifest)
    looked = [_look(opened, opened.cohort, scored, own)]
    looked += [_look(opened, *other) for other in _others(arguments, opened)]
    validation = _look(opened, opened.cohort, chosen, own) if len(chosen) else None
    found = _tables(opened, prompts, validation, looked, arguments.by)
    _write(arguments, opened, found, how)
    _show(found)
    print(f"validation: {how}")
    print(f"tables: {(opened.place / 'evaluation').resolve()}")
    return 0


def _parts(opened: Opened) -> tuple[np.ndarray, np.ndarray, str]:
    """Studies that choose threshold and temperature, studies that are scored, and how that is.

    Training patients choose nothing: their images were fitted to their reports.

    Raises:
        ValueError: if no study is held out.
    """
    studies = opened.cohort.studies
    validation, test = (np.asarray(opened.cohort.indices(part)) for part in ("val", "test"))
    if not len(test):
        raise ValueError(
            "findings need held-out studies (split test), got none; prepare the cohort with a "
            "share of test in --splits, or name another with --data"
        )

    count = len({studies[index].patient_id for index in validation})
    if count >= 2 * ENOUGH:
        return validation, test, f"{count} patients of the split val"

    half = np.array([_half(studies[index]) for index in test])
    few = f"the split val has {count} patients, fewer than {2 * ENOUGH}"
    return test[half], test[~half], f"half of the held-out patients, not scored; {few}"


def _half(study: Study) -> bool:
    """Whether a patient chooses: by a digest, so that it is the same whoever else is there."""
    return hashlib.sha256(study.patient_id.encode()).digest()[0] % 2 == 0


def _look(opened: Opened, cohort: Cohort, studies: np.ndarray, name: str) -> Seen:
    size = opened.config.train.batch
    return look(opened.model, cohort, opened.tokenizer, studies, size, name)


def _others(arguments: Arguments, opened: Opened) -> list[tuple[Cohort, np.ndarray, str]]:
    """Other hospitals: cohort, held-out studies, name.

    Raises:
        OpenError: if their cohort cannot be read, or was trained on.
        ValueError: if two are called alike, or one has no held-out study.
    """
    found, names = [], [called(opened.manifest)]
    for path in arguments.elsewhere:
        allow = arguments.allow_config_change
        other = open_run(arguments.run_dir, path, arguments.device, allow_change=allow)
        name, indices = called(other.manifest), np.asarray(other.cohort.indices("test"))
        if name in names:
            raise ValueError(
                f"--elsewhere must name folders that are called differently, got {name} twice; "
                f"they are the names of the hospitals"
            )
        if not len(indices):
            raise ValueError(f"--elsewhere must have held-out studies (split test), got {path}")

        names.append(name)
        found.append((other.cohort, indices, name))

    return found


def _tables(
    opened: Opened,
    prompts: Sequence[Prompt],
    validation: Seen | None,
    looked: Sequence[Seen],
    by: Sequence[str],
) -> Tables:
    reader = Reader(opened.model, opened.tokenizer, opened.config.loss.temperature)
    asked = Asked(reader, validation, looked, _groups(looked, by))
    found, unread = Tables(), Counter[str]()
    for prompt in prompts:
        for language, said in prompt.languages.items():
            if reader.unread(said) > UNKNOWN:
                unread[language] += 1
            else:
                asked.score(found, prompt, language)

    for language, count in unread.items():
        print(
            f"note: {count} findings are not asked in {language}: more than {UNKNOWN:.0%} of the "
            f"sentences' tokens are not in the vocabulary of the run",
            file=sys.stderr,
        )
    if not found.findings:
        raise PromptError(
            "--prompts must hold a language that the run reads, got none; write the sentences in "
            "the language of the reports it was trained on"
        )

    return found


def _groups(looked: Sequence[Seen], by: Sequence[str]) -> dict[str, np.ndarray]:
    """The group of each study, by what the groups are of."""
    studies = [study for seen in looked for study in seen.studies]
    found = {}
    for group, label in labels_of(studies, by).items():
        try:
            found[group] = values_of(studies, label)
        except TooManyError as error:
            print(f"note: no table by {group}: {error}", file=sys.stderr)

    if len(looked) > 1:
        names = np.array([seen.hospital for seen in looked for _ in seen.studies])
        said = found.get(HOSPITAL, np.full(len(studies), MISSING))
        found[HOSPITAL] = np.where(said == MISSING, names, said)

    return found


def _write(arguments: Arguments, opened: Opened, found: Tables, how: str) -> None:
    folder = opened.place / "evaluation"
    said: dict[str, object] = {
        "prompts": hashlib.sha256(read_bytes(arguments.prompts or SHIPPED)).hexdigest(),
        "validation": how,
        "findings": found.findings,
        "groups": found.groups,
        "gaps": found.gaps,
    }
    said |= {"origin": asdict(opened.origin)} if opened.origin else {}
    write_json(folder / f"{NAME}.json", said)
    write_csv(folder / f"{NAME}.csv", found.findings)
    write_csv(folder / f"{NAME}_groups.csv", found.groups)
    write_csv(folder / f"{NAME}_gaps.csv", found.gaps)
    write_json(folder / f"{NAME}_scores.json", found.scores, private=True)


def _show(found: Tables) -> None:
    print("percent, with 95 % intervals by patient")
    for row in found.findings:
        said = f"{row['finding']} ({row['language']}): n {row['n']}, positive {row['positive']}"
        if row["auc"] is None:
            print(f"{said}; not scored, {row['note']}")
            continue
        print(f"{said}, AUC {_span(row, 'auc')}{_chosen(row)}")

    for row in found.gaps:
        print(
            f"{row['finding']} ({row['language']}) by {row['group']}: worst {row['worst']} "
            f"{percent(_float(row, 'worst_auc'))}, best {row['best']} "
            f"{percent(_float(row, 'best_auc'))}, gap {_span(row, 'gap')}"
        )


def _chosen(row: RowOf) -> str:
    if row["threshold"] is None:
        return f"; {row['note']}"
    return (
        f", sensitivity {percent(_float(row, 'sensitivity'))}, "
        f"specificity {percent(_float(row, 'specificity'))}, calibration error "
        f"{percent(_float(row, 'ece'))} -> {percent(_float(row, 'ece_after'))} "
        f"(right probabilities give {percent(_float(row, 'ece_after_right'))})"
    )


def _span(row: RowOf, name: str) -> str:
    value, low, high = (percent(_float(row, f"{name}{end}")) for end in ("", "_low", "_high"))
    return f"{value} ({low}-{high})"


def _float(row: RowOf, name: str) -> float:
    return float(str(row[name]))
