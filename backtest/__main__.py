"""`make backtest`: work out, collect, publish.

python -m backtest                         all of docs/decisions.md; what is done is not done twice
python -m backtest --seeds 3 --to /tmp/x   less, elsewhere
"""

from __future__ import annotations

import os
from pathlib import Path

from backtest import plots, report, results, work
from stages.registry import cli
from stages.shared import errors, files
from stages.shared.errors import UserError

DOCS = files.ROOT / "docs"


def main() -> None:
    """Work out what is not there yet; write the page's tables, its plots and the figures."""
    parser = cli.parser("How well the loop decides.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--onset", type=int, default=12)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--to", type=Path, default=DOCS)
    given = parser.parse_args()
    if given.seeds < 1 or given.workers < 1:
        raise UserError("--seeds and --workers take a number from 1 on")
    asked = [
        *results.histories(given.seeds, given.rows, given.months, given.onset),
        *results.rates(),
    ]
    found = work.run(asked, given.workers, lambda told: print(f"backtest: {told}", flush=True))
    figures = results.collect(found) | {"seeds": given.seeds}
    given.to.mkdir(parents=True, exist_ok=True)
    files.write_json(given.to / "decisions.json", figures)
    page = given.to / "decisions.md"
    text = (page if page.is_file() else DOCS / "decisions.md").read_text(encoding="utf-8")
    files.write_bytes(page, report.filled(text, figures).encode())
    plots.write(given.to / "plots", figures)
    print(f"backtest: {files.relative(page)} and its plots are made")


if __name__ == "__main__":
    errors.run(main)
