"""A running service, called over HTTP with patience: it may be busy, limited or just restarting.

Called by `submit`. What a service answers to a faulty call becomes the application's own errors.
"""

import re
import time
from collections.abc import Callable, Mapping
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

import requests

from app.archive import portable_name
from app.cli.endings import RefusedUpload, Unfinished
from app.cli.files import write_whole
from app.cli.form import Form
from app.config import VERSION
from app.errors import (
    Conflict,
    NotFound,
    PressroomError,
    TooLarge,
    Unauthorized,
)

PATIENCE_SECONDS = 300
"""A service that is away for so long is given up."""
CONNECT_SECONDS, ANSWER_SECONDS = 10, 300
"""A million rows take a minute to store."""
AWAY_PAUSE_SECONDS = 2.0
CHUNK_BYTES = 1 << 16

_CERTIFICATE_FAULT = re.compile(r"certificate verify failed: ([^(']*[^(' ])")
_BUSY = (429, 502, 503, 504)
_Read = TypeVar("_Read")


class GivenUp(Unfinished):
    """The service was away for too long; what it has accepted may go on."""


class Remote:
    """The service at a URL; `say` hears once when it is waited for, and when it is back."""

    def __init__(self, url: str, api_key: str | None, say: Callable[[str], None]):
        self.url = url
        self._say = say
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"Pressroom/{VERSION} (flask submit)"
        if api_key:
            self._session.auth = _Bearer(api_key)
        self._away_since: float | None = None

    def reach(self) -> None:
        """Raises Unfinished where no service answers: a wrong URL is not worth patience."""
        try:
            reply = self._session.get(
                f"{self.url}/healthz", timeout=CONNECT_SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            raise Unfinished(f"{self.url} cannot be reached: {_reason(error)}") from error
        _refuse_redirect(reply)
        if reply.status_code != 200 or b'"status"' not in reply.content:
            raise Unfinished(
                f"{self.url} is no Pressroom service, or not for this machine: /healthz answers "
                f"{reply.status_code}, {_sentence(reply)}"
            )

    def upload(
        self, file: BinaryIO, name: str, fields: Mapping[str, Any], idempotency_key: str
    ) -> dict[str, Any]:
        """The reply to an upload; sent again under its key it is the same upload.

        Raises RefusedUpload, TooLarge, Conflict, Unauthorized, Unfinished.
        """
        form = Form(file, name, fields)

        def send() -> requests.Response:
            return self._session.post(
                f"{self.url}/upload",
                data=form,
                headers={"Idempotency-Key": idempotency_key, "Content-Type": form.content_type},
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
            )

        return self._call(send, _read_json)

    def status(self, request_id: str) -> dict[str, Any]:
        """The status document without images. Raises NotFound, Unauthorized, Unfinished."""
        return self._call(lambda: self._get(f"/status/{request_id}?images=none"), _read_json)

    def download(self, path: str, place: Callable[[str], Path]) -> Path:
        """Writes what is at that path of the service into the file that `place` names.

        `place` is given the name that the service has for it, as it came.
        """

        def read(reply: requests.Response) -> Path:
            target = place(_sent_name(reply))
            write_whole(target, reply.iter_content(CHUNK_BYTES))
            return target

        return self._call(lambda: self._get(path), read)

    def _get(self, path: str) -> requests.Response:
        return self._session.get(
            self.url + path,
            timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
            allow_redirects=False,
            stream=True,
        )

    def _call(
        self, send: Callable[[], requests.Response], read: Callable[[requests.Response], _Read]
    ) -> _Read:
        """Again and again while the service is away or busy, reading the reply to its end."""
        while True:
            try:
                with send() as reply:
                    _refuse_redirect(reply)
                    pause_seconds = _pause_seconds(reply)
                    if pause_seconds is None:
                        _raise_for(reply)
                        value = read(reply)
                        self._is_back()
                        return value
                    reason = f"it answers {reply.status_code}, {_sentence(reply)}"
            except requests.exceptions.SSLError as error:
                raise Unfinished(f"{self.url}: {_reason(error)}") from error
            except requests.RequestException as error:
                reason, pause_seconds = _reason(error), AWAY_PAUSE_SECONDS
            self._wait(reason, pause_seconds)

    def _wait(self, reason: str, pause_seconds: float) -> None:
        """Raises Unfinished when it is in vain, or would be."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            self._say(f"Waiting for {self.url}: {reason}")
        if now + pause_seconds - self._away_since > PATIENCE_SECONDS:
            raise GivenUp(f"{self.url} is given up: {reason}")
        time.sleep(pause_seconds)

    def _is_back(self) -> None:
        if self._away_since is not None:
            self._say(f"{self.url} answers again")
        self._away_since = None


class _Bearer(requests.auth.AuthBase):
    """As `auth`, so that no .netrc takes its place and no other host gets it."""

    def __init__(self, key: str):
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def safe_name(sent: str, ending: str, fallback: str) -> str:
    """The last component of a name as a service sent it, with that ending: never a path."""
    stem = PurePosixPath(sent.replace("\\", "/")).stem.lstrip(".")
    return portable_name(stem, ending) if stem else fallback


def _sent_name(reply: requests.Response) -> str:
    """RFC 6266; empty without one."""
    message = Message()
    message["Content-Disposition"] = reply.headers.get("Content-Disposition", "")
    return message.get_filename() or ""


def _pause_seconds(reply: requests.Response) -> float | None:
    """What to wait before the next try; None when this answer counts."""
    if reply.status_code not in _BUSY:
        return None
    text = reply.headers.get("Retry-After", "")
    return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else AWAY_PAUSE_SECONDS


def _refuse_redirect(reply: requests.Response) -> None:
    """Following would turn an upload into a GET, and show the key to whoever is there."""
    if reply.is_redirect:
        raise Unfinished(
            f"the service answers with a redirect to {reply.headers['Location']}: give the URL "
            "that it leads to as --to"
        )


def _raise_for(reply: requests.Response) -> None:
    """Raises what a status above 399 means."""
    status, message = reply.status_code, _sentence(reply)
    if status == 400:
        body = _body(reply)
        raise RefusedUpload(message, body.get("details", ()), body.get("faults", 0))
    if status == 401:
        raise Unauthorized(f"{message}; give it as --api-key or in PRESSROOM_API_KEY")
    known = {404: NotFound, 409: Conflict, 413: TooLarge}
    if status >= 400:
        raise known.get(status, PressroomError)(f"{message} (HTTP {status})")


def _sentence(reply: requests.Response) -> str:
    """What the service says; a proxy in front of it may answer with anything."""
    return str(_body(reply).get("error") or reply.reason)


def _body(reply: requests.Response) -> dict[str, Any]:
    try:
        body = reply.json()
    except requests.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _read_json(reply: requests.Response) -> dict[str, Any]:
    body = _body(reply)
    if not body:
        raise PressroomError(f"{reply.url} answered something that is not Pressroom's")
    return body


def _reason(error: requests.RequestException) -> str:
    """One clause; the libraries' own texts are of objects and nested causes."""
    if isinstance(error, requests.exceptions.SSLError):
        refused = _CERTIFICATE_FAULT.search(str(error))
        if refused is None:
            return "it speaks no TLS that is understood here: is it http://…?"
        return (
            f"its certificate is refused, {refused[1]}; for an authority of your own set "
            "REQUESTS_CA_BUNDLE to its file"
        )
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if "NameResolution" in repr(error):
        return "its name is not known"
    return "the connection is refused or broke off"
