"""gunicorn's gevent worker, with what one bad client must not take from the others.

gunicorn's own workers have no deadline for a request (a thread, or a connection, is held for as
long as somebody sends a byte now and then), search all that has come of a head or of a chunk's
line again with each byte of it, stop to accept at a fixed number of connections, and let a client
whose bytes are always there go on until it has no more. What that costs is in
docs/operations.md, in figures, and so is what this worker costs. Here

- a request has `patience` seconds from its first byte to its last (408, and the connection ends);
- a head is handed to gunicorn's parser once, whole (`serve.client`); bodies are read here, each
  byte once (`serve.bodies`);
- a request that comes in many pieces waits its turn for each further one: one a millisecond, of
  all such requests of a worker;
- of too many connections, or too many bytes of unfinished bodies, the connection goes first that
  has been without an answer for longest (`serve.connections`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import gevent
from gevent.server import StreamServer
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidHTTPVersion,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.ggevent import GeventWorker

from serve.bodies import Body
from serve.client import Client
from serve.connections import Connections
from serve.problems import MIMETYPE, Problem, defect, short

ACCEPTED = 32  # connections in one pass of the loop, at most
SPARE = 100  # connections between the first that is cut and the last that is accepted
_NEXT_PASS = 1e-9  # seconds; whatever is above nought waits until the loop has seen all sockets
_SHOWN = 200  # characters of what gunicorn says
_STATUSES: dict[type[Exception], int] = {
    ExpectationFailed: 417,
    InvalidHTTPVersion: 505,
    LimitRequestHeaders: 431,
    LimitRequestLine: 414,
    UnsupportedTransferCoding: 501,
}


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
        self._connections = Connections(most, self.patience, self.cfg.keepalive)
        super().run()

    def server_class(self, listener: Any, spawn: Any, **_: Any) -> Listener:
        """What accepts connections; gunicorn calls it as it would a class."""
        return Listener(listener, handle=partial(self.handle, listener), spawn=spawn)

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """The client keeps the time: a timer less for each request."""
        return nullcontext()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Answer a client's requests."""
        known = Client(client, self._connections)
        self._connections.enter(known)
        try:
            super().handle(listener, known, addr)
        finally:
            self._connections.leave(known)

    def handle_request(self, listener_name: Any, req: Any, sock: Client, addr: Any) -> None:
        """Answer one request, and let the other connections have their turn.

        A client that sends its next request at once would otherwise be answered again and again,
        and the others not at all. `gevent.sleep(0)` is not enough: it comes back within the same
        pass of the loop, which looks at the sockets of the others only after 5 ms of such passes.
        """
        sock.begin(req)
        req.body = Body(req.body, sock)
        try:
            super().handle_request(listener_name, req, sock, addr)
            req.body.drain()
        finally:
            sock.next_request()
        gevent.sleep(_NEXT_PASS)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what is no HTTP, in the shape of all other errors; the connection ends."""
        if not isinstance(exc, Exception):  # the worker ends
            return
        problem = refusal(exc)
        where = f" to {short(req.uri, _SHOWN)}" if req is not None else ""
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
    said = f"this is no HTTP/1.1: {short(str(error), _SHOWN)}"
    return Problem(_STATUSES.get(type(error), 400), said)
