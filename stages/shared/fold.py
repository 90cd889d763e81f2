"""The trigger: a fold over the months in order, whose state is the training window. Pure.

What a month shows is asked of a judge; what follows from it is decided here. The window depends on
the data and the parameters alone, never on an earlier run, the clock or the registry.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from stages.shared import files, months

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stages.shared.params import Drift

Window = tuple[str, ...]


class Judge(Protocol):
    """What months show when they are held against others."""

    def broken(self, before: str, month: str) -> dict[str, str]:
        """The month's columns whose feed broke since the month ``before``, each with the sign."""

    def columns(self, window: Window, month: str) -> dict[str, dict[str, Any]]:
        """For each column ``method``, ``value``, ``threshold``, ``drifted``, ``alarm``."""

    def labels(self, window: Window, month: str) -> dict[str, Any] | None:
        """Whether the labels are of the window's world; None where too few tell it."""


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
    window: Window | None  # that the month was held against
    share: float | None
    threshold: float
    triggered: bool
    renewed: bool
    reason: str
    columns: dict[str, dict[str, Any]]
    label_tests: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the labels' month
    broken: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What the months so far led to."""

    window: Window = ()  # the months to train on; empty while no labels are known
    holdout: Window = ()  # the months whose holdout customers judge
    pending: str | None = None  # the month whose drift waits for its labels
    since: str | None = None  # the first month of the world that the window is moving to
    grown: int = 0  # months of it that the window had when it was last renewed
    tested: str | None = None  # the newest month whose labels were held against a window
    intact: str | None = None  # the newest month whose feed was whole
    broken: Window = ()  # the months that are left out

    @property
    def reference(self) -> Window:
        """The months that others are held against: of the newest world in the window."""
        newest = tuple(m for m in self.window if self.since is None or m >= self.since)
        return newest or self.window


@dataclass(frozen=True)
class Found:
    """What was asked about a month, and what it showed."""

    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def fold(
    arrived: Sequence[Month], label_delay: int, p: Drift, judge: Judge
) -> tuple[State, list[Step]]:
    """Replay the months in order; each step sees only what was known when its month was newest.

    Args:
        arrived: the months, oldest first.
        label_delay: calendar months until a month's labels are known.
        p: section ``drift`` of params.yaml.
        judge: asked once for each answer that a step needs.

    Returns:
        The state after the last month, and a step for each month.
    """
    state, steps = State(), []
    for index, month in enumerate(arrived):
        known = labels_known(arrived[: index + 1], label_delay)
        state, step = arrive(state, month, known, p, judge)
        steps.append(step)
    return state, steps


def arrive(
    state: State, month: Month, known: Sequence[Month], p: Drift, judge: Judge
) -> tuple[State, Step]:
    """What the arrival of one month leads to.

    Args:
        state: before it.
        month: the newest one.
        known: the months whose labels are known now, oldest first.
        p: section ``drift`` of params.yaml.
        judge: see `Judge`.
    """
    broken = _broken(state, month, p, judge)
    state = (
        replace(state, broken=(*state.broken, month.name))
        if broken
        else replace(state, intact=month.name)
    )
    known = [m for m in known if m.name not in state.broken]
    newest, after = _newest_window(known, p)
    two_classes = len(frozenset().union(*(m.classes for m in known if m.name in newest))) > 1
    if not state.window and not two_classes:
        why_not = "all known labels are the same" if newest else "no month's labels are known"
        return state, _step(month, p, f"{why_not} yet", None, Found(broken=broken))
    if not state.window:
        state = _first_window(state, newest, after, known[-1].name, p)
        if month.name in newest:
            first = _step(month, p, "the first window", None, Found(broken=broken))
            return state, replace(first, renewed=True)
    found = _ask(state, month, known, broken, p, judge)
    step = _step(month, p, _told(month, found, p), state.reference, found)
    state = _alarmed(state, step, known)
    return _renew(state, step, newest, after, two_classes=two_classes, p=p)


def _first_window(state: State, newest: Window, after: Window, tested: str, p: Drift) -> State:
    """The world began with the first window: it grows as if there had been a change."""
    since = newest[0] if len(newest) < p.window_months else None
    state = replace(state, window=newest, tested=tested, since=since, grown=len(newest))
    return replace(state, holdout=after or _judging(state, p))


def _judging(state: State, p: Drift) -> Window:
    """The window's months whose holdout customers judge: all of the newest world."""
    return state.window[-1:] if p.holdout == "newest" else state.reference


def _broken(state: State, month: Month, p: Drift, judge: Judge) -> dict[str, str]:
    if state.intact is None:
        return {}
    accepted = p.accepted.get(month.name, ())
    found = judge.broken(state.intact, month.name)
    return {column: why for column, why in found.items() if column not in accepted}


def _newest_window(known: Sequence[Month], p: Drift) -> tuple[Window, Window]:
    """The newest months to train on, and those after them whose holdout customers judge."""
    names = tuple(m.name for m in known)
    if p.holdout == "after" and len(names) > 1:
        return names[:-1][-p.window_months :], names[-1:]
    return names[-p.window_months :], ()


def _ask(
    state: State,
    month: Month,
    known: Sequence[Month],
    broken: dict[str, str],
    p: Drift,
    judge: Judge,
) -> Found:
    """Hold the month's columns, and the labels that came with it, against the window."""
    against, names = state.reference, {m.name for m in known}
    came = [m.name for m in known if state.tested is None or m.name > state.tested]
    judged = not broken and month.rows >= p.min_rows
    return Found(
        _columns(judge, against, month.name, names) if judged else {},
        {} if p.trigger == "share" else _labels(judge, against, came, names),
        broken,
    )


