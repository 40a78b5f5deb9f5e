"""Files of sentences that say a finding is there, or is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfpmss.common.errors import RfpmssError
from rfpmss.common.yaml import YamlError, read_mapping
from rfpmss.config.bounds import NAME

SHIPPED = Path(__file__).with_name("phantom.yaml")
"""Sentences for the findings of the phantom cohort."""

MOST_FINDINGS, MOST_SENTENCES = 200, 100
"""Of a file; of one list."""

LONGEST = 2_000
"""Characters of a sentence."""

KINDS = ("positive", "negative")
LABEL, VALUES = "label", "positive"
"""Fields of a finding that name no language."""


class PromptError(RfpmssError, ValueError):
    """A file of sentences cannot be used."""


@dataclass(frozen=True)
class Sentences:
    """What is said of a finding in one language."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class Prompt:
    """One finding."""

    name: str
    label: str
    """Label of the manifest, or of a report's findings, with the truth."""
    values: tuple[str, ...]
    """Values of the label that count as having it, or bounds such as ``>=4``."""
    languages: dict[str, Sentences]


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The findings of a YAML file; ``phantom.yaml`` beside this module says what it holds.

    Raises:
        PromptError: names the file, the finding and the field.
        OSError: if it cannot be read.

    Example:
        >>> [prompt.name for prompt in read_prompts(SHIPPED)][:2]
        ['necrosis', 'hemorrhage']
    """
    try:
        content = read_mapping(path)
        if not content or len(content) > MOST_FINDINGS:
            raise YamlError(f"must name 1 to {MOST_FINDINGS} findings, got {len(content)}")
        return tuple(_prompt(name, entry) for name, entry in content.items())
    except YamlError as error:
        raise PromptError(f"--prompts {error}, got {path}") from None


def _prompt(name: str, entry: Any) -> Prompt:
    if not isinstance(entry, dict) or not name.strip() or len(name) > 64 or not name.isprintable():
        raise YamlError(
            f"must give each finding a name of at most 64 letters and a mapping of fields, "
            f"not {str(name)[:64]!r}: {type(entry).__name__}"
        )

    label = entry.get(LABEL, name)
    if not isinstance(label, str) or not label:
        raise YamlError(f"must name the {LABEL} of {name} as a text")

    languages = {key: value for key, value in entry.items() if key not in (LABEL, VALUES)}
    wrong = [key for key in languages if not isinstance(key, str) or not NAME.fullmatch(key)]
    if wrong or not languages:
        raise YamlError(
            f"must hold {LABEL}, {VALUES} and one or more languages for {name}, "
            f"got {', '.join(map(str, entry)) or 'nothing'}"
        )

    return Prompt(
        name,
        label,
        _texts(entry.get(VALUES, ["yes"]), f"{VALUES} of {name}"),
        {language: _sentences(name, language, said) for language, said in languages.items()},
    )


def _sentences(name: str, language: str, said: Any) -> Sentences:
    if not isinstance(said, dict) or sorted(map(str, said)) != sorted(KINDS):
        raise YamlError(f"must hold {' and '.join(KINDS)} sentences for {name} in {language}")

    lists = [_texts(said[kind], f"{kind} of {name} in {language}") for kind in KINDS]
    if both := set(lists[0]) & set(lists[1]):
        raise YamlError(
            f"must not give one sentence as positive and negative of {name} in {language}: "
            f"{min(both)[:60]!r}"
        )
    return Sentences(*lists)


def _texts(given: Any, what: str) -> tuple[str, ...]:
    """A list of texts; whole numbers may stand without quotes."""
    items = given if isinstance(given, list) else []
    texts = tuple(str(item) for item in items if isinstance(item, str) or type(item) is int)
    if not items or len(items) > MOST_SENTENCES or len(texts) < len(items):
        raise YamlError(
            f"must give 1 to {MOST_SENTENCES} texts for {what} (YAML reads yes and no without "
            f"quotes as a switch)"
        )

    for text in texts:
        if not text.strip() or len(text) > LONGEST:
            raise YamlError(f"must give texts of 1 to {LONGEST} characters for {what}")
    if len(set(texts)) < len(texts):
        raise YamlError(f"must give each text once for {what}")
    return texts
