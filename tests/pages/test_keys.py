"""The pages by keyboard alone, in a real browser: skip link, switch, slider, theme."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field

import pytest

from rfpmss.evaluation.attention.slices import Scan, Slice
from rfpmss.evaluation.page.patient import Patient
from rfpmss.evaluation.page.write import fill
from tools.browser import find

BROWSER = find()
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run")
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39, "ArrowLeft": 37, "End": 35}
"""Names of keys and their codes."""
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]


@dataclass
class Tab:
    """A tab of a browser that is driven through a pair of pipes (DevTools protocol)."""

    to: int
    back: int
    session: str = ""
    sent: int = 0
    rest: bytes = field(default=b"", repr=False)

    def ask(self, method: str, **told: object) -> dict:
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": told}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer, found, rest = self.rest.partition(b"\0")
            if not found:
                self.rest += os.read(self.back, 1 << 16)
                continue
            self.rest = rest
            said = json.loads(answer)
            if said.get("id") == self.sent:
                assert "error" not in said, said
                return said["result"]

    def value(self, code: str) -> object:
        return self.ask("Runtime.evaluate", expression=code, returnByValue=True)["result"]["value"]

    def press(self, key: str) -> None:
        told = {"key": key, "code": key.strip() or "Space", "windowsVirtualKeyCode": KEYS[key]}
        typed = {"text": {"Enter": "\r", " ": " "}[key]} if key in ("Enter", " ") else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **told, **typed)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def walk_to(self, found: str, most: int = 80) -> None:
        """Press Tab until the focus is on what ``found`` says of ``at``."""
        for _ in range(most):
            self.press("Tab")
            if self.value(f"(at => {found})(document.activeElement)"):
                return
        raise AssertionError(f"Tab never comes to {found}")


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()

    def wire():  # the browser reads from 3 and writes to 4
        kept = os.dup(theirs_in), os.dup(theirs_out)
        os.dup2(kept[0], 3)
        os.dup2(kept[1], 4)

    profile = tmp_path_factory.mktemp("profile")
    assert BROWSER is not None
    words = [BROWSER, *QUIET, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    browser = subprocess.Popen(
        words,
        preexec_fn=wire,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    driven = Tab(ours_out, ours_in)
    target = driven.ask("Target.createTarget", url="about:blank")["targetId"]
    driven.session = driven.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    yield driven
    driven.session = ""
    driven.ask("Browser.close")
    browser.wait(timeout=30)
    os.close(ours_out)
    os.close(ours_in)


@pytest.fixture
def opened(tab, tmp_path):
    box = (0.1, 0.1, 0.5, 0.5)
    slices = [Slice(PIXEL, PIXEL, box, box) for _ in range(3)]
    patient = Patient(
        study_id="S1",
        split="test",
        labels=(),
        scans=[Scan("mri", "MRI FLAIR", 1, slices), Scan("ct", "CT", 1, slices[:1])],
        report="a",
        generated="a",
        compared=[],
        words=[],
        first=[],
        nearest=[],
    )
    path = tmp_path / "patient.html"
    path.write_text(fill("patient.html", {"patient": patient, "studies": ["S1"]}))
    tab.ask("Page.enable")
    tab.ask("Page.navigate", url=path.as_uri())
    stop = time.monotonic() + 60
    while tab.value("document.readyState + document.title") != "completeS1":
        assert time.monotonic() < stop, "the page does not come"
    return tab


SHOWN = "[...document.querySelectorAll('.scan .slice')].map(at => !at.hidden)"


def test_the_first_key_offers_to_skip_to_the_patient(opened):
    opened.press("Tab")
    assert opened.value("document.activeElement.textContent") == "Skip to the patient"
    assert opened.value("document.activeElement.getBoundingClientRect().top >= 0") is True
    opened.press("Enter")
    assert opened.value("location.hash") == "#main"


def test_space_takes_the_attention_away_and_gives_it_back(opened):
    drawn = "getComputedStyle(document.querySelector('.heat')).display != 'none'"
    opened.walk_to("at.id == 'attention-switch'")
    assert opened.value(drawn) is True
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert opened.value(outline) == "solid"
    opened.press(" ")
    assert opened.value(drawn) is False
    opened.press(" ")
    assert opened.value(drawn) is True


def test_arrows_turn_over_the_images_and_say_which_is_shown(opened):
    assert opened.value(SHOWN) == [True, False, False, True]
    assert opened.value("document.querySelectorAll('input[type=range]').length") == 1
    opened.walk_to("at.type == 'range'")
    told = "document.activeElement.getAttribute('aria-valuetext')"
    assert opened.value("document.activeElement.ariaLabel") == "MRI FLAIR of S1"
    assert opened.value(told) == "Image 1 of 3"
    opened.press("ArrowRight")
    assert opened.value(SHOWN) == [False, True, False, True]
    assert opened.value(told) == "Image 2 of 3"
    opened.press("End")
    assert opened.value(SHOWN) == [False, False, True, True]
    opened.press("ArrowLeft")
    assert opened.value(SHOWN) == [False, True, False, True]


def test_enter_turns_the_lights_off(opened):
    opened.walk_to("at.id == 'theme'")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = opened.value(paper)
    opened.press("Enter")
    assert opened.value(paper) != light
    opened.press("Enter")
    assert opened.value(paper) == light
