"""The one exception that a user can mend, and the one place that turns it into a line."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable

from stages.shared import terminal

_ROOM = "free some space on its disk, then type the same again"
_RIGHTS = "let this user write there, or be the user whose clone it is"
_REMEDIES = {
    errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EFBIG: _ROOM,
    errno.EACCES: _RIGHTS, errno.EPERM: _RIGHTS, errno.EROFS: _RIGHTS,
}  # fmt: skip


class UserError(Exception):
    """Something outside the code is wrong: the message says what, which value, what to do.

    ``code`` is for programs, where one has to tell this error from others; the message is not.
    """

    def __init__(self, message: str, code: str = "refused") -> None:
        super().__init__(message)
        self.code = code


def run(main: Callable[[], None]) -> None:
    """Call ``main``; turn a `UserError` into one line on stderr and exit status 1.

    So is what the system refuses: a full disk, a folder that may not be written to. The option
    ``--traceback`` brings the traceback back. Any other exception is a defect of ours and keeps
    its traceback.
    """
    show_traceback = "--traceback" in sys.argv
    if show_traceback:
        sys.argv.remove("--traceback")
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # as in `make history | head`: whoever read has what was wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except (UserError, OSError) as error:
        if show_traceback:
            raise
        sys.stdout.flush()  # what was said before the error stays before it
        print(f"error: {terminal.line(line(error))}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def line(error: UserError | OSError) -> str:
    """An error on one line: what, where, what to do."""
    if isinstance(error, UserError):
        return str(error)
    why = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0, "to see where: type it with --traceback")
    return " ".join(f"{where}{why}: {remedy}".split())
