"""What may come in before the application sees it: headers and bodies, of all clients together.

waitress calls these for every request that it receives: memory is bounded by small buffers, the
disk by a budget that all bodies share, and time by the slowest rate that is put up with. Used by
`server`.
"""

import shutil
import socket
import tempfile
import time
from contextlib import suppress

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import ChunkedReceiver
from waitress.utilities import BadRequest, Error

from app.budget import Budget, Room

HEADER_BYTES = 16_384
"""Node's own limit; with 2,000 connections it bounds what all of them hold to 32 MiB."""
BODY_IN_MEMORY_BYTES = 16_384
"""What is larger goes to the disk."""
SLOWEST_BYTES_A_SECOND = 1_000
_CHUNK_LINE_BYTES = 1_024
"""waitress itself would collect a chunk's size, or a trailer, without end and in memory."""
_DRAINED_BYTES = 65_536
_NO_BODIES_ROOM = "too many uploads are being received: try again shortly"
_NO_DISK = "the disk has no room for the body: try again later"


class NoRoomForBody(Error):  # type: ignore[misc]
    code = 503
    reason = "Service Unavailable"


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """One request; its body holds room of the budget from its first byte until it is answered."""

    def __init__(self, adj: Adjustments, bodies: Budget, min_free_bytes: int):
        super().__init__(adj)
        self._room = bodies.room()
        self._min_free_bytes = min_free_bytes

    def received(self, data: bytes) -> int:
        had_headers = self.headers_finished
        try:
            consumed: int = super().received(data)
        except OSError:  # the disk that bodies wait on
            self._refuse(NoRoomForBody(_NO_DISK))
            return len(data)
        if not had_headers and self.headers_finished and not self.error:
            self._check_announced()
        elif had_headers and not self._room.take_up_to(self.body_bytes_received):
            self._refuse(NoRoomForBody(_NO_BODIES_ROOM))
        if _has_endless_line(self.body_rcv):
            self._refuse(BadRequest("a chunk's size or the trailer has no end"))
        return len(data) if self.error else consumed  # nothing after it is a request

    def close(self) -> None:
        super().close()
        self._room.release()

    def _check_announced(self) -> None:
        """Before `100 Continue` is sent. No room is held yet, as announcing costs nothing."""
        if not _would_fit(self._room, self.content_length):
            self._refuse(NoRoomForBody(_NO_BODIES_ROOM))
        elif self.content_length > BODY_IN_MEMORY_BYTES:
            free_bytes = shutil.disk_usage(tempfile.gettempdir()).free
            if free_bytes - self.content_length < self._min_free_bytes:
                self._refuse(NoRoomForBody(_NO_DISK))

    def _refuse(self, error: Error) -> None:
        self.error = error
        self.expect_continue = False
        self.completed = True


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection. Whoever sends more slowly than allowed counts as silent.

    A request has `channel_timeout` seconds more than its bytes take at the slowest rate.
    """

    last_activity: float
    _begun_at = 0.0
    _received_bytes = 0
    _is_cut_short = False

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self._begun_at, self._received_bytes = time.time(), 0
        self._received_bytes += len(data)
        was_taken: bool = super().received(data)
        if self.request is not None:
            due_at = self._begun_at + self._received_bytes / SLOWEST_BYTES_A_SECOND
            self.last_activity = min(self.last_activity, due_at)
        self._is_cut_short |= any(request.error for request in self.requests)
        return was_taken

    def handle_close(self) -> None:
        if self._is_cut_short and self.connected:
            with suppress(OSError):  # the client may be gone already
                Drain(self)
        super().handle_close()
        if self.request is not None:
            self.request.close()


class Drain(wasyncore.dispatcher):  # type: ignore[misc]
    """Throws away what a client that was refused midway goes on sending, until it has had its time.

    Closing at once would reset the connection, and the client lose the reply that says why.
    """

    requests = ()
    will_close = False

    def __init__(self, channel: Channel):
        self._server = channel.server
        self.last_activity = time.time()
        rest = channel.socket.dup()
        try:
            rest.shutdown(socket.SHUT_WR)
        except OSError:
            rest.close()
            raise
        super().__init__(rest, map=channel._map)
        self._server.active_channels[self._fileno] = self  # whose maintenance ends it in time

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return self.will_close

    def handle_read(self) -> None:
        self.recv(_DRAINED_BYTES)  # closes at the end of what is sent

    def handle_write(self) -> None:
        self.handle_close()

    def handle_close(self) -> None:
        self._server.active_channels.pop(self._fileno, None)
        self.close()


def _would_fit(room: Room, size: int) -> bool:
    fits = room.take_up_to(size)
    room.release()
    return fits


def _has_endless_line(body: object) -> bool:
    return isinstance(body, ChunkedReceiver) and (
        max(len(body.control_line), len(body.trailer)) > _CHUNK_LINE_BYTES
    )
