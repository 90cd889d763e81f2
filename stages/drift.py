"""Stage 2: has the world left the window that the model was trained on?

Reads the typed months; writes the training window's rows (``train``, ``holdout``), a report, and
Evidently's page of the newest comparison. The window is a fold over the months in order: it
depends on the data and the parameters alone, never on an earlier run, the clock or the registry.
When nothing has drifted it is the same window, and the files are the same bytes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from stages.shared import contract, errors, files, months, params, split, window
from stages.shared.comparisons import Comparisons
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stages.shared.params import Data, Drift

    # (window, month) -> for each column a distances.Distance as plain values
    Judge = Callable[[tuple[str, ...], str], dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Month:
    """What the fold knows of a month beside its rows."""

    name: str
    rows: int
    labelled: bool  # its file has labels, whether or not they are due
    classes: frozenset[int] = frozenset({0, 1})  # among its labels, outside the holdout


@dataclass(frozen=True)
class Step:
    """What the arrival of one month led to."""

    month: str
    rows: int
    window: tuple[str, ...] | None  # that the month was held against
    share: float | None
    threshold: float
    triggered: bool
    renewed: bool
    reason: str
    columns: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class State:
    """What the months so far led to."""

    window: tuple[str, ...] = ()  # the months to train on; empty while no labels are known
    pending: str | None = None  # the month whose drift waits for its labels


def fold(
    arrived: Sequence[Month], label_delay: int, p: Drift, judge: Judge
) -> tuple[State, list[Step]]:
    """Replay the months in order; each step sees only what was known when its month was newest.

    Args:
        arrived: the months, oldest first.
        label_delay: calendar months until a month's labels are known.
        p: section ``drift`` of params.yaml.
        judge: measures a month against a window; called once for each step that needs it.

    Returns:
        The state after the last month, and a step for each month.
    """
    state, steps = State(), []
    for index, month in enumerate(arrived):
        known = labels_known(arrived[: index + 1], label_delay)
        state, step = arrive(state, month, known[-p.window_months :], p, judge)
        steps.append(step)
    return state, steps


def arrive(
    state: State, month: Month, known: Sequence[Month], p: Drift, judge: Judge
) -> tuple[State, Step]:
    """What the arrival of one month leads to.

    Args:
        state: before it.
        month: the newest one.
        known: the last ``window_months`` months whose labels are known now, oldest first.
        p: section ``drift`` of params.yaml.
        judge: see `fold`.
    """
    newest = tuple(m.name for m in known)
    two_classes = len(frozenset().union(*(m.classes for m in known))) > 1
    window = state.window or (newest if two_classes else ())
    if not window:
        why_not = "all known labels are the same" if newest else "no month's labels are known"
        return state, _step(month, p, f"{why_not} yet")
    if not state.window and month.name in window:
        return State(window), replace(_step(month, p, "the first window"), renewed=True)
    columns, reason = {}, f"too small to judge: {month.rows} rows, drift.min_rows is {p.min_rows}"
    if month.rows >= p.min_rows:
        columns = judge(window, month.name)
        reason = f"{_count(columns)} of {len(columns)} columns drifted"
    step = _step(month, p, reason, window, columns)
    after = State(window, state.pending or (month.name if step.triggered else None))
    why = renewal(after, newest[-1], month.name, p.max_age_months)
    if why and two_classes:
        told = f"{reason}; {why}: the window is now {months.span(newest)}"
        return State(newest), replace(step, renewed=True, reason=told)
    if why:
        reason += f"; {why}, but all of them are the same: the window stays"
    elif after.pending:
        reason += f"; waits for the labels of {after.pending}"
    return after, replace(step, reason=reason)


def _step(
    month: Month,
    p: Drift,
    reason: str,
    window: tuple[str, ...] | None = None,
    columns: dict[str, dict[str, Any]] | None = None,
) -> Step:
    """A month's step before anything follows from it; without columns it was not judged."""
    share = drifted_share(columns) if columns else None
    return Step(
        month=month.name,
        rows=month.rows,
        window=window,
        share=share,
        threshold=p.threshold,
        triggered=share is not None and share >= p.threshold,
        renewed=False,
        reason=reason,
        columns=columns or {},
    )


def labels_known(arrived: Sequence[Month], label_delay: int) -> list[Month]:
    """The months whose labels are known when the last of ``arrived`` is the newest month.

    A label that is in its file before it is due counts as not there: never peek.
    """
    newest = arrived[-1].name
    return [m for m in arrived if m.labelled and months.apart(m.name, newest) >= label_delay]


