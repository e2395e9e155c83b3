"""Every exception that one module raises for another to handle.

PressroomError
├── SettingsError          a setting that cannot be used; stops the start
├── BadRequest             the caller's input; its message says what to change     → 400
│   └── BadCatalog         the uploaded file; carries the faults found in it       → 400
├── TooLarge               the caller's input is above a limit                     → 413
├── Unauthorized           no key, or none of ours                                 → 401
├── Forbidden              a call that another site may have made somebody make    → 403
├── TooOften               more calls than RATE_LIMIT allows                       → 429
├── NotFound               no such request, output or file                         → 404
├── Conflict               not possible in the state the request is in             → 409
├── Unavailable            nobody's fault: wait and try again                      → 503
│   ├── DatabaseUnavailable
│   ├── StorageUnavailable
│   ├── BrokerUnavailable
│   └── Busy               others take all the places there are for it, for a moment
├── KeyTaken               an Idempotency-Key that names an earlier upload
├── NoRoom                 a budget of memory is spent; take room first, then try again
├── LostClaim              another worker has taken this work over; write nothing
└── ImageFailed            this one image cannot be had or read; the others go on
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.models import Fault


class PressroomError(Exception):
    """The root; `str()` of any of them is one sentence that a person can act on."""


class SettingsError(PressroomError):
    pass


class BadRequest(PressroomError):
    pass


class BadCatalog(BadRequest):
    """An upload that is refused as a whole.

    `faults` holds the first of them (1,000 at most), `fault_count` their whole number.
    """

    def __init__(self, message: str, faults: Sequence["Fault"] = (), fault_count: int = 0):
        super().__init__(message)
        self.faults = tuple(faults)
        self.fault_count = max(fault_count, len(self.faults))


class TooLarge(PressroomError):
    pass


class Unauthorized(PressroomError):
    pass


class Forbidden(PressroomError):
    pass


class TooOften(PressroomError):
    """The API answers 429 with `Retry-After`."""

    def __init__(self, message: str, retry_after_seconds: int):
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NotFound(PressroomError):
    pass


class Conflict(PressroomError):
    pass


class Unavailable(PressroomError):
    """What is away may come back; the API answers 503 with `Retry-After`."""

    retry_after_seconds = 5


class DatabaseUnavailable(Unavailable):
    pass


class StorageUnavailable(Unavailable):
    pass


class BrokerUnavailable(Unavailable):
    pass


class Busy(Unavailable):
    retry_after_seconds = 1


class KeyTaken(PressroomError):
    pass


class NoRoom(PressroomError):
    """What was begun needs `size` bytes in all, which are not to be had without waiting."""

    def __init__(self, size: int):
        super().__init__(f"no room for {size:,} bytes at the moment")
        self.size = size


class LostClaim(PressroomError):
    pass


class ImageFailed(PressroomError):
    """`code` is one of the contract's image codes (`ErrorCode`, or `http_<status>`).

    `permanent` says that trying again cannot help. `retry_after_seconds` is what the host asked
    for, if it did.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        permanent: bool,
        retry_after_seconds: float | None = None,
    ):
        super().__init__(message)
        self.code = code
        self.permanent = permanent
        self.retry_after_seconds = retry_after_seconds
