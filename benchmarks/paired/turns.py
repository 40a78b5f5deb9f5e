"""One script on several checkouts in turn, a process a round, so that all see the same load."""

import json
import os
import subprocess
import sys

Figures = dict[str, dict[str, list[float]]]


def alternate(script: str, checkouts: dict[str, str], rounds: int, threads: int = 1) -> Figures:
    """What `script` prints as a JSON object, by its names, by checkout, a number a round."""
    found: Figures = {}
    for _ in range(rounds):
        for name, path in checkouts.items():
            environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
            run = [sys.executable, "-c", script]
            text = subprocess.run(run, env=environment, cwd=path, check=True, capture_output=True)
            for case, value in json.loads(text.stdout).items():
                found.setdefault(case, {}).setdefault(name, []).append(value)

    return found
