"""YAML files of other people: read with bounds, never executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rfpmss.common.files import opened

LARGEST = 1 << 20
"""Bytes of a configuration; a run's own has about 5,000."""


class YamlError(ValueError):
    """A text is no YAML of the kind that is wanted; the message is a clause without a subject."""


class Plain(yaml.SafeLoader):
    """Tags of Python are refused, and so are aliases: a few lines of them stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node of the document; raises `YamlError` where it is an alias."""
        if self.check_event(yaml.AliasEvent):
            raise YamlError("must not hold aliases (*name); write the values out")
        return super().compose_node(parent, index)


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
        found = yaml.load(content.decode("utf-8"), Loader=Plain)
    except UnicodeDecodeError:
        raise YamlError("must be a text in UTF-8") from None
    except RecursionError:
        raise YamlError("must not be nested so deeply") from None
    except yaml.YAMLError as error:
        raise YamlError(f"must be YAML ({' '.join(str(error).split())[:200]})") from None
    except (ValueError, OverflowError) as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"must be YAML ({error})") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise YamlError("must hold a mapping of fields")
    return found
