"""Two commands timed in turn: their ratio pair by pair, so that a busy machine does little harm."""

from __future__ import annotations

import statistics


def row(what: str, pairs: list[tuple[float, float]], asked: str) -> tuple[str, str, str]:
    """A row of the table from the seconds of ours and theirs, run for run."""
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    return what, f"{ratio:.2f} ({ours:.2f} s against {theirs:.2f} s)", asked
