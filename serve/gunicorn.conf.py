"""gunicorn's configuration; `python -m serve` starts it, and the watcher beside it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import gevent

from serve import access, counts, metrics, openfiles
from serve.app import EXTENSION
from stages.shared import params
from stages.shared.errors import UserError

try:
    _SETTINGS = params.serve()
    _RULES = access.rules(_SETTINGS)
except UserError as error:
    raise SystemExit(f"error: {error}") from None
_LOOK = 0.05  # seconds between two looks at whether there is another model

# Where workers count. A reload reads this file again, and goes on in the same folder.
if metrics.FOLDER not in os.environ:
    os.environ[metrics.FOLDER] = str(counts.make())

wsgi_app = "serve.main:application()"
_HOST = f"[{_SETTINGS.host}]" if ":" in _SETTINGS.host else _SETTINGS.host
bind = f"{_HOST}:{os.environ.get('PORT') or 8000}"
workers = _SETTINGS.workers
# Whom a client's headers may come from that say what the server's address is. gunicorn's default
# trusts whoever is on this machine, and two variables of the environment.
forwarded_allow_ips = ",".join(_SETTINGS.trusted_proxies)
forwarder_headers = "SCRIPT_NAME"
secure_scheme_headers: dict[str, str] = {}  # no answer depends on the scheme
os.environ.pop("SCRIPT_NAME", None)
# One thread a worker waits for many connections: neither a slow client nor an idle one holds
# anybody up. (Threads are slower here, and each slow client takes one.) A connection takes some
# 15 KB; of too many, the worker closes the one that has been without an answer for longest.
worker_class = "serve.worker.Worker"
worker_connections = openfiles.connections(4000)
backlog = 4096
# Imported once, before the workers are made: they share its memory.
preload_app = True
control_socket_disable = True
keepalive = 75  # above what proxies in front of it keep, so that they close first
timeout = 30  # seconds without a worker's heartbeat, after which it is killed
# Requests end within a second; an idle connection would hold up the end for all of this.
graceful_timeout = 3
# A worker's heartbeat must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def on_starting(server: Any) -> None:
    """Look at where it really listens: the command line may say otherwise than params.yaml."""
    try:
        # A socket in the file system has no address; a proxy listens for it.
        bound = [at[0] if isinstance(at, tuple) else str(at) for at in server.cfg.address]
        access.refuse_open(bound, _RULES.token)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


on_reload = on_starting


def post_worker_init(worker: Any) -> None:
    """Take the model, and every other one as soon as it is there: no request then waits for it."""
    worker.patience = _SETTINGS.patience
    current = worker.wsgi.extensions[EXTENSION]

    def look() -> None:
        while True:
            current.model()
            gevent.sleep(_LOOK)

    gevent.spawn(look)


def worker_exit(_server: Any, worker: Any) -> None:
    """End at once: Python's own way down trips over gevent's threads, and says so at length."""
    if worker.booted:  # one that never came up must be told from one that ends
        logging.shutdown()
        os._exit(0)


def child_exit(_server: Any, worker: Any) -> None:
    """A worker that is gone has no model version."""
    metrics.mark_dead(worker.pid)
