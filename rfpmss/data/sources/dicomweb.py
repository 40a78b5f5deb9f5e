"""A DICOMweb server as a folder: its instances, downloaded whole into a private cache.

Studies, series and instances are listed by QIDO-RS and retrieved one by one by WADO-RS, as they are
stored (PS3.18, 10.4 and 10.6). An instance appears in the cache only when it is whole, so that a
download that broke off goes on where it was. What the server no longer lists is removed: the folder
mirrors the answer, and a cohort from it is that of the same files in any other folder.

Messages hold neither addresses of resources nor answers of the server: both name patients.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rfpmss.common.files import whole
from rfpmss.common.lock import lock
from rfpmss.common.progress import progress
from rfpmss.data.errors import (
    IncompleteError,
    OwnerError,
    UnreadableError,
    describe,
)

if TYPE_CHECKING:
    from dicomweb_client.api import DICOMwebClient
    from requests import Response, Session

    from rfpmss.data.cohort.shards import Rejection

MODALITIES = ("CT", "MR", "SR", "SM", "SEG")
"""What is downloaded: the images and reports that this pipeline reads."""
SUFFIX = ".dicomweb"
"""The cache of an output ``OUT`` is ``OUT.dicomweb`` beside it."""
AUTH = "RFPMSS_DICOMWEB_AUTH"
"""Environment variable with ``user:password`` or ``Bearer TOKEN``."""

CONNECT, READ, LONGEST = 10.0, 60.0, 600.0
"""Seconds to connect, between two pieces of an answer, and for a whole answer."""
TRIES = 4
"""How often one question is asked before it counts as failed."""
PAUSE = 0.5
"""Seconds before the second try; each further pause is twice as long."""
BUSY = (408, 429, 500, 502, 503, 504)
"""HTTP statuses after which the same question may be answered later."""
PAGE = 500
"""Entries asked for at once."""
MOST = 5_000_000
"""Entries of one list; a server that lists more repeats itself."""
LARGEST_LIST = 64 << 20
"""A page of a list, bytes."""
FAILED = 20
"""Instances that may fail; more, and more than one in a hundred, are a sick server."""
CHUNK = 1 << 16

LOGGERS = ("dicomweb_client", "requests", "urllib3")
"""They print addresses of studies."""


class ServerError(IncompleteError):
    """The DICOMweb server cannot be used."""

    cure = "what is complete is kept: start again once the server answers"


class NothingError(IncompleteError):
    """The DICOMweb server holds nothing of what it was asked for."""

    cure = "check the address and what --dicomweb-patients, -dates and -modalities ask for"


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where to ask, and for what."""

    url: str
    """Root of the service, such as ``https://pacs.example/dicom-web``."""
    patients: tuple[str, ...] = ()
    """PatientIDs; empty: all."""
    dates: str = ""
    """Of the studies, ``YYYYMMDD-YYYYMMDD``, one end may be missing; empty: all."""
    modalities: tuple[str, ...] = MODALITIES
    """Of the series."""
    auth: str = field(default="", repr=False)
    """``user:password`` or ``Bearer TOKEN``; empty: what the netrc file says, if anything."""
    limit: int = 1 << 30
    """Largest instance, bytes."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("--dicomweb must be the address of a service, http:// or https://")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "--dicomweb must hold no user, password or question mark; credentials come from "
                f"the environment variable {AUTH} or a netrc file"
            )
        if self.dates and not re.fullmatch(r"(?:\d{8})?-(?:\d{8})?|\d{8}", self.dates):
            raise ValueError("--dicomweb-dates must be YYYYMMDD-YYYYMMDD, YYYYMMDD- or -YYYYMMDD")
        if any(set(patient) & set("*?\\") for patient in self.patients):
            raise ValueError("--dicomweb-patients must be whole PatientIDs without wildcards")
        if not all(re.fullmatch("[A-Z]{2,16}", modality) for modality in self.modalities):
            raise ValueError("--dicomweb-modalities must be codes such as CT MR")


@dataclass(frozen=True)
class Series:
    """One series that the server lists, and how many instances it says it has."""

    patient: str
    study: str
    series: str
    modality: str
    count: int | None


Key = tuple[str, str, str, str]
"""PatientID, and the UIDs of study, series and instance."""


def find_series(server: Server) -> list[Series]:
    """What the server holds of what is asked for; nothing is downloaded.

    Raises:
        ServerError: if it does not answer, or not as DICOMweb does.
    """
    with _client(server) as client:
        return list(_series(client, server))


def fetch(server: Server, cache: Path) -> list[Rejection]:
    """Bring ``cache`` into line with the server; a killed download goes on in the next run.

    Args:
        server: where, and what.
        cache: private folder, made if absent, that holds nothing else.

    Returns:
        Instances that cannot be had, under the paths that they would have.

    Raises:
        ServerError: if the server does not answer, or too many instances fail.
        OSError: if the disk takes no more.
    """
    _own(cache)
    waiting = "another process downloads into the same folder; waiting for it"
    with lock(cache.with_name(f".{cache.name}.lock"), waiting), _client(server) as client:
        rejections, keys = [], []
        for series in _series(client, server):
            if series.patient:
                keys += _instances(client, series)
                continue
            error = OwnerError("the study on the server has no PatientID")
            rejections.append((cache / f"study-{_hash(series.study)}", describe(error)))

        wanted = {_place(cache, key): key for key in sorted(set(keys))}
        if not wanted:
            raise NothingError("the server holds no image and no report that is asked for")
        _tidy(cache, set(wanted))
        rejections += _download_all(client, wanted)

    return list(dict.fromkeys(rejections))


def _download_all(client: DICOMwebClient, wanted: dict[Path, Key]) -> list[Rejection]:
    """Those that are not there yet; the ones that cannot be had, with the reason."""
    failed: list[Rejection] = []
    missing = [path for path in wanted if not path.is_file()]
    done = len(wanted) - len(missing)
    title = "going on with the download" if done else "downloading"
    with progress(title, len(wanted), start=done, unit="instances") as advance:
        for path in missing:
            try:
                _download(client, wanted[path], path)
            except _Failure as failure:
                failed.append((path, describe(UnreadableError(failure.reason))))
                if len(failed) > max(FAILED, len(wanted) // 100):
                    raise ServerError(
                        f"{len(failed)} of {len(wanted)} instances cannot be had: {failure.reason}"
                    ) from None

            advance()

    return failed


class _Failure(Exception):
    """One instance cannot be had."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_OURS = re.compile(r"\.?i-[0-9a-f]{24}\.dcm(?:\.part|\.\d+\.tmp)?")
