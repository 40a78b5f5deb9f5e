"""Weights, configuration and model card in a folder, and a model from such a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from huggingface_hub import PyTorchModelHubMixin
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import HFValidationError
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model

from rfpmss.config import DataConfig, Frozen, ModelConfig

Model = TypeVar("Model")

TOKENIZER = "tokenizer.json"
"""The tokenizer beside the weights."""

LEFT_OUT = {"image_weights", "text_weights"}
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
| `image.pt2`, `text.pt2` | graphs of both encoders for `torch.export.load`, where exported |

{{ details | default("How it was trained is not recorded.", true) }}

It has seen only what it was trained on. Other scanners, stains, hospitals and languages are a
domain shift; measure before use. Embeddings of patients are personal data.
"""


UNREADABLE = (
    HFValidationError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    json.JSONDecodeError,
    UnicodeDecodeError,
)
"""What absent, damaged or foreign files raise when read."""


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
        from huggingface_hub import hf_hub_download

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
        made = make(ModelConfig.model_validate(model), DataConfig.model_validate(data), vocabulary)
        load_model(made, file, strict=True)
        return made.to(map_location).eval()
