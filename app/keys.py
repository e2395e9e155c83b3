"""API keys: the setting's text → who owns a key, or a session that was begun with one.

Called by `config`, to check the setting, and by the API for every call. A session is a token that
only the holder of a key could have made: `<seconds since 1970 at which it ends>.<HMAC of that>`,
under a secret derived from that one key. So nothing is stored, every process knows every session,
a restart ends none, and a key that is taken out of `API_KEYS` takes its sessions with it.
"""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

DEFAULT_OWNER = "default"
"""Of bare keys, and of everybody while there are no keys."""
SESSION_SECONDS = 43_200
"""A working day; then the page asks for the key again. Using a session does not lengthen it."""
_OWNER = re.compile(r"[A-Za-z0-9._@-]{1,64}", re.ASCII)
_KEY = re.compile(r"[!-+\--~]{1,512}", re.ASCII)  # printable, but no comma
_SESSION = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Its text is never shown."""

    owner: str
    text: str = field(repr=False)


def parse_api_keys(text: str) -> tuple[ApiKey, ...]:
    """`owner:key` parted by commas. Raises ValueError with the place, and never the key."""
    keys: dict[str, ApiKey] = {}
    for number, entry in enumerate(text.split(","), start=1):
        if not entry.strip():
            continue
        key = _parse(entry.strip(), number)
        if keys.setdefault(key.text, key) != key:
            raise ValueError(f"entry {number} repeats the key of another owner: make a new one")
    return tuple(keys.values())


def _parse(entry: str, number: int) -> ApiKey:
    owner, colon, key = entry.partition(":")
    if not colon:
        owner, key = DEFAULT_OWNER, entry
    if not _OWNER.fullmatch(owner) or not _KEY.fullmatch(key):
        raise ValueError(
            f"entry {number} is not owner:key, parted by commas, the owner of letters, digits and "
            "._@- and the key of printable ASCII without spaces"
        )
    return ApiKey(owner, key)


class Keys:
    """The keys that are valid now; false when there are none, and the service is open."""

    def __init__(self, keys: Iterable[ApiKey]):
        self._owners = [(sha256(key.text.encode()).digest(), key.owner) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._owners)

    def owner_of(self, key: str) -> str | None:
        """The time it takes tells nothing of the keys: hashes are compared, and all of them."""
        sent = _digest(key)
        found = None
        for digest, owner in self._owners:
            if hmac.compare_digest(digest, sent):
                found = owner
        return found

    def owner_of_session(self, token: str, now_seconds: float) -> str | None:
        match = _SESSION.fullmatch(token)
        if match is None or int(match[1]) <= now_seconds:
            return None
        found = None
        for digest, owner in self._owners:
            if hmac.compare_digest(_signature(digest, match[1]), match[2]):
                found = owner
        return found


def new_session(key: str, now_seconds: float) -> str:
    """A token for whoever has shown this key; valid for SESSION_SECONDS."""
    ends_at = str(int(now_seconds) + SESSION_SECONDS)
    return f"{ends_at}.{_signature(_digest(key), ends_at)}"


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _signature(key_digest: bytes, ends_at: str) -> str:
    return hmac.digest(key_digest, f"pressroom session {ends_at}".encode(), "sha256").hex()
