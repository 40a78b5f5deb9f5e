"""What ``rfpmss view`` does."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hmac import compare_digest
from secrets import token_urlsafe
from select import POLLIN, poll
from socket import MSG_PEEK, create_server, socket
from socketserver import BaseServer
from threading import BoundedSemaphore, Lock
from typing import Any
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

QUEUE = 16
"""Pages that are asked for and not made yet; a browser asks for one or two."""

PAUSE = 0.2
"""Seconds until a connection is tried again for which the process had no descriptor left."""

LOOK = 1.0
"""Seconds between two looks at whether a browser still waits."""

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


class Queue:
    """Whose page is made next: the model and its cache are one, requests are many."""

    def __init__(self, places: int = QUEUE) -> None:
        self._places = BoundedSemaphore(places)
        self._one = Lock()

    @contextmanager
    def turn(self, client: socket | None) -> Iterator[str]:
        """Wait for the turn of a client; in the body nobody else has one.

        Args:
            client: where its answer goes; None if that is not known.

        Yields:
            Why its page is not made; empty where it is its turn.
        """
        if not self._places.acquire(blocking=False):
            yield "too many pages are asked for at once; load this one again later"
            return

        try:
            gone = left(client)
            while not gone and not self._one.acquire(timeout=LOOK):
                gone = left(client)
            if gone:
                yield GONE
                return
            try:
                yield GONE if left(client) else ""
            finally:
                self._one.release()
        finally:
            self._places.release()


GONE = "nobody waits for this page any more"


def left(client: socket | None) -> bool:
    """Whether a client has closed its connection; what it may have sent is not taken."""
    if client is None:
        return False

    try:
        waiting = poll()
        waiting.register(client, POLLIN)
        return bool(waiting.poll(0)) and client.recv(1, MSG_PEEK) == b""
    except (OSError, ValueError):  # reset, or closed on this side, too
        return True


def application(looker: Looker, token: str = "") -> Flask:
    """The list of studies under ``/`` and the pages ``/study/NAME`` of one run.

    Args:
        looker: shows one patient after the other; asked by one request at a time.
        token: what a browser has to bring, once in the link and then in a cookie; none if empty.
    """
    app = Flask("rfpmss", static_folder=None, template_folder=None)
    queue = Queue()

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
        return _page(looker, queue, name)

    return app


def _page(looker: Looker, queue: Queue, name: str) -> Response:
    """The page of a study, or why there is none."""
    try:
        with queue.turn(request.environ.get("werkzeug.socket")) as refused:
            if refused:
                return Response(f"{refused}\n", 503, {"Retry-After": "10"}, "text/plain")
            patient = looker.look(name)
    except ValueError as error:
        return Response(f"{error}\n", 404, mimetype="text/plain")

    content = {"patient": patient, "studies": looker.studies()}
    return Response(fill("patient.html", content), mimetype="text/html")


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
    server.get_request = _patient(server.get_request)
    key = f"?token={token}" if token else ""
    print(f"page: http://{HOST}:{server.port}/study/{quote(study)}{key}", flush=True)

    try:
        BaseServer.serve_forever(server)  # werkzeug's own takes a signal for an ordinary end
    finally:
        server.server_close()

    return 0


def _patient(accept: Callable[[], tuple[socket, Any]]) -> Callable[[], tuple[socket, Any]]:
    """Accept connections; where no descriptor is left for one, wait before it is tried again.

    It stays in the queue and wakes the server at once: without a pause nothing else would run.
    """

    def wait() -> tuple[socket, Any]:
        try:
            return accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(PAUSE)
            raise

    return wait


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
