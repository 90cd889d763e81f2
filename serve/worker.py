"""gunicorn's gevent worker, with what one bad client must not take from the others.

gunicorn's own workers have no deadline for a request (a thread, or a connection, is held for as
long as somebody sends a byte now and then), search all that has come of a head or of a chunk's
line again with each byte of it, stop to accept at a fixed number of connections, and let a client
whose bytes are always there go on until it has no more. What that costs is in
docs/operations.md, in figures, and so is what this module costs. Here

- a request has `patience` seconds from its first byte to its last (408, and the connection ends);
- a head is handed to gunicorn's parser once, whole; bodies are read here, each byte once;
- a request that comes in many pieces waits its turn for each further one: one a millisecond, of
  all such requests of a worker;
- of too many connections, or too many bytes of unfinished bodies, the connection goes first that
  has been without an answer for longest.
"""

from __future__ import annotations

import errno
import re
import sys
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from http import HTTPStatus
from socket import MSG_PEEK, SHUT_RDWR
from typing import Any, Protocol

import gevent
from gevent.lock import Semaphore
from gevent.server import StreamServer
from gunicorn.http import body
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidHTTPVersion,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.ggevent import GeventWorker

from serve.problems import MIMETYPE, Problem, defect

UNREAD = 60.0  # seconds that a client has for reading an answer
HELD = 2**28  # bytes of unfinished bodies that a worker keeps
LONGEST_HEAD = 2**16  # bytes; gunicorn's own limits of a line and of a header are below that
ACCEPTED = 32  # connections in one pass of the loop, at most
SPARE = 100  # connections between the first that is cut and the last that is accepted
# Reads that a request has at once; each further one waits its turn. Of a body whose size was said
# there are more: nothing is looked for in it.
FREE, FREE_OF_SIZED = 2, 64
TURN = 0.001  # seconds
_AT_ONCE = 2**18  # bytes of a body that one call of the system reads
_PIECE = 2**12  # the same, where each byte takes a look
_SHOWN = 200  # characters of what gunicorn says
_END = b"\r\n\r\n"  # of a head
_STATUSES: dict[type[Exception], int] = {
    ExpectationFailed: 417,
    InvalidHTTPVersion: 505,
    LimitRequestHeaders: 431,
    LimitRequestLine: 414,
    UnsupportedTransferCoding: 501,
}


class Crowd:
    """The connections of a worker: how many there are, and how much they hold."""

    def __init__(self, most: int, patience: float, idle: float) -> None:
        """Begin without any.

        Args:
            most: connections; with one more, one is cut.
            patience: seconds from the first byte of a request to its last.
            idle: seconds that a connection may lie idle between two requests.
        """
        self.patience, self.idle = patience, idle
        self.turns = Semaphore(1)  # whoever has it may read next
        self._most, self._held = most, 0
        self._clients: dict[Client, None] = {}  # in the order of their last answers

    def enter(self, client: Client) -> None:
        """Add a connection."""
        self._clients[client] = None
        if len(self._clients) > self._most:
            self._cut(next(iter(self._clients)))

    def answered(self, client: Client) -> None:
        """Note that a client has its answer; what came of its request is let go."""
        if client.held:
            self._let_go(client)
        if not client.is_cut:
            self._clients.pop(client)
            self._clients[client] = None

    def leave(self, client: Client) -> None:
        """Take a connection out, and what it holds."""
        self._clients.pop(client, None)
        self._let_go(client)

    def hold(self, client: Client, size: int) -> None:
        """Count bytes of a body that is not whole; where they are too many, somebody is cut."""
        client.held += size
        self._held += size
        while self._held > HELD:
            self._cut(next(other for other in self._clients if other.held))

    def _let_go(self, client: Client) -> None:
        self._held -= client.held
        client.held = 0

    def _cut(self, client: Client) -> None:
        self.leave(client)
        client.cut()


