"""The vocabulary is a function of the reports, in every process."""

import os
import subprocess
import sys

CODE = """
from rfpmss.data.batches.tokens import train_tokenizer
letters = "abcdefghijklmnopqrstuvwxyz"
texts = [
    f"{letters[i % 26]}{letters[i * 7 % 26]}{letters[i * 5 % 26]} mass, left {letters[i % 9]}obe"
    for i in range(60)
]
for _ in range(3):  # the tables of its library are hashed with another seed each
    print(train_tokenizer(texts, 120).to_str())
"""


def test_two_processes_learn_the_same_words_in_the_same_order() -> None:
    learned = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", CODE],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        learned += done.stdout.splitlines()
    assert len(learned) == 6
    assert len(set(learned)) == 1
    assert '"mass"' in learned[0]
