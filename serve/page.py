"""What `GET /` shows: the page that the watcher has made, and what belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response, render_template, send_file

from serve.problems import Problem
from stages.shared import files

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "page.html"
HTML = "text/html"


def page(folder: Path) -> Response:
    """The page, as it was last made; one that waits where there is none yet."""
    made = folder / PAGE
    if not made.is_file():
        return Response(render_template("waiting.html"), mimetype=HTML)
    return send_file(made, mimetype=HTML, max_age=0)  # asked each time whether it is another one


def drift() -> Response:
    """Evidently's report of the newest comparison.

    Raises:
        Problem: 404, there is none where the server runs.
    """
    found = files.home() / files.relative(files.DRIFT_HTML)
    if not found.is_file():
        raise Problem(404, "there is no report of Evidently's here: `make repro` makes it")
    return send_file(found, mimetype=HTML, max_age=0)
