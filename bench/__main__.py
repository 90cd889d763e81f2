"""`make bench` and `make bench-serve`, or `python -m bench noop ingest` for some of it."""

from __future__ import annotations

import importlib
import sys

from stages.shared import words

PARTS = ("noop", "ingest", "scale", "stages")


def main() -> None:
    """Measure, and print one table."""
    chosen = sys.argv[1:] or list(PARTS)
    rows: list[tuple[str, str, str]] = []
    for part in chosen:
        print(f"measuring: {part}", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"bench.{part}").main()
    words.table("bench", ("what", "reached", "asked, at most"), rows)


if __name__ == "__main__":
    main()
