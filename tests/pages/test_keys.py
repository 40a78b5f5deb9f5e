"""A patient's page in a real browser, by keyboard alone: images, window, attention, search."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field

import pytest

from rfpmss.evaluation.attention.slices import Channel, Mark, Stack
from rfpmss.evaluation.page.patient import Around, Patient
from rfpmss.evaluation.page.write import fill
from tools.browser import find

BROWSER = find()
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run")
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39, "ArrowLeft": 37, "End": 35}
KEYS |= {"a": 65, "n": 78, "/": 191}
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
        found = self.ask("Runtime.evaluate", expression=code, returnByValue=True)
        return found["result"].get("value")

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
    marks = (Mark(PIXEL, box, box),) * 3

    def channel(name, count):
        return Channel(name, (PIXEL,) * count, (64.0, 192.0))

    patient = Patient(
        study_id="S1",
        split="test",
        labels=(),
        around=Around(["S1"], before="S0", after="S2"),
        stacks=[
            Stack("mri", 1, (channel("T1", 3), channel("FLAIR", 3)), marks),
            Stack("ct", 1, (channel("brain", 1), channel("bone", 1)), marks[:1]),
        ],
        report="a",
        generated="a",
        compared=[],
        words=[],
        first=[],
        nearest=[],
    )
    path = tmp_path / "patient.html"
    path.write_text(fill("patient.html", {"patient": patient, "studies": ["S0", "S1", "S2"]}))
    tab.ask("Page.enable")
    tab.ask("Page.navigate", url=path.as_uri())
    stop = time.monotonic() + 600
    while tab.value("document.readyState + document.title") != "completeS1":
        assert time.monotonic() < stop, "the page does not come"
    return tab


SHOWN = "[...document.querySelectorAll('.viewer .slice')].map(at => at.checkVisibility())"


def test_the_first_key_offers_to_skip_to_the_patient(opened):
    opened.press("Tab")
    assert opened.value("document.activeElement.textContent") == "Skip to the patient"
    assert opened.value("document.activeElement.getBoundingClientRect().top >= 0") is True
    opened.press("Enter")
    assert opened.value("location.hash") == "#main"


def test_attention_comes_when_asked_for_as_strong_as_asked_for(opened):
    drawn = "getComputedStyle(document.querySelector('.heat')).display != 'none'"
    dashed = "getComputedStyle(document.querySelector('.predicted-box')).display != 'none'"
    assert [opened.value(code) for code in (drawn, dashed)] == [False, False]
    opened.walk_to("at.id == 'attention-switch'")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert opened.value(outline) == "solid"
    opened.press(" ")
    assert [opened.value(code) for code in (drawn, dashed)] == [True, True]
    strength = "Number(getComputedStyle(document.querySelector('.heat')).opacity)"
    opened.walk_to("at.closest('#opacity') != null")
    before = opened.value(strength)
    opened.press("ArrowLeft")
    assert opened.value(strength) == pytest.approx(before - 0.01, abs=1e-6)
    opened.press("a")
    assert opened.value(drawn) is False


def test_arrows_turn_over_all_sequences_and_say_which_image_is_shown(opened):
    first, second, third = (
        [place == at for _ in range(2) for place in range(3)] + [True, False] for at in range(3)
    )
    assert opened.value(SHOWN) == first
    assert opened.value("document.querySelectorAll('.turn').length") == 1
    opened.walk_to("at.className == 'turn'")
    told = "document.activeElement.getAttribute('aria-valuetext')"
    assert opened.value("document.activeElement.ariaLabel") == "Image of MRI of S1"
    assert opened.value(told) == "T1, image 1 of 3"
    opened.press("ArrowRight")
    assert opened.value(SHOWN) == second
    assert opened.value(told) == "T1, image 2 of 3"
    opened.press("End")
    assert opened.value(SHOWN) == third
    opened.press("ArrowLeft")
    assert opened.value(SHOWN) == second


def test_the_wheel_turns_over_until_the_last_image_and_then_scrolls_the_page(opened):
    wheel = (
        "document.querySelector('.slice:not([hidden]) .image').dispatchEvent("
        "new WheelEvent('wheel', {deltaY: 10, bubbles: true, cancelable: true}))"
    )
    place = "document.querySelector('.turn').value"
    assert [(opened.value(wheel), opened.value(place)) for _ in range(3)] == [
        (False, "2"),
        (False, "3"),
        (True, "3"),
    ]


def test_keys_and_drags_set_the_window_of_all_sequences(opened):
    slope = "[...document.querySelectorAll('[slope]')].map(at => Number(at.getAttribute('slope')))"
    assert opened.value(slope) == pytest.approx([255 / 128] * 12, abs=1e-4)
    opened.walk_to("at.closest('.window label')?.textContent.startsWith('Width')")
    opened.press("ArrowLeft")
    assert opened.value(slope) == pytest.approx([255 / 126.4] * 6 + [255 / 128] * 6, abs=1e-4)
    opened.value("document.querySelector('.draggable').scrollIntoView()")
    at = opened.value(
        "(at => [at.x + at.width / 2, at.y + 5])"
        "(document.querySelector('.draggable').getBoundingClientRect())"
    )
    told = {"button": "left", "buttons": 1, "clickCount": 1, "pointerType": "mouse"}
    for kind, dx in (("mousePressed", 0), ("mouseMoved", -50), ("mouseReleased", -50)):
        opened.ask("Input.dispatchMouseEvent", type=kind, x=at[0] + dx, y=at[1], **told)
    assert opened.value(slope)[0] == pytest.approx(255 / (126.4 - 50 * 0.02 * 32), rel=0.03)
    opened.walk_to("at.textContent == 'Reset'")
    opened.press("Enter")
    assert opened.value(slope) == pytest.approx([255 / 128] * 12, abs=1e-4)


def test_the_windows_of_ct_come_one_at_a_time(opened):
    opened.walk_to("at.textContent == 'bone'")
    opened.press("Enter")
    assert opened.value(SHOWN)[-2:] == [False, True]
    assert opened.value("document.activeElement.ariaPressed") == "true"


def test_every_image_has_its_sides_where_they_belong(opened):
    sides = (
        "[...document.querySelectorAll('.viewer .image')].filter(at => at.checkVisibility())"
        ".map(at => [...at.querySelectorAll('.edge')]"
        ".sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x)"
        ".map(at => at.textContent).join(''))"
    )
    assert opened.value(sides) == ["RL"] * 3


def test_keys_lead_to_the_search_and_to_the_next_patient(opened):
    opened.press("/")
    assert opened.value("document.activeElement.id") == "find"
    opened.press("n")  # in the search field a letter is a letter
    assert opened.value("location.pathname.endsWith('patient.html')") is True
    opened.value(
        "document.getElementById('after').addEventListener('click', at => {"
        " at.preventDefault(); document.title = at.target.getAttribute('href') }),"
        "document.activeElement.blur()"
    )
    opened.press("n")
    assert opened.value("document.title") == "/study/S2"


def test_enter_turns_the_lights_off(opened):
    opened.walk_to("at.id == 'theme'")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = opened.value(paper)
    opened.press("Enter")
    assert opened.value(paper) != light
    opened.press("Enter")
    assert opened.value(paper) == light
