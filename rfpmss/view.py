"""View: look at one patient of a trained run in a browser on this machine.

    python -m rfpmss.view STUDY --run-dir runs/tiny-0

Scans with a slider over the stored images, slide, report beside the generated one, where the
encoder and each word look, and the nearest patients by every pair of modalities. Only this
machine can reach the page (127.0.0.1); it asks nothing of the network. Ctrl-C ends it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from rfpmss.arguments import program
from rfpmss.common.command import guarded

if TYPE_CHECKING:
    from flask import Flask  # pyright: ignore[reportMissingImports]

    from rfpmss.evaluation.patient import Looker

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
"""What a browser may call this machine; another name is another site's."""


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.view`` takes."""

    study: Annotated[str, tyro.conf.Positional] = ""
    """Study of the cohort; by default the first that was held out."""
    run_dir: Path = Path("runs/tiny-0")
    """Run folder of rfpmss.train."""
    data: Path | None = None
    """Manifest of a prepared cohort; by default the one the run was trained on."""
    port: int = 7870
    """Of the page on this machine; 0 takes a free one."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    allow_config_change: bool = False
    """Go on although the cohort, the configuration or the release are not those of the run."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog=program("view"), description=__doc__)
    if find_spec("flask") is None:
        print(
            "error: rfpmss view needs Flask; install it with pip install 'multisk[rfpmss,app]'",
            file=sys.stderr,
        )
        return 1
    return guarded(lambda: view(arguments), arguments.run_dir)


def view(arguments: Arguments) -> int:
    """Serve the pages of a run; return the exit status."""
    from rfpmss.evaluation.opened import open_run
    from rfpmss.evaluation.patient import Looker

    opened = open_run(
        arguments.run_dir,
        arguments.data,
        arguments.device,
        allow_change=arguments.allow_config_change,
    )
    looker = Looker(opened, arguments.run_dir / "evaluation")
    study = arguments.study or next(iter(looker.studies()), "")
    try:
        looker.index(study)
        return serve(application(looker), arguments.port, study)
    except (ValueError, SystemExit, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def application(looker: Looker) -> Flask:
    """The pages ``/study/NAME`` of one run."""
    from flask import (  # pyright: ignore[reportMissingImports]
        Flask,
        Response,
        abort,
        request,
    )

    from rfpmss.evaluation.page import fill

    app = Flask("rfpmss", static_folder=None, template_folder=None)

    @app.before_request
    def _only_here() -> None:
        if request.host.rsplit(":", 1)[0] not in NAMES:
            abort(400, f"this page is served as {HOST} only")

    @app.get("/study/<path:name>")
    def _study(name: str) -> Response:
        try:
            patient = looker.look(name)
        except ValueError as error:
            return Response(f"{error}\n", 404, mimetype="text/plain")
        content = {"patient": patient, "studies": looker.studies()}
        answer = Response(fill("patient.html", content), mimetype="text/html")
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        return answer

    return app


def serve(app: Flask, port: int, study: str) -> int:
    """Answer until Ctrl-C; return 0."""
    from urllib.parse import quote

    from werkzeug.serving import make_server

    server = make_server(HOST, port, app)
    print(f"page: http://{HOST}:{server.port}/study/{quote(study)}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("ended")
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
