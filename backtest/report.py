"""The published tables, from docs/decisions.json: Markdown between marks of docs/decisions.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest import cases, measures, policies, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BEGIN, END = "<!-- made by make backtest: begin {} -->", "<!-- made by make backtest: end {} -->"
AGAINST = ("every 1", "never", "share 0.02", "share 0.5")
SHOWN = ("never", "every 1", "every 3", "every 6", "share 0.02", "share 0.5", "ours", "oracle")


def filled(text: str, found: dict[str, Any]) -> str:
    """The page with its tables made anew; what stands between the marks is replaced."""
    for name, make in TABLES.items():
        text = replaced(text, name, make(found))
    return text


def replaced(text: str, name: str, made: str) -> str:
    """The page with one table made anew."""
    begin, end = BEGIN.format(name), END.format(name)
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_scenario(found: dict[str, Any]) -> str:
    """How far each policy stays behind the best possible AUC, and how often it trains."""
    rows = []
    for scenario in results.compared(found["policies"]):
        of_it = found["policies"][scenario]
        cells = [f"{of_it[p]['regret']:.4f} ({of_it[p]['trainings']:.1f})" for p in SHOWN]
        rows.append([scenario, *cells])
    return table(["scenario", *SHOWN], rows)


def against(found: dict[str, Any]) -> str:
    """How far ours is behind others in the same histories; the last row is of all scenarios."""
    rows: list[dict[str, NDArray[np.float64]]] = []
    for scenario in results.compared(found["policies"]):
        of_it = found["policies"][scenario]
        others = {other: of_it[other]["regrets"] for other in AGAINST}
        others |= {"every k, as often as ours": results.at_the_same_trainings(of_it)}
        ours = of_it["ours"]["regrets"]
        rows.append({other: np.subtract(ours, theirs) for other, theirs in others.items()})
    rows.append({other: np.mean([row[other] for row in rows], axis=0) for other in rows[0]})
    named = zip((*results.compared(found["policies"]), "mean"), rows, strict=True)
    cells = [[name, *(_with_error(values) for values in row.values())] for name, row in named]
    return table(["scenario", *rows[0]], cells)


def _with_error(values: NDArray[np.float64]) -> str:
    """A mean, with twice its standard error."""
    if len(values) == 1:
        return f"{values[0]:+.4f}"
    return f"{values.mean():+.4f} ± {2 * values.std(ddof=1) / np.sqrt(len(values)):.4f}"


def years(found: dict[str, Any]) -> str:
    """Trainings year by year where seasons return for years."""
    rows = [
        [name, *(f"{count:.1f}" for count in of_it["yearly"]), f"{of_it['regret']:.4f}"]
        for scenario, of_policies in found["policies"].items()
        if scenario.startswith("season (")
        for name, of_it in of_policies.items()
    ]
    numbers = range(1, cases.LONG_MONTHS // measures.YEAR + 1)
    header = ["policy", *(f"year {n}" for n in numbers), "behind the best possible AUC"]
    return table(header, rows)


def overall(found: dict[str, Any]) -> str:
    """All policies, over all scenarios whose feed stays whole."""
    scenarios, what = results.compared(found["policies"]), _described()
    rows = []
    for name in found["policies"][scenarios[0]]:
        of_it = results.overall(found["policies"], name, scenarios)
        wrong = sum(found["policies"][s][name]["all_false_promotions"] for s in scenarios)
        of_all = sum(found["policies"][s][name]["all_worthless"] for s in scenarios)
        rows.append([
            name, what[name], f"{of_it['regret']:.4f}", f"{of_it['trainings']:.1f}",
            f"{of_it['promotions']:.1f}", f"{wrong} of {of_all}",
        ])  # fmt: skip
    header = ["policy", "what it is", "behind the best possible AUC", "trainings", "promotions",
              "promoted of those in truth no better"]  # fmt: skip
    return table(header, rows)


def _described() -> dict[str, str]:
    return {policy.name: policy.what for policy in policies.listed(3, 0.0)}


def changes(found: dict[str, Any]) -> str:
    """What is seen of the planted changes, and what is seen where there is none."""
    rows = []
    for scenario, of_it in found["policies"].items():
        if scenario == cases.REAL or scenario.startswith("season ("):
            continue
        ours, kind = of_it["ours"], scenario.split(" ")[0]
        many = ours["histories"]
        seen, delay = "", ""
        if kind in results.AT_ONCE:
            seen = f"{measures.seen(ours['alarm'], results.VISIBLE[kind])} of {many}"
        useful = [months for months in ours["useful"] if months is not None]
        if useful:
            delay = f"{np.median(useful):g} ({len(useful)} of {many})"
        quiet = f"{ours['false_triggers']} of {ours['quiet']}"
        wrong = f"{ours['all_false_promotions']} of {ours['all_worthless']}"
        rows.append([scenario, seen, delay, "" if kind == "season" else quiet, wrong])
    header = ["scenario", "seen within a month of being visible",
              "months from the change to the first better model, median",
              "triggers in months in which nothing had changed",
              "promoted of those in truth no better"]  # fmt: skip
    return table(header, rows)


def customers(found: dict[str, Any]) -> str:
    """The real customers: the AUC that was realised."""
    of_it = found["policies"].get(cases.REAL, {})
    rows = [
        [name, f"{figures['auc']:.4f}", str(figures["all_promotions"]), f"{figures['trainings']:g}"]
        for name, figures in of_it.items()
    ]
    return table(["policy", "AUC realised", "promotions", "trainings"], rows)


def trigger(found: dict[str, Any]) -> str:
    """The trigger where no column moved."""
    rows = [
        [
            f"{cell['rows']:,}", str(cell["columns"]), str(cell["repetitions"]),
            f"{cell['p_value']:.4f}", f"{cell['interval'][0]:.4f} to {cell['interval'][1]:.4f}",
            f"{cell['trigger']:.4f}",
        ]
        for cell in found["trigger"] if cell["shift"] == 0
    ]  # fmt: skip
    header = ["rows a month", "columns", "panels", "alarms by p-value alone", "expected",
              "alarms of the whole trigger"]  # fmt: skip
    return table(header, rows)


def labels(found: dict[str, Any]) -> str:
    """The labels' trigger where nothing changed."""
    rows = [
        [
            f"{cell['rows']:,}", str(cell["repetitions"]), f"{cell['p_value']:.4f}",
            f"{cell['interval'][0]:.4f} to {cell['interval'][1]:.4f}", f"{cell['trigger']:.4f}",
        ]
        for cell in found["labels"]
    ]  # fmt: skip
    return table(["rows a month", "worlds", "alarms by p-value alone", "expected",
                  "alarms of the whole trigger"], rows)  # fmt: skip


def power(found: dict[str, Any]) -> str:
    """The trigger where three of 14 columns moved."""
    return _grid(
        [(c["rows"], c["shift"], c["trigger"]) for c in found["trigger"] if c["shift"]],
        "rows a month", "{:g} sd",
    )  # fmt: skip


def gate(found: dict[str, Any]) -> str:
    """How often the gate promotes, by what the candidate is truly worth."""
    return _grid(
        [(c["rows"], c["gain"], c["promoted"]) for c in found["gate"]],
        "holdout customers", "{:+.3f}",
    )  # fmt: skip


def _grid(cells: Sequence[tuple[int, float, float]], corner: str, head: str) -> str:
    columns = sorted({column for _, column, _ in cells})
    of = {(row, column): value for row, column, value in cells}
    rows = [
        [f"{row:,}", *(f"{of[row, column]:.3f}" for column in columns)]
        for row in sorted({row for row, _, _ in cells})
    ]
    return table([corner, *(head.format(column) for column in columns)], rows)


TABLES = {
    "scenarios": by_scenario,
    "against": against,
    "years": years,
    "policies": overall,
    "changes": changes,
    "customers": customers,
    "trigger": trigger,
    "labels": labels,
    "power": power,
    "gate": gate,
}