def renewal(state: State, newest: str, month: str, max_age: int) -> str | None:
    """Why the window must be renewed now that ``month`` has arrived, or None.

    ``newest`` is the newest month whose labels are known.
    """
    if state.pending and newest >= state.pending:
        return f"the labels of {state.pending}, which had drifted, are known"
    age = months.apart(state.window[-1], month)
    if age > max_age and newest > state.window[-1]:
        return f"its newest month was {age} months old (drift.max_age_months is {max_age})"
    return None


def drifted_share(columns: dict[str, dict[str, Any]]) -> float:
    """Share of the columns that drifted."""
    return files.rounded(_count(columns) / len(columns))


def _count(columns: dict[str, dict[str, Any]]) -> int:
    return sum(column["drifted"] for column in columns.values())


def labels(month: Month, newest: str, label_delay: int) -> str:
    """What the report says of a month's labels."""
    due = months.apart(month.name, newest) >= label_delay
    if month.labelled:
        return "known" if due else "there before their time: not used"
    return "missing, though due" if due else "not due yet"


def report(
    state: State, steps: Sequence[Step], arrived: Sequence[Month], label_delay: int
) -> dict[str, Any]:
    """reports/drift.json as plain values."""
    entries = []
    for month, step in zip(arrived, steps, strict=True):
        entry = asdict(step)
        entry["window"] = list(step.window) if step.window else None
        entry["labels"] = labels(month, arrived[-1].name, label_delay)
        entries.append(entry)
    return {"window": list(state.window), "pending": state.pending, "months": entries}


# --- gather and apply: files in, files out -----------------------------------------------------


def read_months(data: Data, p: Drift) -> list[Month]:
    """The months that ingest left, oldest first."""
    found = []
    for path in sorted(files.MONTHS.glob("*.parquet")):
        rows, labelled = window.count(path, data.label)
        classes = window.classes(path, data.id, data.label, p.salt, p.holdout_share)
        # More than half: the odd missing label is no reason to wait, a first few are no sample.
        found.append(Month(path.stem, rows, labelled * 2 > rows, classes))
    if not found:
        raise UserError("no month has been ingested: put YYYY-MM.csv files into data/raw")
    return found


def write_window(chosen: tuple[str, ...], data: Data, p: Drift, known: Comparisons) -> None:
    """Write train and holdout, unless they are there already, byte for byte."""
    facts = {
        "id": data.id,
        "label": data.label,
        "positive": data.positive,
        "features": contract.to_dict(data.features),
        "window": list(chosen),
        "split": split.definition(p.salt, p.holdout_share),
    }
    digests = [files.sha256(window.month_path(month, files.MONTHS)) for month in chosen]
    key = files.key("window", facts, digests, known.basis)
    if known.recall(key) != _written():
        window.write(chosen, files.MONTHS, files.TRAIN, files.HOLDOUT, facts)
    known.note(key, _written())


def _written() -> list[str | None]:
    return [files.sha256(p) if p.is_file() else None for p in (files.TRAIN, files.HOLDOUT)]


def main() -> None:
    """Replay the months, write the window and the report."""
    data, p = params.data(), params.drift()
    unknown = sorted(set(p.columns) - set(data.features))
    if unknown:
        raise UserError(
            f"params.yaml: drift.columns names {unknown[0]!r}, which is no feature of the data: "
            "take it out"
        )
    if p.max_age_months <= data.label_delay:
        raise UserError(
            f"params.yaml: drift.max_age_months is {p.max_age_months}, but labels come after "
            f"data.label_delay {data.label_delay} months, so that every window would be too old "
            f"at once: set it above {data.label_delay}"
        )
    arrived = read_months(data, p)
    print(f"drift: {len(arrived)} months, {months.span([m.name for m in arrived])}", flush=True)
    known = Comparisons(data.features, p, newest=arrived[-1].name)
    state, steps = fold(arrived, data.label_delay, p, known.judge)
    if not state.window:
        raise UserError(
            f"there is no window to train on: {steps[-1].reason}; column {data.label!r} must hold "
            f"both classes in months that are {data.label_delay} or more months older than the "
            f"newest ({arrived[-1].name}): put such files into {data.snapshots}"
        )
    write_window(state.window, data, p, known)
    known.keep()
    files.write_json(files.REPORTS / "drift.json", report(state, steps, arrived, data.label_delay))
    print(f"drift: {steps[-1].month}: {steps[-1].reason}")
    print(f"drift: the training window is {months.span(state.window)}")


if __name__ == "__main__":
    errors.run(main)
