"""The check of pages in a real browser finds what is wrong and passes what is right."""

from __future__ import annotations

import pytest
from PIL import Image

from tools import browser as tool

GOOD = """<!doctype html><html lang="en"><title>Calm</title><style>body { background: #fff }
@media (prefers-color-scheme: dark) { body { background: #000 } }</style><body><h1>x</h1></body>"""
BAD = """<!doctype html><title>Loud</title><body><p>x</p><img src="https://example.org/x.png">
<script>missing();</script></body>"""


def test_without_a_browser_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(tool.shutil, "which", lambda name: None)
    assert tool.main([]) == tool.ABSENT
    said = capsys.readouterr().out
    assert said.startswith("skipped: no browser found")
    assert said.count("\n") == 1


def test_requests_of_the_browser_itself_are_not_the_page_s():
    events = [
        {"type": 3, "params": {"url": "https://a.example/x", "initiator": "null"}},
        {"type": 3, "params": {"url": "https://b.example/x", "initiator": "not an origin"}},
        {"type": 3, "params": {"net_error": -105}},
        {"type": 4, "params": {"url": "https://c.example/x"}},
    ]
    log = {"constants": {"logEventTypes": {"URL_REQUEST_START_JOB": 3}}, "events": events}
    assert tool.requests(log) == ["https://a.example/x"]


@pytest.mark.slow
def test_a_noisy_page_fails_and_a_quiet_one_is_drawn_light_and_dark(tmp_path, capsys):
    if tool.find() is None:
        pytest.skip("no browser is installed")
    (tmp_path / "good.html").write_text(GOOD)
    (tmp_path / "bad.html").write_text(BAD)
    assert tool.main([str(tmp_path / "good.html"), "--out", str(tmp_path / "shots")]) == 0
    corner = {
        look: Image.open(tmp_path / "shots" / f"good-{look}.png").getpixel((2, 2))
        for look in ("light", "dark")
    }
    assert corner == {"light": (255, 255, 255), "dark": (0, 0, 0)}
    with Image.open(tmp_path / "shots" / "good-narrow.png") as narrow:
        assert narrow.width == 400
    assert tool.picture(tool.find(), tmp_path / "bad.html", "narrow", tmp_path / "shots")
    seen = tool.look(tool.find(), tmp_path / "bad.html")
    assert any("missing is not defined" in problem for problem in seen.problems)
    assert any("https://example.org/x.png" in problem for problem in seen.problems)
