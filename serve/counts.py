"""The folder in which the workers of one server count, for Prometheus.

Every process of the server has the folder's lock: a fork inherits it, and the system lets it go
when the last of them has ended, however that was. So a folder that can be locked belongs to
nobody any more, and whoever starts a server next removes it; two servers leave each other alone.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "churn-metrics-"


def make() -> Path:
    """Make a folder for this process and its children; it is removed when this process ends."""
    sweep()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with suppress(OSError):  # somebody swept in between
            _lock(folder)
            atexit.register(_remove, folder, os.getpid())
            return folder


def sweep() -> None:
    """Remove this user's folders in which nobody counts any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # its server is alive, or another one has just removed it
            if folder.lstat().st_uid != os.geteuid():
                continue
            lock = _lock(folder)
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _lock(folder: Path) -> int:
    """The descriptor that has the lock of a folder.

    Raises:
        OSError: somebody else has it, it is no folder, or it is not there (any more).
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.lstat()
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a child that ends has the same exit functions
        shutil.rmtree(folder, ignore_errors=True)
