"""What an earlier request has made of the same source, instead of making it again.

In: a fetch, and what is known of the source from then. Out: whether it is still the same, and what
to remember for the next time. Called by `making`.
"""

import hashlib
import re
from dataclasses import dataclass

from app.models import ImageResult, Source
from app.outbound import Fetched

_SENT_BACK = re.compile(r"[\x20-\x7e]{1,256}", re.ASCII)
"""A host's own words, in a header of ours: nothing else can be meant, or would be safe."""


@dataclass(frozen=True, slots=True)
class Reused:
    """An earlier request's image, to be copied from there to `result.path`."""

    result: ImageResult
    copied_from: str
    source: Source | None


def identify(fetched: Fetched, known: Source | None) -> Source:
    """What identifies the source now. A host that says "not changed" may leave out how.

    Bytes are digested only where a host was asked and sent them again, perhaps the same: digesting
    all would be a fiftieth of the time that coding takes.
    """
    etag, last_modified = _checked(fetched.etag), _checked(fetched.last_modified)
    digest = hashlib.sha256(fetched.body).digest() if known and fetched.body else None
    if known and fetched.is_unchanged:
        etag, digest = etag or known.etag, known.digest
        last_modified = last_modified or known.last_modified
    place = hashlib.blake2b(fetched.final_url.encode(), digest_size=16).digest()
    return Source(etag, last_modified, place, digest)


def is_same(fetched: Fetched, source: Source, known: Source) -> bool:
    """Also of a host that says so: a redirect may have led to another image, as old as that."""
    if fetched.is_unchanged:
        return source.place == known.place
    return source.digest is not None and source.digest == known.digest


def may_be_remembered(fetched: Fetched, source: Source) -> bool:
    """Only what can be asked for by something, and only if the host does not forbid it."""
    return fetched.may_be_kept and bool(source.etag or source.last_modified)


def _checked(field: str | None) -> str | None:
    return field if field and _SENT_BACK.fullmatch(field) else None
