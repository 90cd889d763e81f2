"""Clients that wish a server on 127.0.0.1 ill, as a process: `python tests/crowd.py PORT ...`.

It says "there" when all have connected, and after a line on its standard input a JSON object: of
each kind, what the server said (by status, or "" for a close), how many it has not ended, and after
how many seconds the last one was ended.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

BEAT = 0.05  # seconds between two bytes of a slow client
HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# What a client of each kind sends at first, and then again and again.
SLOW = {
    "a chunk of one byte": (CHUNKED, b"1\r\n \r\n"),
    "an extension without an end": (CHUNKED + b"1;", b"a"),
    "a byte of the headers": (HEAD + b"A: ", b"a"),
    "a byte of the body": (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
}
# The same, as fast as the server takes it.
FLOODS = {
    "a flood of chunks of one byte": (CHUNKED, b"1\r\n \r\n" * 5_000),
    "a flood of extension": (CHUNKED + b"1;", b"a" * 2**15),
    "a flood of chunks with extensions": (CHUNKED, (b"1;" + b"a" * 500 + b"\r\n \r\n") * 60),
    "a flood of body": (HEAD + b"Content-Length: 19000000\r\n\r\n", b" " * 2**15),
    "a flood of headers": (HEAD, b"A: aaaaaaaaaaaaaaaaaaa\r\n" * 1_000),
}


@dataclass
class Sender:
    """A connection that sends the same again and again, and hears what is said of it."""

    connection: socket.socket
    again: bytes
    begun: float
    at: int = 0  # bytes of `again` that have gone
    heard: bytes = b""
    ended: float | None = None

    def go_on(self) -> None:
        """Send what the server takes now, and hear what it says."""
        try:
            with suppress(BlockingIOError):
                part = self.connection.recv(4096)
                self.heard += part
                if not part:
                    self.end()
                    return
            with suppress(BlockingIOError):
                self.at += self.connection.send(self.again[self.at :])
                self.at %= len(self.again)
        except OSError:
            self.end()

    def end(self) -> None:
        self.ended = time.monotonic()
        self.connection.close()


def connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=60)
    made.setblocking(False)
    return made


def said(senders: list[Sender]) -> dict[str, Any]:
    ends = [one.ended - one.begun for one in senders if one.ended]
    answers = Counter(one.heard[9:12].decode() for one in senders if one.ended)
    return {"answers": answers, "open": len(senders) - len(ends), "latest": max(ends, default=0.0)}


def main() -> None:
    port, slow, floods, idle = map(int, sys.argv[1:])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    resting = [connect(port) for _ in range(idle)]
    kinds: dict[str, list[Sender]] = {}
    for all_of, number in ((SLOW, slow), (FLOODS, floods)):
        for name, (first, again) in all_of.items():
            kinds[name] = []
            for _ in range(number):
                kinds[name].append(Sender(connect(port), again, time.monotonic()))
                kinds[name][-1].connection.send(first)
    print("there", flush=True)
    while not select.select([sys.stdin], [], [], BEAT)[0]:
        for senders in kinds.values():
            for sender in senders:
                if sender.ended is None:
                    sender.go_on()
    found = {name: said(senders) for name, senders in kinds.items() if senders}
    for connection in resting:
        with suppress(BlockingIOError):
            found.setdefault("idle", {"open": 0, "ended": 0})
            found["idle"]["ended" if connection.recv(1) == b"" else "open"] += 1
    if resting:
        found["idle"]["open"] = idle - found["idle"]["ended"]
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
