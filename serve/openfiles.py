"""How many files, and so connections, a process may have open."""

from __future__ import annotations

import resource
import sys

BESIDE = 200  # files beside the connections: the model, the online store, what is counted


def connections(wanted: int) -> int:
    """Raise this process's limit of open files to what connections need; how many it has room for.

    The soft limit is 1,024 on many machines, and any process may raise its own up to the hard one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + BESIDE
    possible = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    room = max(1, possible - BESIDE)
    if room < wanted:
        print(
            f"serve: a process may open {hard:,} files here, so a worker takes {room:,} "
            f"connections, not {wanted:,}: raise the hard limit (ulimit -Hn)",
            file=sys.stderr,
            flush=True,
        )
    return room
