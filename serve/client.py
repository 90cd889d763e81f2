"""One client's socket, as gunicorn reads and writes it: no wait without an end, no byte twice."""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from socket import MSG_PEEK, SHUT_RDWR
from typing import TYPE_CHECKING, Any

import gevent

from serve.problems import Problem

if TYPE_CHECKING:
    from serve.connections import Connections

UNREAD = 60.0  # seconds that a client has for reading an answer
LONGEST_HEAD = 2**16  # bytes; gunicorn's own limits of a line and of a header are below that
# Reads that a request has at once; each further one waits its turn. Of a body whose size was said
# there are more: nothing is looked for in it.
FREE, FREE_OF_SIZED = 2, 64
TURN = 0.001  # seconds
_HEAD_ENDS = b"\r\n\r\n"


class Client:
    """A socket of gevent's, with a clock that runs from a request's first byte to its last."""

    def __init__(self, socket: Any, connections: Connections) -> None:
        """Wrap a socket, one of the worker's ``connections``."""
        self._socket, self._connections = socket, connections
        self._until: float | None = None  # when the request that is being read must be here
        self._ended = False
        self._reads = 0  # of this request
        self._rest = b""  # what came behind a head, or behind a body
        self._answer: bytes | None = None  # its head, until there is more of it; empty if sent
        self._request: Any = None  # gunicorn's, once its head is read
        self.held = 0  # bytes of its body; `Connections` counts them
        self.is_cut = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        """Read a request's head, whole, and what came with it; nothing if the client has left.

        gunicorn's parser asks for more where the head is not whole, and then looks at all of it
        from its beginning: of a head that comes byte by byte, that would be quadratic.

        Raises:
            Problem: 408, its time is over; 431, it is too long.
        """
        head = bytearray(self.take(size))
        looked = 0
        while (at := head.find(_HEAD_ENDS, looked)) < 0 and len(head) <= LONGEST_HEAD:
            looked = max(0, len(head) - len(_HEAD_ENDS) + 1)
            part = self.take(size)
            if not part:
                return bytes(head)
            head += part
        if at < 0:
            self.end()
            raise Problem(431, f"the head of the request is longer than {LONGEST_HEAD:,} bytes")
        return bytes(head)

    def begin(self, request: Any) -> None:
        """The head of a request is read; its body is read by `serve.bodies`, not by gunicorn."""
        self._request = request
        self.give_back(request.unreader.take_buffered())

    def take(self, size: int, free: int = FREE) -> bytes:
        """At most so many bytes: what is here already, or else what comes next.

        Nothing means that the client has left, or was idle for too long.

        Args:
            size: bytes.
            free: reads of a request that need not wait their turn.

        Raises:
            Problem: 408, the request is not whole and its time is over.
        """
        if self._rest:
            self._start_clock()
            found, self._rest = self._rest[:size], self._rest[size:]
            return found
        self._reads += 1
        if self._reads > free and self._receive(1, MSG_PEEK):
            self._wait_its_turn()
        return self._receive(size)

    def give_back(self, rest: bytes) -> None:
        """Keep what was read too much; the next `take` has it."""
        if rest:
            self._rest = rest + self._rest

    def hold(self, size: int) -> None:
        """Count bytes of the body that are kept until it is whole.

        Raises:
            Problem: 503, there are too many of all clients together, and this one is cut.
        """
        self._connections.hold(self, size)
        if self.is_cut:
            raise Problem(503, "too many large requests at once", headers={"Retry-After": "5"})

    def sendall(self, data: bytes) -> None:
        """Send all; an answer's headers, which are written first, go with what follows them.

        Raises:
            ConnectionResetError: the client does not read.
        """
        if self._answer is None:
            self._answer = data
            return
        self._socket.settimeout(UNREAD)
        try:
            self._socket.sendall(self._answer + data)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the client does not read") from None
        self._answer = b""

    def next_request(self) -> None:
        """The request was answered: wait for another one."""
        if self._answer:
            self.sendall(b"")
        self._connections.answered(self)
        self._until = self._request = self._answer = None
        self._reads = 0

    def end(self) -> None:
        """Read nothing more, and close after the answer."""
        self._ended = True
        if self._request is not None:
            self._request.force_close()

    def cut(self) -> None:
        """End the connection, whoever waits for it: others need the room."""
        self.is_cut = True
        self.end()
        with suppress(OSError):  # it has left
            self._socket.shutdown(SHUT_RDWR)

    def _wait_its_turn(self) -> None:
        """Wait until those before it have read: one a `TURN`, of all that send in many pieces.

        However many they are, what they take of the worker is so bounded; others do not wait here.
        """
        with self._connections.turns:
            gevent.sleep(TURN)

    def _receive(self, size: int, flags: int = 0) -> bytes:
        if self._ended:
            return b""
        self._socket.settimeout(self._seconds_left())
        try:
            found: bytes = self._socket.recv(size, flags)
        except TimeoutError:
            if self._until is not None:
                raise self._late() from None
            self.end()
            return b""
        self._start_clock()
        return found

    def _start_clock(self) -> None:
        if self._until is None:
            self._until = time.monotonic() + self._connections.patience

    def _seconds_left(self) -> float:
        if self._until is None:
            return self._connections.idle
        left = self._until - time.monotonic()
        if left <= 0:  # looked at here too: the bytes of some clients are always there
            raise self._late()
        return left

    def _late(self) -> Problem:
        self.end()
        seconds = self._connections.patience
        return Problem(408, f"the request was not whole {seconds:g} s after its first byte")
