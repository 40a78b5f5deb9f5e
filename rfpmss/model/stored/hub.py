"""Weights, configuration and model card in a folder, and a model from such a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import HFValidationError
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model
from torch import nn

from rfpmss.common import strict
from rfpmss.common.files import fill, memory, opened, read_text, regular
from rfpmss.config import DataConfig, Frozen, ModelConfig
from rfpmss.config.sections import check_fit

Model = TypeVar("Model")

TOKENIZER = "tokenizer.json"
"""The tokenizer beside the weights."""

LEFT_OUT = {"image_weights", "text_weights", "text"}
"""Where a run once started from: paths of another machine, of no use to whoever loads."""


def plain(section: Frozen) -> dict[str, Any]:
    """A section of a configuration as JSON has it."""
    return section.model_dump(mode="json", exclude=LEFT_OUT)


CODERS = {Frozen: (plain, dict)}
"""How sections of a configuration become JSON; they are checked when a model is made."""

CARD = """---
{{ card_data }}
---

# RFPMSS: CT, MRI, pathology and reports in one space

A multimodal glioma encoder: Medical Image Transformer, view fusion, BERT, report decoder and
modality projections, pretrained with semantic-structure-preserving consistency. Any modality of a
study may be missing.

**Research software. Not a medical device, not for clinical use.**

```python
from rfpmss.model.rfpmss import RFPMSS

model = RFPMSS.from_pretrained("THIS FOLDER")
```

```
rfpmss embed PATIENTS --model "THIS FOLDER" --out embeddings.parquet
```

| file | what it is |
|---|---|
| `model.safetensors` | all weights |
| `config.json` | sizes and readings of the network, image size, report length |
| `tokenizer.json` | the words of the reports |
| `SHA256SUMS` | digests of all files, compared when the model is loaded |
| `image.pt2`, `text.pt2` | graphs of both encoders for `torch.export.load`, where exported |

`torch.export.load` can run code that a file holds: load a `.pt2` only if you trust whoever gave it
to you. `RFPMSS.from_pretrained` reads safetensors and JSON, which hold no code.

{{ details | default("How it was trained is not recorded.", true) }}

It has seen only what it was trained on. Other scanners, stains, hospitals and languages are a
domain shift; measure before use. Embeddings of patients are personal data.
"""


LARGEST = 1 << 20
"""Bytes of a config.json; ours has about 2,000."""

LARGEST_TOKENIZER = 1 << 28
"""Bytes of a tokenizer.json; ten million words have about as many."""

SIZES = {
    CONFIG_NAME: LARGEST,
    SAFETENSORS_SINGLE_FILE: memory(),
    TOKENIZER: LARGEST_TOKENIZER,
}
"""Bytes that the files of a model may have: a file with a hole has no end of its own."""

SUMS = "SHA256SUMS"
"""Digests of all exported files, in the form of sha256sum."""


def write_sums(folder: Path) -> None:
    """Record what each file of a folder is."""
    lines = [f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    fill(folder / SUMS, "".join(lines))


def require_whole(file: Path) -> None:
    """Refuse weights that are longer or shorter than they say, before they are read.

    Raises:
        ValueError: if this machine's memory cannot hold them.
        SafetensorError: if the length is another one than that of the tensors.
        OSError: if there is no such file.
    """
    size = regular(file).stat().st_size
    if size > SIZES[SAFETENSORS_SINGLE_FILE]:
        raise ValueError(
            f"{SAFETENSORS_SINGLE_FILE} must fit into the memory of this machine, "
            f"{SIZES[SAFETENSORS_SINGLE_FILE]:,} bytes, got {size:,} in {file}"
        )

    with safe_open(file, framework="pt"):  # compares both
        pass


def require_sums(folder: Path) -> None:
    """Refuse files that are not what was exported; those of a folder without sums are not known.

    Raises:
        ValueError: names the file.
    """
    try:
        lines = read_text(folder / SUMS, most=LARGEST).splitlines()
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        raise ValueError(f"{SUMS} must be that of the exported model, got {folder}") from None

    said = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name, most in SIZES.items():
        path = folder / name
        if name not in said and path.exists():
            raise ValueError(
                f"{SUMS} must have a line for {name}, got none in {folder}; copy the folder again "
                f"or export the run again (who changed it on purpose removes {SUMS})"
            )
        try:
            found = _sha256(path) if path.stat().st_size <= most else ""
        except OSError:
            found = ""
        if said.get(name) != found:
            raise ValueError(
                f"{name} must be as it was exported, got another content in {folder}; copy the "
                f"folder again or export the run again (who changed it on purpose removes {SUMS})"
            )


def _sha256(path: Path) -> str:
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


WORDS = 10_000_000
"""Most token ids that a file may claim."""

UNREADABLE = (
    AttributeError,
    HFValidationError,
    KeyError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    json.JSONDecodeError,
    UnicodeDecodeError,
)
"""What absent, damaged or foreign files raise when read."""


KINDS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "BOOL": torch.bool,
}
"""What safetensors calls the types that models have; its other ones are nobody's weights."""


