"""`make report`: write the page to reports/report.html; with ``--live`` as the server shows it."""

from __future__ import annotations

import json
from pathlib import Path

from page import facts as known
from page.render import page
from stages.shared import errors, files
from stages.shared.errors import UserError

REPORT, LIVE = "report.html", "page.html"  # in reports; where the server looks


def main() -> None:
    """Gather the facts, or take them from a file, and write the page."""
    from stages.registry import cli

    parser = cli.parser("write the page")
    parser.add_argument("--live", action="store_true", help="as the server shows it")
    parser.add_argument("--facts", type=Path, help="made before; without it they are gathered")
    parser.add_argument("--out", type=Path, help="where the page goes")
    given = parser.parse_args()
    out = given.out or (folder() / LIVE if given.live else files.REPORTS / REPORT)
    found = _read(given.facts) if given.facts else _gathered()
    files.write_bytes(out, page(found, live=given.live).encode())
    if given.live and not given.facts:
        explain(folder())
    elif not given.live:
        print(f"report: {files.relative(out)}, {out.stat().st_size / 1e6:.1f} MB")


def folder() -> Path:
    """Where the server looks for its page, and for the model in place."""
    from stages.shared import params

    return files.home() / params.serve().folder


def explain(folder: Path) -> None:
    """Work out for the model in place what the server needs to tell what moves a probability."""
    from page import explainable
    from serve import place
    from stages.registry import store

    current = place.read(folder, place.CURRENT)
    if current:
        target = folder / current["folder"] / place.EXPLAIN
        explainable.write(store.fetch(current["version"]), target)


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
