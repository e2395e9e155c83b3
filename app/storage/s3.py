"""Storage in a bucket that speaks S3: AWS, MinIO, SeaweedFS and others.

Signing, retries, multipart uploads and connections are obstore's (Apache's object_store in Rust):
one put costs a tenth of the CPU that boto3 takes. What a caller reads or writes as a file is a
temporary one on this machine's disk, or in memory while it is small. An object is there whole or
not at all, and durable once a put is answered; nothing is ever overwritten with other bytes.

Not for use across a fork: the client's threads do not survive one.
"""

import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from app.compress import MEDIA_TYPES
from app.errors import NotFound, StorageUnavailable
from app.scratch import disk_errors
from app.storage import Copy, nothing
from app.storage.bucket_faults import TooSlow, code_of, sentence_of
from app.storage.patience import Patience
from app.storage.spool import Spool

if TYPE_CHECKING:
    from obstore import Attributes, ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

CALLS_AT_ONCE = 32
"""Of one batch: at the 30 ms that a put takes in a cloud, a thousand a second."""
PART_BYTES = 8_388_608
"""What is larger is sent in parts, of which S3 takes 10,000."""
PARTS_AT_ONCE = 4
LOOK_SECONDS = 0.5
FILES_AHEAD = 16
"""Read while the one before them is sent, as a part of an archive."""
IN_MEMORY_BYTES = 65_536
OBJECT_SECONDS = 60.0
SLOWEST_BYTES_A_SECOND = 1_000_000
"""An object may take so long to come, and a second more for so many bytes of it."""
PAGE_KEYS = 1_000
"""S3 lists and deletes as many at once."""
AREAS = ("uploads", "processed", "outputs")
_PROBE = "probe"
_CONFLICTS = ("ConditionalRequestConflict", "OperationAborted", "409")
"""Another is putting or deleting it at this moment, which may yet fail."""
_NOT_IMPLEMENTED = ("NotImplemented", "501")

_CLIENT: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=3),
    "read_timeout": timedelta(seconds=15),
    "timeout": timedelta(seconds=900),
    # The environment's proxies would be used otherwise: one of our own, that every host is exempt
    # from, takes their place.
    "proxy_url": "http://127.0.0.1:9",
    "proxy_excludes": "*,0.0.0.0/0,::/0",
}
_RETRIES: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where it is and who calls; what is empty, obstore finds as AWS's own tools do."""

    name: str
    prefix: str = ""
    endpoint_url: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)


