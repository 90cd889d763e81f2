"""What `GET /` shows: the page as the watcher or `make report` made it, and what belongs to it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from flask import request

from serve import protect
from serve.place import PAGE
from serve.problems import Problem
from serve.remake import Remaker
from stages.shared import files, policy

if TYPE_CHECKING:
    from pathlib import Path

    from flask import Response

# Evidently's page asks nobody: it has no business in the server's origin, and is in none.
APART = "sandbox allow-scripts"


def page(folder: Path) -> Response:
    """The page, as it was last made; one that waits where there is none yet.

    Where the code that makes it is, the watcher makes it. An image of the server alone shows what
    `make report` has written where the pipeline runs.
    """
    for made in (folder / PAGE, files.home() / files.relative(files.REPORTS) / PAGE):
        with suppress(OSError):  # not there, or a folder that this user may not read
            return _file(made)
    return protect.page("waiting.html", possible=Remaker.is_possible())


def drift() -> Response:
    """Evidently's report of the newest comparison.

    Raises:
        Problem: 404, there is none where the server runs.
    """
    with suppress(OSError):
        return _file(files.home() / files.relative(files.DRIFT_HTML), APART)
    raise Problem(404, "there is no report of Evidently's here: `make repro` makes it")


def _file(path: Path, *directives: str) -> Response:
    """A page as its file is now; nothing but that, where the client has it already.

    It runs what the policy at its start allows. One without a policy is not of ours, or of an
    earlier version's: it runs nothing.

    Raises:
        OSError: it cannot be read.
    """
    stat = path.stat()
    content = path.read_bytes()
    said = policy.of(content[: policy.LONGEST].decode(errors="replace")) or policy.NOTHING
    answer = protect.html(content, said, *directives)
    # A client asks each time whether it is another one.
    answer.headers["Cache-Control"] = "no-cache, private"
    answer.set_etag(f"{stat.st_mtime_ns:x}-{stat.st_ino:x}-{stat.st_size:x}")
    answer.make_conditional(request)
    return answer
