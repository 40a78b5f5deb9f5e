"""One patient: every stored image, neighbours as a plain loop finds them, only on this machine."""

import errno
import html
import os
import re
import signal
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch

from rfpmss import view as command
from rfpmss.commands import view
from rfpmss.common.command import guarded
from rfpmss.config import VIEWS, smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.evaluation.attention.maps import enlarge, layer_maps, rollout
from rfpmss.evaluation.attention.slices import maps_of, stack_of, stored, threshold_of
from rfpmss.evaluation.page import sections
from rfpmss.evaluation.page.patient import SHOWN, Looker
from rfpmss.evaluation.page.write import fill
from rfpmss.evaluation.retrieval.embed import embed
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.runs.opened import Opened


@pytest.fixture(scope="module")
def opened(smoke_cohort):
    config = smoke()
    torch.manual_seed(0)
    cohort = Cohort.open(smoke_cohort, config.data)
    tokenizer = train_tokenizer(cohort.reports("train"), config.data.vocabulary)
    model = RFPMSS(config.model, config.data, tokenizer.get_vocab_size())
    return Opened(model.eval(), cohort, tokenizer, config)


@pytest.fixture(scope="module")
def looker(opened, tmp_path_factory):
    return Looker(opened, tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def patient(looker):
    return looker.look(looker.studies()[3])


def stack(cohort, view, count):
    """The cohort with its first ``count`` studies' images as the slices of study 0."""
    place = cohort.places[0][VIEWS.index(view)]
    shard = np.stack([place.shard[:count, 0]])
    boxes = tuple(cohort.places[i][VIEWS.index(view)].boxes[0] for i in range(count))
    row = tuple(
        replace(place, shard=shard, row=0, boxes=boxes) if name == view else None for name in VIEWS
    )
    return replace(cohort, places=(row, *cohort.places[1:]))


def test_all_stored_images_are_shown_with_their_own_boxes(opened, tmp_path):
    many = stack(opened.cohort, "mri", 3)
    images, shown = stored(many, opened.tokenizer, 0, "mri")
    assert shown is None
    single = opened.cohort.batch([0, 1, 2], opened.tokenizer, augment=None).images[1][:, 0]
    assert torch.equal(images, single)
    for number in range(3):
        assert many.box(0, "mri", number) == opened.cohort.box(number, "mri")
    mri = stack_of(opened.model, many, opened.tokenizer, 0, "mri", threshold=0.5)
    assert [one.caption for one in mri.channels] == ["T1", "T1 Gd", "T2", "FLAIR"]
    assert all(len(set(one.uris)) == 3 for one in mri.channels)
    assert len({one.heat for one in mri.marks}) == 3
    assert all(one.predicted and one.reference for one in mri.marks)
    assert stack_of(opened.model, many, opened.tokenizer, 0, "ct") is None
    index = np.array([0, 1])
    embeddings = embed(opened.model, opened.cohort, opened.tokenizer, index, 2)
    run = sections.Opened(opened.model, many, opened.tokenizer, opened.config, embeddings, tmp_path)
    [found] = sections._stacks(run, "mri", index, 0.5)
    assert found == {"study": many.studies[0].study_id, "stack": mri}


def test_attention_of_an_image_alone_is_that_among_other_views(opened):
    batch = opened.cohort.batch([0, 1], opened.tokenizer, augment=None)
    images = batch.images[VIEWS.index("ct")][:, 0]
    among = rollout(layer_maps(opened.model.image, batch, "ct"))
    found = rollout(maps_of(opened.model.image, images, "ct", None))
    np.testing.assert_allclose(enlarge(found, 32), enlarge(among, 32), atol=1e-4)


def test_the_threshold_is_the_one_chosen_on_validation(tmp_path):
    assert threshold_of(tmp_path, "mri") is None
    (tmp_path / "attention.json").write_text(
        '[{"view": "ct", "method": "pretrained, rollout", "threshold": 0.1},'
        ' {"view": "mri", "method": "image intensity", "threshold": 0.2},'
        ' {"view": "mri", "method": "pretrained, rollout", "threshold": 0.7}]'
    )
    assert threshold_of(tmp_path, "mri") == 0.7
    assert threshold_of(tmp_path, "pathology") is None


def test_the_nearest_patients_are_those_of_a_plain_search(opened, looker, patient):
    cohort = opened.cohort
    test = cohort.indices("test")
    mine = cohort.studies[looker.index(patient.study_id)]
    vectors = embed(opened.model, cohort, opened.tokenizer, test, 12)
    row = [cohort.studies[i].study_id for i in test].index(patient.study_id)
    ct, mri = (vectors.joint[:, VIEWS.index(name)] for name in ("ct", "mri"))
    cosine = [
        float(ct[row] @ other / np.linalg.norm(ct[row]) / np.linalg.norm(other)) for other in mri
    ]
    order = sorted(range(len(test)), key=lambda i: -cosine[i])
    direction = next(d for d in patient.nearest if (d.query, d.gallery) == ("ct", "mri"))
    assert direction.own == order.index(row) + 1
    wanted = [cohort.studies[test[i]].study_id for i in order if i != row][:SHOWN]
    assert [near.study_id for near in direction.found] == wanted
    assert mine.study_id not in wanted
    assert [near.similarity for near in direction.found] == pytest.approx(
        sorted((cosine[i] for i in range(len(test)) if i != row), reverse=True)[:SHOWN], abs=1e-5
    )
    assert len(patient.nearest) == 20
    first = patient.nearest[0]
    assert (first.query, first.gallery) == ("study", "report")


def test_every_word_of_the_report_has_a_gaze_for_each_view(patient):
    said = "".join(word.text for word in patient.words).lower()
    letters = re.sub(r"\W", "", patient.report.lower())
    assert re.sub(r"\W", "", said) == letters[: len(re.sub(r"\W", "", said))]
    assert len(patient.words) > 10
    assert all(set(word.heats) == set(VIEWS) for word in patient.words)


def test_an_unknown_study_is_told_with_the_nearest_names(looker):
    with pytest.raises(ValueError, match="STUDY must be one of the cohort's 64 studies, such as"):
        looker.index("Phantom_9")
    assert looker.opened.cohort.studies[looker.index(looker.studies()[0])].split == "test"


def test_the_page_is_escaped_and_asks_for_nothing(patient, looker):
    attack = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    told = replace(patient, report=attack, generated=attack, study_id=attack)
    text = fill("patient.html", {"patient": told, "studies": [attack]})
    assert "<script>alert" not in text
    assert "onerror=alert(2)>" not in text
    assert "default-src 'none'; img-src data:" in html.unescape(text)
    found = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(link == "/" or link.startswith(("data:", "#", "/study/")) for link in found)
    assert text.count('class="slice"') == 3 + 4 + 1 + len(patient.words)


def test_the_app_answers_on_this_machine_only(looker, patient):
    pytest.importorskip("flask")
    client = view.application(looker).test_client()
    path = f"/study/{patient.study_id}"
    for host in ("127.0.0.1:7870", "localhost"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 200
        assert patient.study_id in answer.text
        assert answer.headers["Cache-Control"] == "no-store"
    assert client.get(path, headers={"Host": "attacker.example"}).status_code == 400
    missing = client.get("/study/nobody", headers={"Host": "localhost"})
    assert missing.status_code == 404
    assert "STUDY must be one of" in missing.text


def test_without_the_extra_the_command_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert command.main(["any", "--run-dir", "nowhere"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "pip install 'multisk[rfpmss,app]'" in told


def test_the_server_is_bound_to_this_machine(monkeypatch, capsys):
    asked = []

    class Server:
        port = 1234

        def __init__(self, host, port, app, *, threaded, request_handler, fd):
            assert fd
            assert threaded
            assert request_handler.timeout
            asked.append(host)

        def get_request(self):
            raise AssertionError("nobody asks")

        def server_close(self):
            asked.append("closed")

    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(view, "make_server", Server)
    monkeypatch.setattr(view.BaseServer, "serve_forever", stopped)
    with pytest.raises(KeyboardInterrupt):  # ends as every command: 128 + number
        view.serve(pytest.importorskip("flask").Flask("any"), 0, "a b")
    assert asked == ["127.0.0.1", "closed"]
    assert "http://127.0.0.1:1234/study/a%20b" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        view.serve(pytest.importorskip("flask").Flask("any"), 0, "a", "key")
    assert "/study/a?token=key\n" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_pages_in_one_line(number, capsys):
    app = pytest.importorskip("flask").Flask("any")
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
    assert guarded(lambda: view.serve(app, 0, "a")) == 128 + number
    assert capsys.readouterr().err == f"stopped by signal {int(number)}\n"


@pytest.mark.parametrize(
    ("number", "pauses"), [(errno.EMFILE, 1), (errno.ENFILE, 1), (errno.ECONNABORTED, 0)]
)
def test_without_descriptors_the_server_pauses_and_does_not_spin(number, pauses, monkeypatch):
    slept, served = [], []

    class Full(HTTPServer):
        def get_request(self):
            raise OSError(number, os.strerror(number))

    def once(server):
        server._handle_request_noblock()  # what it calls where a connection waits
        served.append(server)

    def full(host, port, app, *, fd, **_):
        server = Full((host, port), BaseHTTPRequestHandler, bind_and_activate=False)
        server.port = port
        return server

    monkeypatch.setattr(view.time, "sleep", slept.append)
    monkeypatch.setattr(view, "make_server", full)
    monkeypatch.setattr(view.BaseServer, "serve_forever", once)
    assert view.serve(pytest.importorskip("flask").Flask("any"), 0, "a") == 0
    assert served
    assert slept == [view.PAUSE] * pauses


@pytest.fixture
def client():
    """Both ends of a connection: the server's, and the browser's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(view.TIMEOUT)  # as the server sets it; nobody waits for it
        yield ours, theirs


def test_a_page_for_a_browser_that_has_gone_is_not_made(looker, client, monkeypatch):
    ours, theirs = client
    made = []
    monkeypatch.setattr(looker, "look", lambda name: made.append(name) or 1 / 0)
    pages = view.application(looker).test_client()
    there = {"environ_overrides": {"werkzeug.socket": ours}, "headers": HERE}
    for sent in (b"", b"the next request"):  # a browser that waits, or asks ahead
        theirs.send(sent)
        assert pages.get("/study/a", **there).status_code == 500
    assert made == ["a", "a"]
    ours.recv(64)
    theirs.close()
    answer = pages.get("/study/a", **there)
    assert (answer.status_code, answer.text) == (503, f"{view.GONE}\n")
    ours.close()
    assert view.left(ours)
    assert len(made) == 2


def test_the_pages_that_wait_are_few_and_leave_when_their_browser_does(client, monkeypatch):
    monkeypatch.setattr(view, "LOOK", 0.01)
    ours, theirs = client
    queue, said = view.Queue(places=2), []

    def ask():
        with queue.turn(ours) as refused:
            said.append(refused)

    with queue.turn(None) as first:
        waiting = threading.Thread(target=ask)
        waiting.start()
        while queue._places.acquire(blocking=False):  # until it waits
            queue._places.release()
        with queue.turn(None) as third:
            assert third == "too many pages are asked for at once; load this one again later"
        theirs.close()
        waiting.join(60)
        assert said == [view.GONE]  # while the first page is still being made
    with queue.turn(None) as fourth:
        assert (first, fourth) == ("", "")


def test_a_port_that_another_program_has_is_one_sentence(capfd):
    pytest.importorskip("werkzeug")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        app = pytest.importorskip("flask").Flask("any")
        assert guarded(lambda: view.serve(app, port, "a")) == 1
    told = capfd.readouterr()
    assert told.err == (
        f"error: --port must be free, got {port}: Address already in use; choose another, or 0 for "
        f"a free one\n"
    )
    assert not told.out


HERE = {"Host": "127.0.0.1:7870"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:7870"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "LOCALHOST:7870"}, 200),
        ({"Host": "127.0.0.1.evil.example"}, 400),
    ],
)
def test_other_sites_get_no_answer(looker, sent, status):
    pytest.importorskip("flask")
    client = view.application(looker).test_client()
    answer = client.get("/", headers=HERE | sent)
    assert answer.status_code == status
    assert ("Studies" in answer.text) == (status == 200)


def test_every_answer_is_sealed_and_the_root_is_the_list(looker):
    pytest.importorskip("flask")
    client = view.application(looker).test_client()
    for path, status in (("/", 200), ("/study/nobody", 404), ("/nothing", 404), ("/study/", 404)):
        answer = client.get(path, headers=HERE)
        assert answer.status_code == status
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"
    assert client.post("/", headers=HERE).status_code == 405
    text = client.get("/", headers=HERE).text
    names = re.findall(r'<a href="/study/([^"]*)">', text)
    assert names == looker.studies()


def test_the_pages_need_the_key_of_the_printed_link(looker, patient):
    pytest.importorskip("flask")
    client = view.application(looker, "secret").test_client()
    path = f"/study/{patient.study_id}"
    for asked in (path, "/", path + "?token=", path + "?token=secres", "/study/nobody"):
        answer = client.get(asked, headers=HERE)
        assert answer.status_code == 403
        assert "Phantom" not in answer.text
    answer = client.get(path + "?token=secret", headers=HERE)
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    with_key = HERE | {"Cookie": cookie.split(";")[0]}
    assert client.get("/", headers=with_key).status_code == 200
    twice = HERE | {"Cookie": f"{cookie.split('=')[0]}=foreign; {with_key['Cookie']}"}
    assert client.get("/", headers=twice).status_code == 200


def test_two_pages_on_one_machine_keep_their_keys(looker):
    """A browser keeps cookies by host name, whatever the port: here one jar for both."""
    pytest.importorskip("flask")
    jar = {}
    pages = {7870: "one", 7871: "two"}
    clients = {
        port: view.application(looker, key).test_client(use_cookies=False)
        for port, key in pages.items()
    }

    def get(port, path):
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
        return clients[port].get(path, headers=sent, base_url=f"http://127.0.0.1:{port}")

    for port, key in pages.items():
        name, value = get(port, f"/?token={key}").headers["Set-Cookie"].split(";")[0].split("=")
        jar[name] = value
    assert [get(port, "/").status_code for port in pages] == [200, 200]


def test_a_silent_connection_keeps_nobody_waiting(monkeypatch, capfd):
    """One socket that says nothing, one that sends half a request line; a third is served.

    A fourth asks for what is no address.
    """
    flask = pytest.importorskip("flask")
    serving = pytest.importorskip("werkzeug.serving")
    made, usual = [], serving.make_server

    def make(*words, **named):
        made.append(usual(*words, **named))
        return made[0]

    monkeypatch.setattr(view, "make_server", make)
    monkeypatch.setattr(view, "TIMEOUT", 0.5)
    app = flask.Flask("any", static_folder=None)
    app.add_url_rule("/", view_func=lambda: "served")
    running = threading.Thread(target=view.serve, args=(app, 0, "a"), daemon=True)
    running.start()
    while not made:
        time.sleep(0.01)
    place = ("127.0.0.1", made[0].port)
    with socket.create_connection(place) as silent, socket.create_connection(place) as half:
        half.sendall(b"GET / HT")
        with socket.create_connection(place, timeout=60) as third:
            third.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert third.makefile("rb").read().endswith(b"served")
        with socket.create_connection(place, timeout=60) as broken:
            broken.sendall(b"GET http://[::1/ HTTP/1.1\r\n\r\n")
            assert b" 400 " in broken.makefile("rb").readline()
        for waiting in (silent, half):  # and they are let go, not held for ever
            waiting.settimeout(60)
            assert waiting.recv(1) in (b"", b"H")
    made[0].shutdown()
    running.join(timeout=60)
    assert not running.is_alive()
    assert "Traceback" not in capfd.readouterr().err