class Client:
    """A client's socket, as gunicorn reads and writes it, that waits for nobody without an end."""

    def __init__(self, socket: Any, crowd: Crowd) -> None:
        """Wrap a socket of gevent's."""
        self._socket, self._crowd = socket, crowd
        self._until: float | None = None  # when the request that is being read must be here
        self._ended = False
        self._reads = 0  # of this request
        self._rest = b""  # what came behind a head, or behind a body
        self._answer: bytes | None = None  # its head, until there is more of it; empty if sent
        self.request: Any = None  # gunicorn's, once its headers are read
        self.held = 0  # bytes of its body
        self.is_cut = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        """Read a request's head, whole, and what came with it; nothing if the client has left.

        gunicorn's parser asks again where the head is not whole, and then looks at all of it from
        its beginning.

        Raises:
            Problem: 408, its time is over; 431, it is too long.
        """
        part = self.take(size)
        if _END in part or not part:
            return part
        head, looked = bytearray(part), 0
        while (at := head.find(_END, looked)) < 0 and len(head) <= LONGEST_HEAD:
            looked = max(0, len(head) - len(_END) + 1)
            if not (part := self.take(size)):
                return bytes(head)
            head += part
        if at < 0:
            self.end()
            raise Problem(431, f"the head of the request is longer than {LONGEST_HEAD:,} bytes")
        return bytes(head)

    def take(self, size: int, free: int = FREE) -> bytes:
        """At most so many bytes: what is here already, or else what comes next.

        Nothing means that the client has left, or was idle for too long.

        Args:
            size: bytes.
            free: reads of a request that need not wait their turn.

        Raises:
            Problem: 408, the request is not whole and its time is over.
        """
        rest = self._rest
        if not rest:
            self._reads += 1
            if self._reads > free and self._receive(1, MSG_PEEK):
                with self._crowd.turns:
                    gevent.sleep(TURN)
            return self._receive(size)
        if self._until is None:
            self._until = time.monotonic() + self._crowd.patience
        if len(rest) <= size:
            self._rest = b""
            return rest
        self._rest = rest[size:]
        return rest[:size]

    def give_back(self, rest: bytes) -> None:
        """Keep what was read too much; the next `take` has it."""
        self._rest = rest + self._rest

    def _receive(self, size: int, flags: int = 0) -> bytes:
        if self._ended:
            return b""
        left = self._crowd.idle if self._until is None else self._until - time.monotonic()
        if left <= 0:  # also for a client whose bytes are always there
            raise self._late()
        self._socket.settimeout(left)
        try:
            found: bytes = self._socket.recv(size, flags)
        except TimeoutError:
            if self._until is None:
                self.end()
                return b""
            raise self._late() from None
        if self._until is None:
            self._until = time.monotonic() + self._crowd.patience
        return found

    def _late(self) -> Problem:
        self.end()
        seconds = self._crowd.patience
        return Problem(408, f"the request was not whole {seconds:g} s after its first byte")

    def hold(self, size: int) -> None:
        """Count bytes of the body that are kept until it is whole.

        Raises:
            Problem: 503, there are too many of all clients together, and this one is cut.
        """
        self._crowd.hold(self, size)
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

    def end(self) -> None:
        """Read nothing more, and close after the answer."""
        self._ended = True
        if self.request is not None:
            self.request.force_close()

    def cut(self) -> None:
        """End the connection, whoever waits for it: others need the room."""
        self.is_cut = True
        self.end()
        with suppress(OSError):  # it has left
            self._socket.shutdown(SHUT_RDWR)

    def begin(self, request: Any) -> None:
        """The head of a request is read; its body is read here, not by gunicorn."""
        self.request = request
        rest = request.unreader.take_buffered()
        if rest:
            self.give_back(rest)

    def next_request(self) -> None:
        """The request was answered: wait for another one."""
        if self._answer:
            self.sendall(b"")
        self._crowd.answered(self)
        self._until = self.request = self._answer = None
        self._reads = 0


