"""The one exception that a user can mend, and the one place that turns it into a line."""

from __future__ import annotations

import sys
from collections.abc import Callable

from stages.shared.terminal import printable


class UserError(Exception):
    """Something outside the code is wrong: the message says what, which value, what to do.

    ``code`` is for programs, where one has to tell this error from others; the message is not.
    """

    def __init__(self, message: str, code: str = "refused") -> None:
        super().__init__(message)
        self.code = code


def run(main: Callable[[], None]) -> None:
    """Call ``main``; turn a `UserError` into one line on stderr and exit status 1.

    ``--traceback`` on the command line brings the traceback back. Any other exception is a
    defect of ours and keeps its traceback.
    """
    show_traceback = "--traceback" in sys.argv
    if show_traceback:
        sys.argv.remove("--traceback")
    try:
        main()
    except UserError as error:
        if show_traceback:
            raise
        sys.stdout.flush()  # what was said before the error stays before it
        print(f"error: {printable(str(error))}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
