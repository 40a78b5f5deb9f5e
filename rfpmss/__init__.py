"""Multimodal glioma pretraining that preserves semantic structure (RFPMSS)."""

from importlib.util import find_spec

if find_spec("tyro") is None:
    raise ModuleNotFoundError(
        "rfpmss needs its own dependencies, but multisk was installed alone: "
        "pip install 'multisk[rfpmss]'"
    )