class Reader(Protocol):
    """What reads a body, piece by piece."""

    ended: bool  # nothing more will come

    def part(self, size: int) -> bytes:
        """The next bytes, ``size`` at most; nothing where the body has ended."""


class Sized:
    """A body whose size was said."""

    def __init__(self, client: Client, size: int) -> None:
        self._client, self._left = client, size
        self.ended = not size

    def part(self, size: int) -> bytes:
        """The next bytes; nothing also where the client has left."""
        if self.ended:
            return b""
        found = self._client.take(min(size, self._left, _AT_ONCE), FREE_OF_SIZED)
        self._left -= len(found)
        self.ended = not self._left
        return found


class Chunked:
    """A body in chunks (RFC 9112, 7.1). Their extensions and trailers are not looked at."""

    _FIRST = rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\r\n]*)?\r\n"
    _HALF = rb"(?:[0-9A-Fa-f]{1,15}(?:[ \t]*(?:;[^\r\n]*)?\r?)?)?"  # what may become one
    # The line of a chunk, and what may yet become one: of the first, and of those behind others.
    FIRST = re.compile(_FIRST), re.compile(_HALF)
    NEXT = re.compile(rb"\r\n" + _FIRST), re.compile(rb"(?:\r(?:\n" + _HALF + rb")?)?")
    LONGEST_LINE = 1024
    # Bytes that are no data: of chunks of one byte there are five for each.
    MOST_AROUND, AROUND_EACH = 2**14, 8

    def __init__(self, client: Client) -> None:
        self._client = client
        self._buffer = b""
        self._left = 0  # bytes of this chunk that are still to come
        self._line = self.FIRST
        self._data = self._around = 0  # bytes so far
        self._last = self.ended = False

    def part(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            Problem: 400, these are no chunks, or there is too much around them.
        """
        found: list[bytes] = []
        while not found and not self.ended:
            at = self._decode(found, size)
            self._count(at, sum(map(len, found)))
            self._buffer = self._buffer[at:]
            if not found and not self.ended:
                self._fill()
        return b"".join(found)

    def _decode(self, found: list[bytes], size: int) -> int:
        """Add what the buffer has of data; how many bytes of the buffer are done with."""
        buffer, at = self._buffer, 0
        while size and not self._last:
            if not self._left:
                line = self._line[0].match(buffer, at)
                if line is None:
                    self._refuse_hopeless(at)
                    return at
                self._left, self._line, at = int(line[1], 16), self.NEXT, line.end()
                self._last = not self._left
                continue
            data = buffer[at : at + min(self._left, size)]
            if not data:
                return at
            found.append(data)
            at += len(data)
            size -= len(data)
            self._left -= len(data)
        return self._finish(at) if self._last else at

    def _refuse_hopeless(self, at: int) -> None:
        rest = self._buffer[at : at + self.LONGEST_LINE]
        if len(rest) == self.LONGEST_LINE or not self._line[1].fullmatch(rest):
            raise self._damaged("a chunk's line is too long, or no such line")

    def _count(self, size: int, data: int) -> None:
        self._data += data
        self._around += size - data
        if self._around > self.MOST_AROUND + self.AROUND_EACH * self._data:
            raise self._damaged("its chunks are nearly empty")

    def _finish(self, at: int) -> int:
        """The last chunk was there: behind it are trailers, or none, and an empty line."""
        if self._buffer.startswith(b"\r\n", at):
            end = at + 2
        elif (found := self._buffer.find(_END, at)) >= 0:
            end = found + len(_END)
        elif len(self._buffer) - at > _PIECE:
            raise self._damaged("its trailers are too long")
        else:
            return at
        self.ended = True
        self._client.give_back(self._buffer[end:])
        return end

    def _fill(self) -> None:
        part = self._client.take(max(_PIECE, min(self._left, _AT_ONCE)))
        if not part:
            raise self._damaged("it ends in the middle")
        self._buffer += part

    def _damaged(self, why: str) -> Problem:
        self._client.end()
        return Problem(400, f"the body cannot be read: {why}")


class Body(body.Body):  # type: ignore[misc]
    """A request's body, as the application reads it; gunicorn's has the rest of what WSGI asks."""

    reader: Reader

    def __init__(self, found: body.Body, client: Client) -> None:
        """Read what gunicorn has found to be in chunks, or of a size."""
        if isinstance(found.reader, body.ChunkedReader):
            super().__init__(Chunked(client))
        else:
            super().__init__(Sized(client, found.reader.length))
        self._client = client

    def read(self, size: int | None = None) -> bytes:
        """Read ``size`` bytes, or all; fewer, if the client leaves.

        Raises:
            Problem: 400, it comes in chunks, and these are damaged; 408, it does not come; 503,
                there is too much of it, with those of others.
        """
        wanted = sys.maxsize if size is None or size < 0 else size
        part = self.reader.part(wanted)
        if self.reader.ended or len(part) == wanted:  # nearly always
            return part
        parts = []
        while part:
            self._client.hold(len(part))
            parts.append(part)
            wanted -= len(part)
            part = self.reader.part(wanted) if wanted else b""
        return b"".join(parts)

    def drain(self) -> None:
        """Read what the application left unread, while the request's time still runs.

        Raises:
            StopIteration: it does not come; gunicorn then hangs up. The answer has been sent.
        """
        try:
            while not self.reader.ended and self.reader.part(_AT_ONCE):
                pass
        except Problem as problem:
            raise StopIteration(problem.detail) from None


class Listener(StreamServer):  # type: ignore[misc]
    """Accepts connections; the more there are, the more at once.

    Few are shared out among the workers one by one. Of thousands, those that wait behind others
    would wait for a pass of the loop each.
    """

    @property
    def max_accept(self) -> int:
        """Connections that are accepted in one pass of the loop."""
        return min(1 + len(self.pool) // 16, ACCEPTED)


class Worker(GeventWorker):  # type: ignore[misc]
    """The worker; gunicorn.conf.py sets its patience."""

    patience = 30.0  # seconds from the first byte of a request to its last

    def run(self) -> None:
        """Answer until told to stop."""
        most = self.worker_connections - min(SPARE, self.worker_connections // 2)
        self._crowd = Crowd(most, self.patience, self.cfg.keepalive)
        super().run()

    def server_class(self, listener: Any, spawn: Any, **_: Any) -> Listener:
        """What accepts connections; gunicorn calls it as it would a class."""
        return Listener(listener, handle=partial(self.handle, listener), spawn=spawn)

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """The client keeps the time: a timer less for each request."""
        return nullcontext()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Answer a client's requests."""
        known = Client(client, self._crowd)
        self._crowd.enter(known)
        try:
            super().handle(listener, known, addr)
        finally:
            self._crowd.leave(known)

    def handle_request(self, listener_name: Any, req: Any, sock: Client, addr: Any) -> None:
        """Answer one request."""
        sock.begin(req)
        req.body = Body(req.body, sock)
        try:
            super().handle_request(listener_name, req, sock, addr)
            req.body.drain()
        finally:
            sock.next_request()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what is no HTTP, in the shape of all other errors; the connection ends."""
        if not isinstance(exc, Exception):  # the worker ends
            return
        problem = refusal(exc)
        where = f" to {req.uri[:_SHOWN]}" if req is not None else ""
        self.log.warning("refused a request%s from %s: %s", where, addr, problem.detail)
        said = problem.json()
        head = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
            f"Content-Type: {MIMETYPE}\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n"
        )
        with suppress(OSError):  # the client is gone
            client.sendall(head.encode())
            client.sendall(said)


def refusal(error: BaseException) -> Problem:
    """What is said of an error that came before the application, or after it."""
    if isinstance(error, Problem):
        return error
    if not isinstance(error, ParseException):
        return defect()
    return Problem(_STATUSES.get(type(error), 400), f"this is no HTTP/1.1: {_short(error)}")


def _short(error: Exception) -> str:
    text = str(error)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
