"""What ``rfpmss view`` does."""

from __future__ import annotations

import os
import sys
from hmac import compare_digest
from secrets import token_urlsafe
from socket import create_server, socket
from socketserver import BaseServer
from threading import Lock
from urllib.parse import quote, urlsplit

from flask import Flask, Response, request
from werkzeug.serving import WSGIRequestHandler, make_server

from rfpmss.common.errors import RfpmssError
from rfpmss.config import MODALITIES
from rfpmss.evaluation.page.patient import Looker
from rfpmss.evaluation.page.write import fill
from rfpmss.options.view import Arguments
from rfpmss.runs.opened import open_run

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
"""What a browser may call this machine; another name is another site's."""

TIMEOUT = 20.0
"""Seconds that a connection may be silent."""

COOKIE = "rfpmss-view-{port}"
"""A browser sends the cookies of one name of a machine to all its ports."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page itself says the rest
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer, errors included."""


def view(arguments: Arguments) -> int:
    """Serve the pages of a run; return the exit status."""
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
        token = token_urlsafe(24)
        return serve(application(looker, token), arguments.port, study, token)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def application(looker: Looker, token: str = "") -> Flask:
    """The list of studies under ``/`` and the pages ``/study/NAME`` of one run.

    Args:
        looker: shows one patient after the other; asked by one request at a time.
        token: what a browser has to bring, once in the link and then in a cookie; none if empty.
    """
    app = Flask("rfpmss", static_folder=None, template_folder=None)
    one = Lock()

    @app.before_request
    def _admit() -> Response | None:
        refusal = _refusal(
            request.host, request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        )
        if refusal:
            return Response(f"{refusal[1]}\n", refusal[0], mimetype="text/plain")
        cookie = COOKIE.format(port=request.environ["SERVER_PORT"])
        brought = request.cookies.getlist(cookie)  # others may have set one of that name, too
        if not token or any(compare_digest(one.encode(), token.encode()) for one in brought):
            return None
        if compare_digest(request.args.get("token", "").encode(), token.encode()):
            answer = Response(status=303, headers={"Location": quote(request.path)})
            answer.set_cookie(cookie, token, httponly=True, samesite="Strict")
            return answer
        text = "open the link that rfpmss view printed: it holds the key to these pages\n"
        return Response(text, 403, mimetype="text/plain")

    @app.after_request
    def _seal(answer: Response) -> Response:
        answer.headers.update(HEADERS)
        return answer

    @app.errorhandler(404)
    def _missing(_: Exception) -> Response:
        return Response("there is no such page; / lists the studies\n", 404, mimetype="text/plain")

    @app.get("/")
    def _list() -> Response:
        content = {"studies": looker.listed(), "modalities": MODALITIES}
        return Response(fill("studies.html", content), mimetype="text/html")

    @app.get("/study/<path:name>")
    def _study(name: str) -> Response:
        try:
            with one:  # the model and its cache are one, threads are many
                patient = looker.look(name)
        except ValueError as error:
            return Response(f"{error}\n", 404, mimetype="text/plain")
        content = {"patient": patient, "studies": looker.studies()}
        return Response(fill("patient.html", content), mimetype="text/html")

    return app


def _refusal(host: str, site: str | None, origin: str | None) -> tuple[int, str] | None:
    """Status and reason where a request comes under another name or from another site."""
    if host.rsplit(":", 1)[0].lower() not in NAMES:
        return 400, f"this page is served as {HOST} only"
    if site not in (None, "same-origin", "none") or origin not in (None, f"http://{host}"):
        return 403, "these pages answer no other site"
    return None


def serve(app: Flask, port: int, study: str, token: str = "") -> int:
    """Answer until Ctrl-C, each request on a thread of its own."""

    class Handler(WSGIRequestHandler):
        timeout = TIMEOUT

        def run_wsgi(self) -> None:
            try:
                urlsplit(self.path)
            except ValueError:  # http://[::1/
                self.path = ""  # which the log would take apart, too
                self.send_error(400)
                return
            super().run_wsgi()

    with _bound(port) as own:  # werkzeug would print its own lines about a port in use
        server = make_server(
            *(HOST, port, app), threaded=True, request_handler=Handler, fd=own.fileno()
        )
    server.handle_error = _unsaid
    key = f"?token={token}" if token else ""
    print(f"page: http://{HOST}:{server.port}/study/{quote(study)}{key}", flush=True)
    try:
        BaseServer.serve_forever(server)  # werkzeug's own takes a signal for an ordinary end
    finally:
        server.server_close()
    return 0


def _unsaid(request: object, client_address: object) -> None:
    """A broken request is its sender's; the terminal shows no traceback of it."""


def _bound(port: int) -> socket:
    """A socket of this machine that listens on a port.

    Raises:
        RfpmssError: if another program has it, or this user may not.
    """
    try:
        return create_server((HOST, port), backlog=128)
    except OSError as error:
        raise RfpmssError(
            f"--port must be free, got {port}: {os.strerror(error.errno or 0)}; choose another, or "
            f"0 for a free one"
        ) from None