class S3Storage:
    """A bucket, or what in it is below a prefix; `spool` makes the temporary files."""

    def __init__(self, bucket: Bucket, spool: Spool):
        self._bucket = bucket.name
        self._store = _connect(bucket)
        self._spool = spool
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="s3")
        self._reading, self._writing = Patience(), Patience()
        self._knows_conditions = True
        self._clock_ahead: timedelta | None = None
        self._probe = f"{_PROBE}/{secrets.token_hex(8)}"

    @contextmanager
    def create(self, folder: str) -> Iterator[BinaryIO]:
        _check(folder)
        with disk_errors(), self._spool.file() as file:
            yield file

    def put(self, key: str, file: BinaryIO) -> None:
        """Larger files are named for who writes them; only a look says whether one is there."""
        _check(key)
        with disk_errors():
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            content = file.read() if size <= PART_BYTES else None
        if content is not None:
            self._put(key, content)
        elif not self._has(key, self._writing):
            with self._calling(self._writing, "s3:PutObject", key):
                obstore.put(
                    self._store,
                    key,
                    file,
                    attributes=_attributes(key),
                    use_multipart=True,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )

    def put_all(self, files: Mapping[str, bytes], meanwhile: Callable[[], None] = nothing) -> None:
        for key in files:
            _check(key)
        self._together(lambda item: self._put(*item), files.items(), meanwhile)

    def copy_all(self, copies: Iterable[Copy], meanwhile: Callable[[], None] = nothing) -> set[str]:
        """In the bucket: no byte comes here. A copy over a copy leaves the same bytes."""
        return {key for key in self._together(self._copy, copies, meanwhile) if key}

    def open(self, key: str) -> BinaryIO:
        """Read whole before it is returned, so that who reads slowly, or stops, holds nothing."""
        _check(key)
        with self._calling(self._reading, "s3:GetObject", key):
            found = obstore.get(self._store, key)
            size = found.meta["size"]
            chunks = _in_time(found.stream(min_chunk_size=1), size)
            if size <= IN_MEMORY_BYTES:
                return BytesIO(b"".join(chunks))
            return self._spool.file_of(chunks, size)

    def has(self, key: str) -> bool:
        _check(key)
        return self._has(key, self._reading)

    def open_each(self, keys: Iterable[str]) -> Generator[tuple[str, BinaryIO | None], None, None]:
        ahead: deque[tuple[str, Future[BinaryIO]]] = deque()
        try:
            for key in keys:
                ahead.append((key, self._pool.submit(self.open, key)))
                if len(ahead) > FILES_AHEAD:
                    yield _opened(*ahead.popleft())
            while ahead:
                yield _opened(*ahead.popleft())
        finally:
            for _, future in ahead:
                future.add_done_callback(_close)

    def delete(self, key: str) -> None:
        _check(key)
        for page in self._list(key):
            self._delete([found["path"] for found in page])
        self._delete([key])

    def find_older(self, folder: str, age_seconds: float) -> Iterator[str]:
        """By the bucket's own clock, which tells whole seconds."""
        _check(folder)
        if self._clock_ahead is None:
            self._go_through()
        now = datetime.now(UTC) + (self._clock_ahead or timedelta())
        limit = now - timedelta(seconds=age_seconds + 1)
        for page in self._list(folder):
            yield from (found["path"] for found in page if found["last_modified"] < limit)

    def check_room(self) -> None:
        self._spool.check_room()
        self.try_out()

    def try_out(self) -> None:
        """Unless something has just been written."""
        if self._writing.needs_proof():
            self._go_through()

    def _go_through(self) -> None:
        """All that the service does with a bucket, so that a missing right is known before."""
        with self._calling(self._writing, "s3:PutObject"):
            obstore.put(self._store, self._probe, b"")
        with suppress(NotFound), self._calling(self._writing, "s3:GetObject"):
            made_at = obstore.get(self._store, self._probe).meta["last_modified"]
            self._clock_ahead = made_at - datetime.now(UTC)
        next(self._list(_PROBE), None)
        self._delete([self._probe])

    def _put(self, key: str, content: bytes) -> None:
        with self._calling(self._writing, "s3:PutObject", key):
            if not (self._knows_conditions and self._put_new(key, content)):
                obstore.put(self._store, key, content, attributes=_attributes(key))

    def _put_new(self, key: str, content: bytes) -> bool:
        """False when the server cannot tell whether the file is there; its name vouches for it."""
        try:
            obstore.put(self._store, key, content, mode="create", attributes=_attributes(key))
        except AlreadyExistsError as error:
            return code_of(error) not in _CONFLICTS
        except BaseError as error:
            if code_of(error) not in _NOT_IMPLEMENTED:
                raise
            self._knows_conditions = False
            return False
        return True

    def _has(self, key: str, patience: Patience) -> bool:
        try:
            with self._calling(patience, "s3:GetObject", key):
                obstore.head(self._store, key)
        except NotFound:
            return False
        return True

    def _copy(self, copy: Copy) -> str | None:
        _check(copy.key)
        try:
            with self._calling(self._writing, "s3:GetObject", copy.source):
                if obstore.head(self._store, copy.source)["size"] != copy.size_bytes:
                    return None
                obstore.copy(self._store, copy.source, copy.key)
        except NotFound:
            return None
        return copy.key

    def _list(self, folder: str) -> Iterator[Sequence["ObjectMeta"]]:
        """Page by page, so that any number of keys takes no memory."""
        pages = iter(obstore.list(self._store, folder, chunk_size=PAGE_KEYS))
        while True:
            with self._calling(self._writing, "s3:ListBucket"):
                page = next(pages, None)
            if not page:
                return
            yield page

    def _delete(self, keys: list[str]) -> None:
        with self._calling(self._writing, "s3:DeleteObject"):
            obstore.delete(self._store, keys)

    def _together(
        self,
        call: Callable[[_Item], _Result],
        items: Iterable[_Item],
        meanwhile: Callable[[], None],
    ) -> list[_Result]:
        """What each call returned, once all have ended; raises what the first raised."""
        futures = [self._pool.submit(call, item) for item in items]
        try:
            while wait(futures, LOOK_SECONDS).not_done:
                meanwhile()
        finally:
            wait(futures)
        return [future.result() for future in futures]

    @contextmanager
    def _calling(self, patience: Patience, permission: str, key: str = "") -> Iterator[None]:
        """Around one call. Raises NotFound, StorageUnavailable."""
        patience.check()
        try:
            yield
        except FileNotFoundError as error:
            if code_of(error) == "NoSuchBucket":
                raise self._unavailable(patience, permission, error) from error
            patience.succeeded()
            raise NotFound(f"{key} does not exist") from error
        except (BaseError, TooSlow) as error:
            raise self._unavailable(patience, permission, error) from error
        except OSError as error:  # of the file that was being sent
            patience.undecided()
            raise StorageUnavailable(f"the disk refuses: {error.strerror or error}") from error
        except BaseException:  # the disk of temporary files is full, or whatever
            patience.undecided()
            raise
        patience.succeeded()

    def _unavailable(
        self, patience: Patience, permission: str, error: Exception
    ) -> StorageUnavailable:
        reason = sentence_of(error, self._bucket, permission)
        patience.failed(reason)
        return StorageUnavailable(reason)


