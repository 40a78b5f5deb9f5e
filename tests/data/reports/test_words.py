"""The vocabulary is a function of the reports, in every process."""

import subprocess
import sys

CODE = """
from rfpmss.data.batches.tokens import train_tokenizer
letters = "abcdefghijklmnopqrstuvwxyz"
texts = [
    f"{letters[i % 26]}{letters[i * 7 % 26]}{letters[i * 5 % 26]} mass, left {letters[i % 9]}obe"
    for i in range(60)
]
print(train_tokenizer(texts, 120).to_str())
"""


def test_two_processes_learn_the_same_words_in_the_same_order() -> None:
    learned = {
        subprocess.run(
            [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(4)
    }
    assert len(learned) == 1
    assert '"mass"' in learned.pop()