def require_shapes(
    file: Path,
    kind: Callable[..., nn.Module],
    model: ModelConfig,
    data: DataConfig,
    vocabulary: int,
) -> None:
    """Refuse weights that are not those of a configuration, before memory is taken for either.

    Raises:
        ValueError: names a tensor and both shapes, or both types.
    """
    with torch.device("meta"):
        made = kind(model, data, vocabulary).state_dict()

    wanted = {name: list(tensor.shape) for name, tensor in made.items()}
    with safe_open(regular(file), framework="pt") as held:
        parts = {name: held.get_slice(name) for name in held.keys()}  # noqa: SIM118 (no mapping)
        found = {name: list(part.get_shape()) for name, part in parts.items()}
        kinds = {name: str(part.get_dtype()) for name, part in parts.items()}

    for name, shape in wanted.items():
        if found.get(name, shape) != shape:
            raise ValueError(f"{name} must have the shape {shape}, got {found[name]} in {file}")
        if name in kinds:
            require_kind(name, KINDS.get(kinds[name], kinds[name]), made[name].dtype)

    absent = sum(prod(shape) for name, shape in wanted.items() if name not in found)
    if absent > sum(prod(shape) for shape in found.values()):  # tied weights are stored once
        raise ValueError(f"the file must hold the model's weights, got {absent:,} less in {file}")


def require_kind(name: str, found: torch.dtype | str, wanted: torch.dtype) -> None:
    """Refuse numbers of another kind, which torch would cast: complex, 8-bit, whole for real.

    Floating-point numbers of another precision are taken.

    Raises:
        ValueError: names the tensor and both types.
    """
    precision = all(isinstance(one, torch.dtype) and one in FLOATS for one in (found, wanted))
    if found != wanted and not precision:
        raise ValueError(f"{name} must be of type {wanted}, got {found}")


FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


def read_sizes(path: Path) -> None:
    """Refuse a config.json that describes no model, before anything is made of it.

    Raises:
        ValueError: says what is wrong.
    """
    try:
        with opened(path) as file:
            content = file.read(LARGEST + 1)
        found = strict.loads(content) if len(content) <= LARGEST else None
    except RecursionError:
        found = None
    except strict.StrictError as error:
        raise ValueError(f"{CONFIG_NAME} {error} in {path}") from None
    except (OSError, ValueError):
        return  # whoever reads it next says so

    sections = ("model", "data")
    if not isinstance(found, dict) or any(not isinstance(found.get(n), dict) for n in sections):
        raise ValueError(f"{CONFIG_NAME} must be a JSON object with model and data, got {path}")

    check_vocabulary(found.get("vocabulary"))


def check_vocabulary(size: object) -> int:
    """The number of token ids that a file claims.

    Raises:
        ValueError: if it is none, or beyond all use.
    """
    if not strict.whole(size) or not 4 <= size <= WORDS:
        raise ValueError(f"vocabulary must be an integer from 4 to {WORDS:,}, got {str(size)[:40]}")
    return size


class Published(
    PyTorchModelHubMixin,
    library_name="rfpmss",
    tags=["medical", "multimodal", "glioma"],
    model_card_template=CARD,
    coders=CODERS,
):
    """What lets a model be saved to a folder and loaded in one line, without pickle."""

    @classmethod
    def from_pretrained(
        cls: type[Model],
        pretrained_model_name_or_path: str | Path,
        *,
        local_files_only: bool = True,
        map_location: str = "cpu",
        **options: Any,
    ) -> Model:
        """The model that ``rfpmss export`` or ``save_pretrained`` wrote to a folder, in evaluation.

        Args:
            pretrained_model_name_or_path: the folder; or the name of a model of the hub, which has
                to be in the local cache unless ``local_files_only`` is false.
            local_files_only: never use the network.
            map_location: device.
            options: of the hub (``revision``, ``token``, ``cache_dir``, ``force_download``).

        Raises:
            ValueError: when there is no such model, or its files are damaged or of another model.
        """
        where = pretrained_model_name_or_path
        if Path(where).is_dir() and not (Path(where) / CONFIG_NAME).is_file():
            raise ValueError(
                f"the model must be a folder with {CONFIG_NAME}, got {where}; "
                f"`rfpmss export` makes one of a run"
            )

        try:
            if Path(where).is_dir():
                require_whole(Path(where) / SAFETENSORS_SINGLE_FILE)
                require_sums(Path(where))
                read_sizes(Path(where) / CONFIG_NAME)
            return super().from_pretrained(
                where,
                local_files_only=local_files_only,
                map_location=map_location,
                **options,
            )
        except ValidationError as error:
            problem = error.errors()[0]
            name = ".".join(str(part) for part in problem["loc"])
            raise ValueError(
                f"{CONFIG_NAME} must describe a model of this version, got {name}: "
                f"{problem['msg']} in {where}"
            ) from None
        except UNREADABLE as error:
            raise ValueError(
                f"the model must be a folder with {CONFIG_NAME} and a fitting "
                f"{SAFETENSORS_SINGLE_FILE}, or a model in the local cache of the hub, "
                f"got {where} ({type(error).__name__})"
            ) from None

    @classmethod
    def _from_pretrained(  # noqa: PLR0913 (the signature of the hub)
        cls: type[Model],
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str,
        model: dict,
        data: dict,
        vocabulary: int,
    ) -> Model:
        """Safetensors only: a folder or a repository without them is refused."""
        file = Path(model_id) / SAFETENSORS_SINGLE_FILE
        if not Path(model_id).is_dir():
            found = hf_hub_download(
                model_id,
                SAFETENSORS_SINGLE_FILE,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
            file = Path(found)

        make = cast("Callable[..., Any]", cls)
        sizes = ModelConfig.model_validate(model), DataConfig.model_validate(data)
        check_fit(*sizes)
        check_vocabulary(vocabulary)
        require_shapes(file, make, *sizes, vocabulary)
        made = make(*sizes, vocabulary)
        load_model(made, regular(file), strict=True)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in made.state_dict().values()):
            raise ValueError(f"{SAFETENSORS_SINGLE_FILE} must hold finite weights, got {file}")

        return made.to(map_location).eval()