def _columns(
    judge: Judge, against: Window, month: str, known: set[str]
) -> dict[str, dict[str, Any]]:
    """What is no alarm against the same month a year before is a season that returned."""
    found, before = judge.columns(against, month), months.year_before(month)
    if not _alarms(found) or before not in known:
        return found
    then = judge.columns((before,), month)
    return {name: of_it | _as_then(of_it, then[name]) for name, of_it in found.items()}


def _labels(
    judge: Judge, against: Window, came: Sequence[str], known: set[str]
) -> dict[str, dict[str, Any]]:
    """The same of the labels of the months that came."""
    found = {}
    for month in came:
        of_it, before = judge.labels(against, month), months.year_before(month)
        if of_it and of_it["alarm"] and before in known:
            of_it = of_it | _as_then(of_it, judge.labels((before,), month))
        if of_it:
            found[month] = of_it
    return found


def _as_then(found: dict[str, Any], then: dict[str, Any] | None) -> dict[str, Any]:
    returned = bool(found["alarm"] and then and not then["alarm"])
    return {"alarm": found["alarm"] and not returned, "as_a_year_before": returned}


def _step(month: Month, p: Drift, reason: str, window: Window | None, found: Found) -> Step:
    """A month's step before anything follows from it; without columns it was not judged."""
    share = drifted_share(found.columns) if found.columns else None
    by_share = share is not None and share >= p.threshold
    by_columns = by_share if p.trigger == "share" else bool(_alarms(found.columns))
    return Step(
        month=month.name,
        rows=month.rows,
        window=window,
        share=share,
        threshold=p.threshold,
        triggered=by_columns or bool(_alarms(found.labels)),
        renewed=False,
        reason=reason,
        columns=found.columns,
        label_tests=found.labels,
        broken=found.broken,
    )


def _alarmed(state: State, step: Step, known: Sequence[Month]) -> State:
    """The state once the month has said what it has to say."""
    tested = known[-1].name if known else state.tested
    by_labels = _alarms(step.label_tests)
    if by_labels:  # of the labels that are known already: there is nothing to wait for
        return replace(state, tested=tested, pending=by_labels[0])
    waits = step.month if step.triggered else None
    return replace(state, tested=tested, pending=state.pending or waits)


def _renew(
    state: State, step: Step, newest: Window, after: Window, *, two_classes: bool, p: Drift
) -> tuple[State, Step]:
    """Renew the window if it is due, and say why."""
    why = renewal(state, newest, step.month, p)
    if why and two_classes:
        told = f"{step.reason}; {why}: the window is now {months.span(newest)}"
        return _renewed(state, newest, after, p), replace(step, renewed=True, reason=told)
    reason = step.reason
    if why:
        reason += f"; {why}, but all of them are the same: the window stays"
    elif state.pending:
        reason += f"; waits for the labels of {state.pending}"
    return state, replace(step, reason=reason)


def _renewed(state: State, newest: Window, after: Window, p: Drift) -> State:
    since = state.since
    if state.pending and newest[-1] >= state.pending:
        since = state.pending
    of_new_world = sum(since is None or month >= since for month in newest)
    state = replace(
        state,
        window=newest,
        pending=None if since == state.pending else state.pending,
        since=None if of_new_world == p.window_months else since,
        grown=of_new_world,
    )
    return replace(state, holdout=after or _judging(state, p))


def renewal(state: State, newest: Window, month: str, p: Drift) -> str | None:
    """Why the window must be renewed now that ``month`` has arrived, or None.

    ``newest`` are the newest months that could be trained on.
    """
    if not newest or newest[-1] <= state.window[-1]:
        # A window of one month that has drifted may be the newest still.
        return None
    if state.pending and newest[-1] >= state.pending:
        return f"the labels of {state.pending}, which had drifted, are known"
    if state.since:
        now = sum(m >= state.since for m in newest)
        if now >= min(p.growth * state.grown, p.window_months):
            return f"it now can have {now} months since {state.since}"
    age = months.apart(state.window[-1], month)
    if age > p.max_age_months:
        return f"its newest month was {age} months old (drift.max_age_months is {p.max_age_months})"
    return None


def labels_known(arrived: Sequence[Month], label_delay: int) -> list[Month]:
    """The months whose labels are known when the last of ``arrived`` is the newest month.

    A label that is in its file before it is due counts as not there: never peek.
    """
    newest = arrived[-1].name
    return [m for m in arrived if m.labelled and months.apart(m.name, newest) >= label_delay]


def drifted_share(columns: dict[str, dict[str, Any]]) -> float:
    """Share of the columns that drifted."""
    return files.rounded(_count(columns) / len(columns))


def _count(columns: dict[str, dict[str, Any]]) -> int:
    return sum(column["drifted"] for column in columns.values())


def _alarms(found: dict[str, dict[str, Any]]) -> list[str]:
    return [name for name, of_it in found.items() if of_it["alarm"]]


def _told(month: Month, found: Found, p: Drift) -> str:
    """What the month showed, in words."""
    if found.broken:
        said = "its feed is broken: " + "; ".join(f"{c}: {why}" for c, why in found.broken.items())
    elif not found.columns:
        said = f"too small to judge: {month.rows} rows, drift.min_rows is {p.min_rows}"
    else:
        said = f"{_count(found.columns)} of {len(found.columns)} columns drifted"
        if p.trigger == "evidence":
            alarms = _alarms(found.columns)
            said += f", an alarm for {', '.join(alarms)}" if alarms else ", none is an alarm"
    for name in _alarms(found.labels):
        said += f"; {found.labels[name]['what']} of {name} changed"
    return said
