"""Open pages in a real browser: nothing on the console, nothing asked of the network, pictures.

Usage: python tools/browser.py [PAGE.html ...] [--out DIR]

Without pages it makes the project's own by the real commands: the page of a small generated cohort,
the page of a run of a few steps, and what ``rfpmss view`` shows of it: the list and a patient.
Pictures (light, dark, as wide as a telephone) go to DIR, by default build/browser. Needs Chromium
or Chrome, found by name or by the variable BROWSER. Ends with status 1 if a page fails and 77 if
there is no browser.
"""

from __future__ import annotations

import argparse
import html
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    "--host-resolver-rules=MAP * ~NOTFOUND",  # whatever is asked for, nothing leaves this machine
)
LOOKS = {
    "light": (1280, ()),
    "dark": (1280, ("--blink-settings=preferredColorScheme=0",)),
    "narrow": (400, ()),
}
LEAST = 500
"""Pixels: no window is narrower, so narrower pages are drawn in a frame."""
HEIGHT = 12_000
"""Pixels that are drawn; blank rows at the end are cut off."""
ABSENT = 77


@dataclass(frozen=True)
class Seen:
    """What a browser found on a page."""

    title: str
    elements: int
    """Elements in the document after it was laid out."""
    problems: tuple[str, ...]


def main(argv: list[str] | None = None) -> int:
    """Check every page and print a line for each; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/browser"))
    arguments = parser.parse_args(argv)
    browser = find()
    if browser is None:
        print(f"skipped: no browser found ({', '.join(NAMES)}); install one or set BROWSER")
        return ABSENT
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pages = arguments.pages or make_pages(Path(folder))
        failed = 0
        for page in pages:
            seen = look(browser, page)
            problems = list(seen.problems)
            for name in LOOKS:
                said = picture(browser, page, name, arguments.out)
                problems += [f"{name}: console: {line}" for line in said]
            print(
                f"{'FAILED' if problems else 'ok'}: {page.name}: {seen.title!r}, "
                f"{seen.elements} elements"
            )
            for problem in problems:
                print(f"  {problem}")
            failed += bool(problems)
    print(f"pictures: {arguments.out}")
    return 1 if failed else 0


def find() -> str | None:
    """The browser's program, if there is one."""
    return next(filter(None, map(shutil.which, (os.environ.get("BROWSER", ""), *NAMES))), None)


def make_pages(folder: Path) -> list[Path]:
    """A cohort page, a run page, the list of studies and a patient, by the real commands."""
    cohort, run = folder / "cohort", folder / "run"
    smoke = ("--preset", "smoke", "--phantom.missing", "0.3")
    command("rfpmss.prepare", "phantom", "--out", str(cohort), *smoke)
    made = next(cohort.glob("phantom-*"))
    manifest = str(made / "manifest.csv")
    command(
        *("rfpmss.train", "--preset", "smoke", "--data", manifest),
        *("--max-steps", "5", "--run-dir", str(run)),
    )
    return [made / "cohort.html", run / "report.html", *view_pages(run, folder)]


def view_pages(run: Path, folder: Path, place: int = 0) -> list[Path]:
    """The pages of ``rfpmss view`` as files: the list of studies and the patient at a place."""
    from rfpmss.commands.view import application  # with torch: not for pages that are given
    from rfpmss.evaluation.page.patient import Looker
    from rfpmss.runs.opened import open_run

    looker = Looker(open_run(run, None, "cpu"), run / "evaluation")
    client = application(looker).test_client()
    wanted = {"studies.html": "/", "patient.html": f"/study/{looker.studies()[place]}"}
    for name, address in wanted.items():
        (folder / name).write_text(client.get(address, base_url="http://localhost").text)
    return [folder / name for name in wanted]


def command(module: str, *words: str) -> None:
    """Run one of the project's commands."""
    subprocess.run([sys.executable, "-m", module, *words], check=True, stdout=subprocess.DEVNULL)


def look(browser: str, page: Path) -> Seen:
    """Load a page and collect what it says and asks for."""
    with tempfile.TemporaryDirectory() as profile:
        log = Path(profile) / "net.json"
        done = subprocess.run(
            [
                *(browser, *QUIET, f"--user-data-dir={profile}", f"--log-net-log={log}"),
                *("--enable-logging=stderr", "--dump-dom", page.resolve().as_uri()),
            ],
            capture_output=True,
            timeout=180,
            check=False,
        )
        said = console(done.stderr)
        asked = requests(json.loads(log.read_text()))
    document = done.stdout.decode(errors="replace")
    about = Document()
    about.feed(document)
    problems = [f"console: {line}" for line in said]
    problems += [f"asks the network for {url}" for url in asked]
    if done.returncode or about.elements < 5:
        problems.append(f"the browser drew nothing (status {done.returncode})")
    return Seen(about.title.strip(), about.elements, tuple(problems))


def requests(log: dict) -> list[str]:
    """Addresses that the page asked for; the browser's own requests have no initiator."""
    start = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    wanted = [
        e["params"] for e in log["events"] if e["type"] == start and "url" in e.get("params", {})
    ]
    return sorted({p["url"] for p in wanted if p.get("initiator") != "not an origin"})


class Document(html.parser.HTMLParser):
    """Counts elements and keeps the title."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.title = ""
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count."""
        self.elements += 1
        self._inside = tag == "title" and not self.title

    def handle_data(self, data: str) -> None:
        """Keep the title's text."""
        if self._inside:
            self.title += data
            self._inside = False


def console(output: bytes) -> list[str]:
    """What pages wrote on the console."""
    return re.findall(r":CONSOLE[:(].*?\] (.*)", output.decode(errors="replace"))


def picture(browser: str, page: Path, look_name: str, out: Path) -> list[str]:
    """Draw the whole page into ``<page>-<look>.png``; return what it wrote on the console."""
    width, options = LOOKS[look_name]
    target = out / f"{page.stem}-{look_name}.png"
    with tempfile.TemporaryDirectory() as profile:
        shown = page.resolve().as_uri()
        if width < LEAST:
            frame = Path(profile) / "frame.html"
            frame.write_text(
                f'<!doctype html><body style="margin:0"><iframe src="{html.escape(shown)}" '
                f'width="{width}" height="{HEIGHT}" style="border:0"></iframe>'
            )
            shown = frame.as_uri()
        done = subprocess.run(
            [
                *(browser, *QUIET, *options, "--enable-logging=stderr"),
                *(f"--user-data-dir={profile}", f"--screenshot={target.resolve()}"),
                *(f"--window-size={max(width, LEAST)},{HEIGHT}", shown),
            ],
            capture_output=True,
            timeout=180,
            check=True,
        )
    crop(target, width)
    return console(done.stderr)


def crop(path: Path, width: int) -> None:
    """Cut what is beside the page, and the blank rows below it."""
    import numpy as np
    from PIL import Image

    image = Image.open(path).convert("RGB")
    image = image.crop((0, 0, width, image.height))
    pixels = np.asarray(image)
    used = np.flatnonzero((pixels != pixels[-1, 0]).any(axis=(1, 2)))
    last = int(used[-1]) + 24 if len(used) else len(pixels)
    image.crop((0, 0, image.width, min(last, image.height))).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
