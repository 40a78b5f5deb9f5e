"""YAML files of other people: read with bounds, never executed."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from rfpmss.common.files import opened

LARGEST = 1 << 20
"""Bytes of a configuration; a run's own has about 5,000."""


LONGEST_NUMBER = 400
"""Characters of a number; the longest float that is written out has 330."""

OPERATORS = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")
"""Tags of ``<<`` and ``=``, which are no keys."""


class YamlError(ValueError):
    """A text is no YAML of the kind that is wanted; the message is a clause without a subject."""


class TwiceError(YamlError):
    """A key stands twice in one mapping.

    Args:
        key: the key.
        line: of the second one, from 1.
    """

    def __init__(self, key: str, line: int) -> None:
        super().__init__(f"must name each key once, but {key[:60]!r} stands again in line {line}")
        self.line = line


class Plain(yaml.SafeLoader):
    """Refuses tags of Python, keys that stand twice, and aliases: a few of them mean gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node of the document; raises `YamlError` where it is an alias."""
        if self.check_event(yaml.AliasEvent):
            raise YamlError("must not hold aliases (*name); write the values out")
        return super().compose_node(parent, index)

    def construct_plain_number(self, node: Any) -> Any:
        """A number; raises `YamlError` where YAML 1.1 reads another one than a person does."""
        text = node.value.replace("_", "")
        digits = text.lstrip("+-")
        if ":" in text or (digits.isdecimal() and len(digits) > 1 and digits[0] == "0"):
            raise YamlError(
                f"must hold plain decimal numbers, got {text[:40]} in line "
                f"{node.start_mark.line + 1}, which YAML reads to the base 60 or 8; put quotes "
                f"round a text"
            )
        if len(text) > LONGEST_NUMBER:
            raise YamlError(
                f"must hold numbers of at most {LONGEST_NUMBER} characters, got {len(text):,} in "
                f"line {node.start_mark.line + 1}"
            )

        make = self.construct_yaml_int if node.tag.endswith(":int") else self.construct_yaml_float
        return make(node)

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping; raises `TwiceError` where a key stands twice: the last one would count."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for entry, _ in node.value:
            if not isinstance(entry, yaml.ScalarNode) or entry.tag in OPERATORS:
                continue  # the parser refuses or merges it itself
            key = self.construct_object(entry)
            if key in seen:
                raise TwiceError(str(key), entry.start_mark.line + 1)
            seen.add(key)

        return node


CORE = ("null", "bool", "int", "float", "str", "seq", "map")
"""Kinds of values of YAML 1.2; dates, sets and the others are texts, or refused with their tag."""

Plain.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in CORE
}
Plain.yaml_implicit_resolvers = {
    letter: [(tag, rule) for tag, rule in rules if not tag.endswith(":timestamp")]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind in ("int", "float"):
    Plain.add_constructor(f"tag:yaml.org,2002:{_kind}", Plain.construct_plain_number)


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file whose outermost level is a mapping.

    Raises:
        YamlError: if it is something else, is no UTF-8, or is unreasonably large or deep.
        OSError: if it cannot be read.
    """
    with opened(path) as file:
        content = file.read(LARGEST + 1)

    if len(content) > LARGEST:
        raise YamlError(f"must have at most {LARGEST:,} bytes")

    try:
        return deepcopy(_mapping(content.decode("utf-8")))
    except UnicodeDecodeError:
        raise YamlError("must be a text in UTF-8") from None


@lru_cache(maxsize=16)
def _mapping(text: str) -> dict[str, Any]:
    """The mapping that a text holds; a run asks for its configuration again and again."""
    try:
        found = yaml.load(text, Loader=Plain)
    except RecursionError:
        raise YamlError("must not be nested so deeply") from None
    except yaml.YAMLError as error:
        raise YamlError(f"must be YAML ({' '.join(str(error).split())[:200]})") from None
    except YamlError:
        raise
    except Exception as error:  # a constructor of PyYAML raises what it likes for `!!bool x`
        raise YamlError(f"must be YAML ({type(error).__name__}: {str(error)[:200]})") from None

    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise YamlError("must hold a mapping of fields")

    return found