"""Instances, and what a killed download of this version or an older one left of them."""


def _own(cache: Path) -> None:
    """The cache, which only its owner may look into."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    cache.chmod(0o700)


def _tidy(cache: Path, wanted: set[Path]) -> None:
    """Remove what the server does not list, and what a killed download left half."""
    for folder, _, names in os.walk(cache, topdown=False):
        for name in names:
            path = Path(folder) / name
            if path not in wanted and _OURS.fullmatch(name):
                path.unlink()
        if Path(folder) != cache and not any(Path(folder).iterdir()):
            Path(folder).rmdir()


def _place(cache: Path, key: Key) -> Path:
    """By hashes, so that no UID of a server can lead elsewhere and no listing shows a patient."""
    patient, study, series, instance = map(_hash, key)
    return cache / f"patient-{patient}" / f"study-{study}" / f"s-{series}" / f"i-{instance}.dcm"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


# The three questions


def _series(client: DICOMwebClient, server: Server) -> Iterator[Series]:
    for study in _studies(client, server):
        uid = _value(study, "0020000D")
        asked = {"Modality": "\\".join(server.modalities)} if len(server.modalities) == 1 else {}
        found = _all(
            "0020000E",
            lambda limit, offset, uid=uid, asked=asked: client.search_for_series(
                uid, limit=limit, offset=offset, search_filters=asked
            ),
        )
        for item in found:
            if (modality := _value(item, "00080060")) in server.modalities:
                count = _value(item, "00201209")
                yield Series(
                    patient=_value(study, "00100020"),
                    study=uid,
                    series=_value(item, "0020000E"),
                    modality=modality,
                    count=int(count) if count.isdecimal() else None,
                )


def _studies(client: DICOMwebClient, server: Server) -> Iterator[dict[str, Any]]:
    for patient in server.patients or ("",):
        asked = {"PatientID": patient} if patient else {}
        asked |= {"StudyDate": server.dates} if server.dates else {}
        found = _all(
            "0020000D",
            lambda limit, offset, asked=asked: client.search_for_studies(
                limit=limit, offset=offset, search_filters=asked, fields=["PatientID"]
            ),
        )
        for item in found:
            if not patient or _value(item, "00100020") == patient:  # some servers match loosely
                yield item


def _instances(client: DICOMwebClient, series: Series) -> Iterator[Key]:
    found = _all(
        "00080018",
        lambda limit, offset: client.search_for_instances(
            series.study, series.series, limit=limit, offset=offset
        ),
    )
    for item in found:
        yield series.patient, series.study, series.series, _value(item, "00080018")


def _all(key: str, ask: Callable[[int, int], list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """All pages of a list, each entry once; servers that know no pages give all at once."""
    seen: set[str] = set()
    offset = 0
    while offset < MOST:
        page = _asked(lambda at=offset: ask(PAGE, at))
        fresh = [item for item in page if _value(item, key) and _value(item, key) not in seen]
        for item in fresh:
            if _value(item, key) not in seen:
                seen.add(_value(item, key))
                yield item
        offset += len(page)
        if not fresh:  # a server may give smaller pages than asked for
            return

    raise ServerError("the server repeats its list without end")


def _value(item: dict[str, Any], tag: str) -> str:
    """The first value of an element in the DICOM JSON model (PS3.18, F.2)."""
    try:
        values = item[tag].get("Value") or [""]
        return str("" if values[0] is None else values[0]).strip()
    except (KeyError, AttributeError, TypeError, IndexError):
        return ""


def _download(client: DICOMwebClient, key: Key, path: Path) -> None:
    """One instance as it is stored, whole or not at all."""
    _, study, series, instance = key
    try:
        made = _asked(lambda: client.retrieve_instance(study, series, instance), once=True)
        if str(made.get("SOPInstanceUID", "")) != instance:
            raise _Failure("the server gave another instance than asked for")
        with whole(path, private=True, swept=False) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.save_as(file, enforce_file_format=True)
    except (_Failure, OSError, ServerError):
        raise
    except Exception:
        raise _Failure("what the server gave for the instance is no DICOM") from None


# What can go wrong


def _asked(ask: Callable[[], Any], *, once: bool = False) -> Any:
    """The answer; what a server may do better a second time is asked again.

    Args:
        ask: the question.
        once: what concerns one instance alone is a `_Failure`, not the end of the download.
    """
    for left in range(TRIES - 1, -1, -1):
        error = _try(ask)
        if not isinstance(error, _Trouble):
            return error
        if not error.again or not left:
            break
        time.sleep(PAUSE * 2 ** (TRIES - 1 - left))

    if once and error.single:
        raise _Failure(error.reason)

    raise ServerError(error.reason)


@dataclass(frozen=True)
class _Trouble:
    reason: str
    again: bool = False
    single: bool = False
    """It may concern this one instance alone."""


def _try(ask: Callable[[], Any]) -> Any:
    """The answer, or what is wrong in words without addresses."""
    import requests

    kinds = (requests.exceptions.RequestException, ValueError, KeyError, AttributeError, TypeError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ask()
    except _Cut as cut:
        return _Trouble(str(cut), again=cut.again, single=True)
    except kinds as error:
        return _trouble(error)


def _trouble(error: Exception) -> _Trouble:
    from requests import exceptions as found

    if isinstance(error, found.HTTPError) and error.response is not None:
        return _status(error.response.status_code)

    for kind, trouble in (
        (
            found.TooManyRedirects,
            _Trouble("the server sends us elsewhere; give the final address as --dicomweb"),
        ),
        (
            found.SSLError,
            _Trouble(
                "the certificate of the server is not trusted; name the hospital's certificates in "
                "the environment variable REQUESTS_CA_BUNDLE"
            ),
        ),
        (found.Timeout, _Trouble("the server does not answer in time", again=True)),
        (found.ChunkedEncodingError, _Trouble("the answer ends early", again=True, single=True)),
        (found.ConnectionError, _Trouble("there is no connection to the server", again=True)),
    ):
        if isinstance(error, kind):
            return trouble

    return _Trouble("the answer of the server is no DICOMweb", single=True)


def _status(code: int) -> _Trouble:
    if code == 401:
        return _Trouble(f"the server wants credentials, or others (HTTP 401); see {AUTH}")
    if code in (403, 407):
        return _Trouble(f"the server refuses the request (HTTP {code})", single=code == 403)
    return _Trouble(f"the server answers with HTTP {code}", again=code in BUSY, single=True)


class _Cut(Exception):
    """An answer that is not whole, or too large."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


