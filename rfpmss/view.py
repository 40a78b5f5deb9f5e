"""View: look at one patient of a trained run in a browser on this machine.

    python -m rfpmss.view STUDY --run-dir runs/tiny-0

All sequences with level and width, R and L, a slider over the stored images, attention when asked
for; the report beside the generated one, with what this misses; where each word looks, and the
nearest patients by every pair of modalities; / lists all studies. Only this machine can reach the
pages (127.0.0.1), and only with the link that is printed, which holds a key; they ask nothing of
the network. Ctrl-C ends it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from rfpmss.common.command import TORCH, guarded
from rfpmss.common.errors import RfpmssError
from rfpmss.config.arguments import read
from rfpmss.options.view import Arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "view", __doc__)
    return guarded(lambda: _run(arguments), arguments.run_dir, room=TORCH)


def _run(arguments: Arguments) -> int:
    if find_spec("flask") is None:
        raise RfpmssError(
            "rfpmss view needs Flask; install it with pip install 'multisk[rfpmss,app]'"
        )
    from rfpmss.commands.view import view  # seconds of imports that --help does not need

    return view(arguments)


if __name__ == "__main__":
    sys.exit(main())
