"""Multimodal glioma pretraining that preserves semantic structure (RFPMSS)."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("tyro") is None:
    _CURE = (
        "rfpmss needs its own dependencies, but multisk was installed alone; in the folder of the "
        "source code: pip install -c constraints.txt '.[rfpmss]'"
    )
    if Path(sys.argv[0]).name in ("rfpmss", "-m"):  # a command, not a program that imports us
        raise SystemExit(f"error: {_CURE}")
    raise ModuleNotFoundError(_CURE)

if Path(sys.argv[0] if sys.argv else "").name in ("rfpmss", "-m"):  # imports take seconds
    from rfpmss.common.signals import end_at_once

    end_at_once()