# The connection


class _client:  # noqa: N801 - used as a function
    """A client whose answers are whole, bounded, and from the server that was named."""

    def __init__(self, server: Server) -> None:
        self.session = _session(server)
        self.server = server

    def __enter__(self) -> DICOMwebClient:
        from dicomweb_client.api import DICOMwebClient

        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

        client = DICOMwebClient(
            self.server.url.rstrip("/"),
            session=self.session,
            permissive_uid=True,
            timeout=(CONNECT, READ),
        )
        client.set_http_retry_params(retry=False)  # `_asked` tries again
        return client

    def __exit__(self, *_: object) -> None:
        self.session.close()


def _session(server: Server) -> Session:
    import requests
    from requests.adapters import HTTPAdapter

    class Whole(HTTPAdapter):
        """Reads each answer at once, within a size and a time."""

        def send(self, request: Any, *args: Any, **options: Any) -> Response:
            options["stream"] = True
            response = super().send(request, *args, **options)
            if not response.is_redirect:
                _read_whole(response, server.limit)
            return response

    session = requests.Session()
    session.max_redirects = 0
    session.mount("http://", Whole())
    session.mount("https://", Whole())
    kind, _, secret = server.auth.partition(" ")
    if kind == "Bearer" and secret:
        session.trust_env = True
        session.auth = _bearer(secret.strip())
    elif server.auth:
        user, _, password = server.auth.partition(":")
        session.auth = (user, password)

    return session


def _bearer(token: str) -> Callable[[Any], Any]:
    def sign(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign


def _read_whole(response: Response, limit: int) -> None:
    """Fill the answer's content, or raise `_Cut`."""
    kind = response.headers.get("Content-Type", "")
    most = limit + (1 << 20) if "multipart" in kind or "dicom" in kind else LARGEST_LIST
    most = LARGEST_LIST if "json" in kind else most
    stop = time.monotonic() + LONGEST
    parts, size = [], 0
    with response:
        for chunk in response.iter_content(CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if size > most:
                raise _Cut(f"the answer is larger than {most >> 20} MiB", again=False)
            if time.monotonic() > stop:
                raise _Cut("the server does not answer in time", again=True)

    response._content = b"".join(parts)  # what iter_content took is gone otherwise
    response._content_consumed = True
    boundary = re.search(r'boundary="?([^";]+)', kind)
    if response.ok and boundary and "multipart" in kind:
        end = f"--{boundary[1].strip()}--".encode()
        if end not in response._content[-len(end) - 64 :]:
            raise _Cut("the answer ends early", again=True)
