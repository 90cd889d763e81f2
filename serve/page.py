"""What `GET /` shows: the page as the watcher or `make report` made it, and what belongs to it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from flask import Response, render_template, request

from serve.place import PAGE
from serve.problems import Problem
from serve.remake import Remaker
from stages.shared import files

if TYPE_CHECKING:
    from pathlib import Path

HTML = "text/html"


def page(folder: Path) -> Response:
    """The page, as it was last made; one that waits where there is none yet.

    Where the code that makes it is, the watcher makes it. An image of the server alone shows what
    `make report` has written where the pipeline runs.
    """
    for made in (folder / PAGE, files.home() / files.relative(files.REPORTS) / PAGE):
        with suppress(OSError):  # not there, or a folder that this user may not read
            return _file(made)
    return Response(render_template("waiting.html", possible=Remaker.is_possible()), mimetype=HTML)


def drift() -> Response:
    """Evidently's report of the newest comparison.

    Raises:
        Problem: 404, there is none where the server runs.
    """
    with suppress(OSError):
        return _file(files.home() / files.relative(files.DRIFT_HTML))
    raise Problem(404, "there is no report of Evidently's here: `make repro` makes it")


def _file(path: Path) -> Response:
    """A file as it is now; nothing but that, where the client has it already.

    Raises:
        OSError: it cannot be read.
    """
    stat = path.stat()
    answer = Response(path.read_bytes(), mimetype=HTML)
    answer.cache_control.no_cache = True  # a client asks each time whether it is another one
    answer.set_etag(f"{stat.st_mtime_ns:x}-{stat.st_ino:x}-{stat.st_size:x}")
    answer.make_conditional(request)
    return answer
