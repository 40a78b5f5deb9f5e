"""``rfpmss <verb>``: the same commands as ``python -m rfpmss.<verb>``."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version

from rfpmss.common.completion import script
from rfpmss.common.output import outlived
from rfpmss.common.quiet import only_ours

VERBS = {
    "prepare": "any source to a manifest and shards",
    "check": "whether a prepared cohort is as it was written",
    "train": "pretrain; without arguments on the phantom cohort",
    "evaluate": "zero-shot retrieval of a trained run",
    "findings": "zero-shot findings by sentences, calibrated, by hospital, sex and age",
    "finetune": "few-label fine-tuning of a trained run",
    "ablate": "the ablation grid, row by row, resumable",
    "reproduce": "every table and figure on the phantom cohort within a budget",
    "report": "the page of a trained run",
    "view": "one patient of a trained run in a browser on this machine",
    "export": "a trained run as a folder that loads in one line",
    "embed": "new patients to a Parquet file of vectors",
}
"""Each verb and what it does."""


def main(argv: list[str] | None = None) -> int:
    """Hand over to the verb's own command line; return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in VERBS:
        with only_ours():  # libraries warn as soon as they are imported
            return importlib.import_module(f"rfpmss.{words[0]}").main(words[1:])

    with outlived():  # `rfpmss | head`
        return _answer(words)


def _answer(words: list[str]) -> int:
    """What there is, where no verb is named; return the exit status."""
    if not words or words[0] in ("-h", "--help"):
        print("usage: rfpmss VERB [OPTIONS]\n")
        for verb, meaning in VERBS.items():
            print(f"  {verb:<11}{meaning}")
        print("\nrfpmss VERB --help shows a verb's options, rfpmss --version the release;")
        print('eval "$(rfpmss --completion)" completes verbs and options in bash and zsh.')
        return 0

    if words[0] == "--completion":
        print(script(list(VERBS)), end="")
        return 0

    if words[0] in ("-V", "--version"):
        print(f"rfpmss {version('multisk')}")
        return 0

    print(f"error: the verb must be one of {', '.join(VERBS)}, got {words[0]}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
