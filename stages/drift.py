"""Stage 2: has the world left the window that the model was trained on?

Reads the typed months; writes the training window's rows (``train``, ``holdout``), a report, and
Evidently's page of the newest comparison. The window is a fold over the months in order: it
depends on the data and the parameters alone, never on an earlier run, the clock or the registry.
When nothing has drifted it is the same window, and the files are the same bytes.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stages.shared import contract, errors, files, months, params, split, window
from stages.shared.comparisons import Comparisons
from stages.shared.contract import Names
from stages.shared.errors import UserError
from stages.shared.fold import Month, fold
from stages.shared.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stages.shared.fold import State, Step
    from stages.shared.params import Data, Drift


def labels(month: Month, newest: str, label_delay: int) -> str:
    """What the report says of a month's labels."""
    due = months.apart(month.name, newest) >= label_delay
    if month.labelled:
        return "known" if due else "there before their time: not used"
    return "missing, though due" if due else "not due yet"


def report(
    state: State, steps: Sequence[Step], arrived: Sequence[Month], label_delay: int, trigger: str
) -> dict[str, Any]:
    """reports/drift.json as plain values."""
    entries = []
    for month, step in zip(arrived, steps, strict=True):
        entry = asdict(step)
        entry["window"] = list(step.window) if step.window else None
        entry["labels"] = labels(month, arrived[-1].name, label_delay)
        entries.append(entry)
    return {
        "trigger": trigger,
        "window": list(state.window),
        "holdout": list(state.holdout),
        "pending": state.pending,
        "since": state.since,
        "months": entries,
    }


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


def write_window(state: State, data: Data, p: Drift, known: Comparisons) -> None:
    """Write train and holdout, unless they are there already, byte for byte."""
    facts = {
        "id": data.id,
        "label": data.label,
        "positive": data.positive,
        "features": contract.to_dict(data.features),
        "window": list(state.window),
        "split": split.definition(p.salt, p.holdout_share),
    }
    chosen = sorted({*state.window, *state.holdout})
    digests = [files.sha256(window.month_path(month, files.MONTHS)) for month in chosen]
    key = files.key("window", facts, list(state.holdout), digests, known.basis)
    if known.recall(key) != _written():
        window.write(state.window, state.holdout, files.MONTHS, files.TRAIN, files.HOLDOUT, facts)
    known.note(key, _written())


def _written() -> list[str | None]:
    return [files.sha256(p) if p.is_file() else None for p in (files.TRAIN, files.HOLDOUT)]


def check(data: Data, p: Drift) -> None:
    """Refuse what the two sections say against each other.

    Raises:
        UserError: a column or a month that is none, or windows that would be too old at once.
    """
    accepted = {f"drift.accepted.{month}": columns for month, columns in p.accepted.items()}
    for key, columns in {"drift.columns": p.columns, **accepted}.items():
        unknown = sorted(set(columns) - set(data.features))
        if unknown:
            raise UserError(
                f"params.yaml: {key} names {unknown[0]!r}, which is no feature of the data: "
                "take it out"
            )
    for month in p.accepted:
        if not months.is_month(month):
            raise UserError(
                f"params.yaml: drift.accepted names {month!r}, which is no month: write YYYY-MM"
            )
    if p.max_age_months <= data.label_delay:
        raise UserError(
            f"params.yaml: drift.max_age_months is {p.max_age_months}, but labels come after "
            f"data.label_delay {data.label_delay} months, so that every window would be too old "
            f"at once: set it above {data.label_delay}"
        )


def refuse_broken(step: Step, data: Data) -> None:
    """Stop where the newest month's feed is broken.

    Raises:
        UserError: names the month, the column, the sign, and both ways on.
    """
    for column, why in step.broken.items():
        more = f" ({len(step.broken) - 1} more columns too)" if len(step.broken) > 1 else ""
        raise UserError(
            f"{step.month}: the feed of column {column!r} looks broken: {why}{more}; mend the file "
            f"in {data.snapshots}, or, if customers are like that now, write "
            f"{step.month}: [{', '.join(step.broken)}] into drift.accepted of params.yaml"
        )


def main() -> None:
    """Replay the months, write the window and the report."""
    data, p = params.data(), params.drift()
    check(data, p)
    arrived = read_months(data, p)
    print(f"drift: {len(arrived)} months, {months.span([m.name for m in arrived])}", flush=True)
    names = Names(data.id, data.label, data.features)
    known = Comparisons(names, p, newest=arrived[-1].name)
    state, steps = fold(arrived, data.label_delay, p, known)
    found = report(state, steps, arrived, data.label_delay, p.trigger)
    files.write_json(files.REPORTS / "drift.json", found)
    known.keep()
    refuse_broken(steps[-1], data)
    if not state.window:
        raise UserError(
            f"there is no window to train on: {steps[-1].reason}; column {data.label!r} must hold "
            f"both classes in months that are {data.label_delay} or more months older than the "
            f"newest ({arrived[-1].name}): put such files into {data.snapshots}"
        )
    write_window(state, data, p, known)
    known.keep()
    say(f"drift: {steps[-1].month}: {steps[-1].reason}")
    print(f"drift: the training window is {months.span(state.window)}")


if __name__ == "__main__":
    errors.run(main)
