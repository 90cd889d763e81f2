"""The connections of a worker together: how many there are, and how much they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gevent.lock import Semaphore

if TYPE_CHECKING:
    from serve.client import Client

HELD = 2**28  # bytes of unfinished bodies that a worker keeps, of all clients together


class Connections:
    """All of a worker's; where they are too many, or hold too much, one is cut.

    It is the one that has been without an answer for longest, and holds something: neither an idle
    connection nor a slow sender is ever worth more than a client that gets answers.
    """

    def __init__(self, most: int, patience: float, idle: float) -> None:
        """Begin without any.

        Args:
            most: connections; with one more, one is cut.
            patience: seconds from the first byte of a request to its last.
            idle: seconds that a connection may lie idle between two requests.
        """
        self.patience, self.idle = patience, idle
        self.turns = Semaphore(1)  # whoever has it may read next: see `Client.take`
        self._most, self._held = most, 0
        self._clients: dict[Client, None] = {}  # in the order of their last answers

    def enter(self, client: Client) -> None:
        """Add a connection."""
        self._clients[client] = None
        if len(self._clients) > self._most:
            self._cut(next(iter(self._clients)))

    def answered(self, client: Client) -> None:
        """Note that a client has its answer; what came of its request is let go."""
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
        if client.is_cut:  # while it waited for these bytes
            return
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
