"""The published plots, from docs/decisions.json; equal figures give equal bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from backtest import results
from stages.shared import files

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Okabe and Ito (2008): told apart by everybody.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
# Those that lie apart; the others are in the table.
LABELLED = ("never", "oracle", "no gate", "month after")


def write(folder: Path, found: dict[str, Any]) -> None:
    """Write policies.svg, trigger.svg and gate.svg."""
    mpl.use("svg")
    mpl.rcParams |= {
        "svg.hashsalt": "churn", "svg.fonttype": "none", "axes.spines.top": False,
        "axes.spines.right": False, "font.size": 11, "axes.titlesize": 11,
    }  # fmt: skip
    for name, draw in (("policies", policies), ("trigger", trigger), ("gate", gate)):
        with files.replacing(folder / f"{name}.svg") as temporary:
            draw(found).savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


def policies(found: dict[str, Any]) -> Figure:
    """Each policy by what it costs and what it gives, a panel a scenario."""
    from matplotlib.figure import Figure

    scenarios = results.compared(found["policies"])
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, (len(scenarios) + 1) // 2, sharex=True)
    for axis, scenario in zip(axes.flat, scenarios, strict=False):
        _policies(axis, scenario, found["policies"][scenario])
    for axis in axes.flat[len(scenarios) :]:
        axis.set_visible(False)
    figure.supxlabel("trainings in the history")
    figure.supylabel("behind the best possible AUC (lower is better)")
    return figure


def _policies(axis: Axes, scenario: str, of_it: dict[str, Any]) -> None:
    fixed = sorted(
        (p["trainings"], p["regret"]) for name, p in of_it.items() if name.startswith("every ")
    )
    axis.plot(*zip(*fixed, strict=True), color=GREY, marker="o", markersize=4, linewidth=1)
    axis.annotate("every k months", fixed[-1], (-4, 6), textcoords="offset points",
                  ha="right", color=GREY, fontsize=9)  # fmt: skip
    for name in LABELLED:
        place = (of_it[name]["trainings"], of_it[name]["regret"])
        axis.plot(*place, color=BLUE, marker="s", markersize=4)
        axis.annotate(name, place, (5, -3), textcoords="offset points", color=BLUE, fontsize=8)
    ours = of_it["ours"]
    axis.errorbar(ours["trainings"], ours["regret"], yerr=2 * ours.get("regret_error", 0.0),
                  color=ORANGE, marker="D", markersize=7, capsize=3, zorder=3)  # fmt: skip
    axis.annotate("ours", (ours["trainings"], ours["regret"]), (8, 6),
                  textcoords="offset points", color=ORANGE, fontweight="bold")  # fmt: skip
    axis.set_title(scenario, loc="left")
    axis.margins(y=0.15)


def trigger(found: dict[str, Any]) -> Figure:
    """How often the trigger alarms, by how far three columns moved."""
    cells = [(c["rows"], c["shift"], c["trigger"]) for c in found["trigger"]
             if c["shift"]]  # fmt: skip
    return _curves(cells, "rows",
                   "shift of three columns of 14, in standard deviations",
                   "share of months with an alarm",
                   found["rates"]["drift.false_alarm_rate"])  # fmt: skip


def gate(found: dict[str, Any]) -> Figure:
    """How often the gate promotes, by the true gain."""
    return _curves([(c["rows"], c["gain"], c["promoted"]) for c in found["gate"]],
                   "holdout customers", "true gain in AUC", "share of candidates promoted",
                   found["rates"]["false promotions"])  # fmt: skip


def _curves(
    cells: list[tuple[int, float, float]], unit: str, x: str, y: str, rate: float
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis, rows = figure.subplots(), sorted({row for row, _, _ in cells})
    markers, colours = ("o", "s", "^", "D", "v"), (BLUE, ORANGE, GREEN, GREY, "#CC79A7")
    for row, marker, colour in zip(rows, markers, colours, strict=False):
        points = sorted((at, value) for r, at, value in cells if r == row)
        axis.plot(*zip(*points, strict=True), marker=marker, color=colour, label=f"{row:,} {unit}")
    axis.axhline(rate, color=GREY, linestyle=":", label=f"the rate that is set: {rate:g}")
    axis.set(xlabel=x, ylabel=y, ylim=(0, 1.02))
    axis.legend(frameon=False, fontsize=9)
    return figure
