"""Export: a trained run as a folder that loads in one line, without pickle and without this run.

    python -m rfpmss.export runs/tiny-0 --out tiny

    from rfpmss.model.rfpmss import RFPMSS
    model = RFPMSS.from_pretrained("tiny")

DIR gets model.safetensors, config.json, tokenizer.json, README.md (the model card) and, unless
--no-graphs, image.pt2 and text.pt2 for torch.export.load. None of them holds a path of this
machine. `rfpmss embed FOLDER --model DIR` applies it to new patients.
"""

from __future__ import annotations

import sys

from rfpmss.common.command import TORCH, guarded
from rfpmss.config.arguments import read
from rfpmss.options.export import Arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "export", __doc__)
    return guarded(lambda: _run(arguments), arguments.out, room=TORCH)


def _run(arguments: Arguments) -> int:
    from rfpmss.commands.export import run  # seconds of imports that --help does not need

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
