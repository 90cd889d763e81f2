"""How far each column moved in each month, and the distributions behind it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from page.facts import Facts

SHOWN = 12  # columns of the heat map before "all other columns" is asked for
_WORST = 3  # columns that a sentence names
# From which multiple of its limit on a cell has which shade.
_SHADES = ((4.0, 5), (2.0, 4), (1.0, 3), (0.5, 2), (0.2, 1), (0.0, 0))


def heat(facts: Facts) -> dict[str, Any]:
    """How far each column moved in each month, in multiples of its limit; the worst first."""
    judged = [step for step in facts.drift.get("months", []) if step.get("columns")]
    if not judged:
        return {"empty": True, "sentence": "No column has been measured yet."}
    by_p_value = _by_p_value(judged)
    names = list(dict.fromkeys(name for step in judged for name in step["columns"]))
    rows = []
    for name in names:
        cells = [_cell(step["columns"].get(name), by_p_value) for step in judged]
        peak = max(cell["moved"] for cell in cells)
        rows.append({"name": name, "cells": cells, "newest": cells[-1]["moved"], "peak": peak})
    rows.sort(key=lambda row: (-row["newest"], -row["peak"]))
    return {
        "empty": False,
        "months": [step["month"] for step in judged],
        "rows": rows[:SHOWN],
        "rest": rows[SHOWN:],
        "total": len(rows),
        "alarms": any("!" in cell["text"] for row in rows for cell in row["cells"]),
        "sentence": _worst(rows, judged[-1]["month"]),
    }


def _by_p_value(judged: Sequence[Mapping[str, Any]]) -> set[str]:
    """The methods whose values are p-values: they have drifted where they are small.

    A distance has drifted from its limit on, a p-value below it. What most columns of a method show
    holds for it: a value is rounded, and one close to its limit may lie on the other side of it.
    """
    votes: dict[str, int] = {}
    for step in judged:
        for column in step["columns"].values():
            if column.get("value") is not None and column.get("threshold") is not None:
                is_small = column["value"] < column["threshold"]
                vote = 1 if bool(column.get("drifted")) == is_small else -1
                votes[column["method"]] = votes.get(column["method"], 0) + vote
    return {method for method, sum_ in votes.items() if sum_ > 0}


def _cell(column: Mapping[str, Any] | None, by_p_value: set[str]) -> dict[str, Any]:
    if not column or column.get("value") is None or not column.get("threshold"):
        return {"moved": 0.0, "text": "-", "shade": 0, "drifted": False}
    value, limit = column["value"], column["threshold"]
    moved = limit / max(value, 1e-9) if column["method"] in by_p_value else value / limit
    moved = min(moved, 99.0)
    drifted = bool(column.get("drifted"))
    shade = next(shade for least, shade in _SHADES if moved >= least)
    # What drifted is never shaded as if it had not, nor the other way round.
    shade = max(shade, 3) if drifted else min(shade, 2)
    text = f"{moved:.0f}" if moved >= 9.95 else f"{moved:.1f}"
    text += "!" * bool(column.get("alarm"))
    return {"moved": moved, "text": text, "shade": shade, "drifted": drifted}


def _worst(rows: Sequence[Mapping[str, Any]], month: str) -> str:
    past = [row for row in rows if row["cells"][-1]["drifted"]]
    if not past:
        farthest = rows[0]
        return (
            f"No column is past its limit in {month}; {farthest['name']} is nearest to it, at "
            f"{farthest['newest']:.1f} times the limit."
        )
    named = [f"{row['name']} ({row['newest']:.1f} times its limit)" for row in past[:_WORST]]
    more = f" and {len(past) - _WORST} more" if len(past) > _WORST else ""
    moved = words.count(len(past), "column")
    return f"In {month}, {moved} moved past the limit: {', '.join(named)}{more}."


def distributions(facts: Facts) -> dict[str, Any]:
    """What a click on a column needs, as small as it can be: everything in the order of ``names``.

    Returns:
        ``names`` of the months, their ``rows``, the ``windows`` they were held against (places in
        ``names``; None where a month was not), and for each column its bins, its shares of each
        month, its methods with their limits, and what was measured by which of them.
    """
    steps = facts.drift.get("months", [])
    names = [step["month"] for step in steps]
    at = {name: place for place, name in enumerate(names)}
    return {
        "names": names,
        "rows": [step.get("rows", 1) for step in steps],
        "windows": [
            [at[name] for name in step.get("window") or () if name in at]
            if step.get("columns")
            else None
            for step in steps
        ],
        "columns": {
            name: _distribution(name, column, steps) for name, column in facts.columns.items()
        },
    }


def _distribution(
    name: str, column: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    found = [step.get("columns", {}).get(name) for step in steps]
    methods = list(dict.fromkeys((one["method"], one.get("threshold")) for one in found if one))
    return {
        "bins": column["bins"],
        "shares": [column["months"].get(step["month"]) for step in steps],
        "methods": methods,
        "measured": [
            one
            and [
                methods.index((one["method"], one.get("threshold"))),
                one.get("value"),
                int(bool(one.get("drifted"))),
                *([one["p_value"], int(bool(one["alarm"]))] if "alarm" in one else []),
            ]
            for one in found
        ],
    }
