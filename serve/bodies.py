"""Bodies of requests as they come from a client: of a size that was said, or in chunks.

gunicorn's own readers take 1,024 bytes of a body at a time, and search all that has come of a
chunk's line again with each piece of it. Here each byte is looked at once.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Protocol

from gunicorn.http import body

from serve.client import FREE_OF_SIZED
from serve.problems import Problem

if TYPE_CHECKING:
    from serve.client import Client

_AT_ONCE = 2**18  # bytes of a body that one call of the system reads
_PIECE = 2**12  # the same, where each byte takes a look
_TRAILERS_END = b"\r\n\r\n"


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
        at = 0
        while size and not self._last:
            if self._left:
                data = self._buffer[at : at + min(self._left, size)]
                if not data:
                    return at
                found.append(data)
                at += len(data)
                size -= len(data)
                self._left -= len(data)
            elif (line := self._line[0].match(self._buffer, at)) is not None:
                self._left, self._line, at = int(line[1], 16), self.NEXT, line.end()
                self._last = not self._left
            else:
                self._refuse_hopeless(at)
                return at
        return self._finish(at) if self._last else at

    def _refuse_hopeless(self, at: int) -> None:
        """Refuse what no further bytes make the line of a chunk."""
        rest = self._buffer[at : at + self.LONGEST_LINE]
        if len(rest) == self.LONGEST_LINE or not self._line[1].fullmatch(rest):
            raise self._damaged("a chunk's line is too long, or no such line")

    def _count(self, size: int, data: int) -> None:
        """Refuse a body that is mostly no data: its bytes cost the most."""
        self._data += data
        self._around += size - data
        if self._around > self.MOST_AROUND + self.AROUND_EACH * self._data:
            raise self._damaged("its chunks are nearly empty")

    def _finish(self, at: int) -> int:
        """The last chunk was there: behind it are trailers, or none, and an empty line."""
        if self._buffer.startswith(b"\r\n", at):
            end = at + 2
        elif (found := self._buffer.find(_TRAILERS_END, at)) >= 0:
            end = found + len(_TRAILERS_END)
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