def _connect(bucket: Bucket) -> S3Store:
    """Nothing is called yet. obstore looks for what is not given in the environment."""
    given = {
        "endpoint": bucket.endpoint_url,
        "region": bucket.region,
        "access_key_id": bucket.access_key_id,
        "secret_access_key": bucket.secret_access_key,
        "session_token": bucket.session_token,
    }
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        client_options={**_CLIENT, "allow_http": bucket.endpoint_url.startswith("http://")},
        retry_config=_RETRIES,
        **{name: value for name, value in given.items() if value},  # type: ignore[arg-type]
    )


def _check(key: str) -> None:
    """Raises NotFound for what cannot be a key of ours."""
    area, *parts = key.split("/")
    if area not in AREAS or {"", ".", ".."} & set(parts) or "\0" in key:
        raise NotFound(f"{key} does not exist")


def _in_time(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """As they come, however small: the client's own limits let a byte a second through."""
    began_at = time.monotonic()
    limit_seconds = OBJECT_SECONDS + size / SLOWEST_BYTES_A_SECOND
    for chunk in chunks:
        yield chunk
        if time.monotonic() - began_at > limit_seconds:
            raise TooSlow(f"{size:,} bytes not within {limit_seconds:.0f} s")


def _opened(key: str, opening: Future[BinaryIO]) -> tuple[str, BinaryIO | None]:
    try:
        return key, opening.result()
    except NotFound:
        return key, None


def _close(opening: Future[BinaryIO]) -> None:
    if not opening.exception():
        opening.result().close()


def _attributes(key: str) -> "Attributes":
    """For whoever reads images from the bucket without us; their names change with their bytes."""
    media_type = MEDIA_TYPES.get(key.rpartition(".")[2])
    if media_type is None:
        return {}
    return {"Content-Type": media_type, "Cache-Control": "public, max-age=31536000, immutable"}
