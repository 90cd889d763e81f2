"""Ports for the servers that tests start."""

from __future__ import annotations

import socket
from contextlib import closing


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
