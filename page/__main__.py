"""`make report`: write the page, as a file and as a server shows it.

reports/report.html is for people. reports/page.html has a form that asks the server: one in a
container, which has not the code of this, shows it at ``/``. With ``--live`` the watcher has that
written for the server beside it.
"""

from __future__ import annotations

import json
from pathlib import Path

from page import facts as known
from page.render import pages
from serve.place import PAGE
from stages.shared import errors, files
from stages.shared.errors import UserError

REPORT = "report.html"


def main() -> None:
    """Gather the facts, or take them from a file, and write the page."""
    from stages.registry import cli

    parser = cli.parser("write the page")
    parser.add_argument("--live", action="store_true", help="for the server that runs here")
    parser.add_argument("--facts", type=Path, help="made before; without it they are gathered")
    parser.add_argument("--out", type=Path, help="where the page goes")
    given = parser.parse_args()
    out = given.out or (folder() / PAGE if given.live else files.REPORTS / REPORT)
    found = _read(given.facts) if given.facts else _gathered()
    wanted = {out: given.live}
    if out == files.REPORTS / REPORT:
        wanted[files.REPORTS / PAGE] = True
    for path, text in zip(wanted, pages(found, *wanted.values()), strict=True):
        try:
            files.write_bytes(path, text.encode())
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from None
    if not given.live:
        print(f"report: {files.relative(out)}, {out.stat().st_size / 1e6:.1f} MB")


def folder() -> Path:
    """Where the server looks for its page, and for the model in place."""
    from stages.shared import params

    return files.home() / params.serve().folder


def _gathered() -> known.Facts:
    from page.gather import gather  # MLflow: seconds

    return gather()


def _read(path: Path) -> known.Facts:
    try:
        return known.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} holds no facts of the page ({error})") from None


if __name__ == "__main__":
    errors.run(main)
