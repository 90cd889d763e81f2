"""Tables for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages.shared.terminal import printable

WIDTH_OF_A_FILE = 120  # where the output is no terminal that could say how wide it is


def console() -> Console:
    """Where tables go: as wide as the terminal is; plain text where there is none."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE, highlight=False)


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; texts are shown as they are, never read as markup or a terminal's orders."""
    grid = Table(
        title=Text(printable(title), style="bold"),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_header=any(heads),
    )
    for head in heads:
        grid.add_column(Text(printable(head)), overflow="fold")
    for row in rows:
        grid.add_row(*(Text("" if value is None else printable(str(value))) for value in row))
    console().print(grid)
