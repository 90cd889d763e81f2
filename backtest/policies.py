"""Policies: when to retrain, and what to promote. All are the same fold and the same gate.

A policy differs from the default in parameters of the fold, in what its judge says, or in its gate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from stages import compare
from stages.shared.fold import State, Step, arrive, labels_known

if TYPE_CHECKING:
    from backtest.history import History
    from stages.compare import Gain
    from stages.shared.fold import Judge, Window
    from stages.shared.params import Compare

NEVER = 10_000  # months
Gate = Callable[["Gain", "Compare", np.random.Generator], bool]


@dataclass(frozen=True)
class Policy:
    """What differs from the default.

    ``drift`` are changes of that section of params.yaml, ``judge`` wraps the judge, ``gate``
    decides on a candidate by what is measured ``on_holdout``, or on the rows that were trained on;
    ``hindsight`` takes the best model there could be instead.
    """

    name: str
    what: str
    drift: dict[str, Any] = field(default_factory=dict)
    judge: Callable[[Judge], Judge] = lambda judge: judge
    gate: Gate = lambda gain, p, _: by_evidence(gain, p)
    on_holdout: bool = True
    hindsight: bool = False


def by_evidence(gain: Gain, p: Compare) -> bool:
    """The gate of the stage compare."""
    decision = compare.decide(
        gates=[], already=None, unmeasured=None, first=False, incomparable=None, gain=gain, p=p
    )
    return decision.verdict == "promote"


def always(_gain: Gain, _p: Compare, _rng: np.random.Generator) -> bool:
    """No gate."""
    return True


def coin(_gain: Gain, _p: Compare, rng: np.random.Generator) -> bool:
    """A gate that looks at nothing."""
    return bool(rng.random() < 0.5)


def by_point(gain: Gain, p: Compare, _rng: np.random.Generator) -> bool:
    """A gain of at least delta, and no interval: the gate of most templates."""
    return gain.gain >= p.delta


@dataclass(frozen=True)
class Silenced:
    """A judge of whom some questions are not asked."""

    judge: Judge
    says: frozenset[str]

    def broken(self, before: str, month: str) -> dict[str, str]:
        """See `fold.Judge`."""
        return self.judge.broken(before, month) if "broken" in self.says else {}

    def columns(self, window: Window, month: str) -> dict[str, dict[str, Any]]:
        """See `fold.Judge`."""
        return self.judge.columns(window, month) if "columns" in self.says else {}

    def labels(self, window: Window, month: str) -> dict[str, Any] | None:
        """See `fold.Judge`."""
        return self.judge.labels(window, month) if "labels" in self.says else None


@dataclass(frozen=True)
class Otherwise:
    """A judge whose alarms for columns are made in another way."""

    judge: Judge
    alarm: Callable[[dict[str, Any]], bool]

    def broken(self, before: str, month: str) -> dict[str, str]:
        """See `fold.Judge`."""
        return self.judge.broken(before, month)

    def columns(self, window: Window, month: str) -> dict[str, dict[str, Any]]:
        """See `fold.Judge`."""
        found = self.judge.columns(window, month)
        return {name: of_it | {"alarm": self.alarm(of_it)} for name, of_it in found.items()}

    def labels(self, window: Window, month: str) -> dict[str, Any] | None:
        """See `fold.Judge`."""
        return self.judge.labels(window, month)


def only(*says: str) -> Callable[[Judge], Judge]:
    """A judge who answers these questions alone."""
    return lambda judge: Silenced(judge, frozenset(says))


def alarm_by(rule: Callable[[dict[str, Any]], bool]) -> Callable[[Judge], Judge]:
    """A judge who alarms by another rule."""
    return lambda judge: Otherwise(judge, rule)


def every(k: int, label_delay: int) -> Policy:
    """A training every ``k`` months, once the first window has all its months."""
    what = "every month, and let the gate decide" if k == 1 else f"every {k} months"
    return Policy(f"every {k}", what, {"max_age_months": label_delay + k - 1}, only())


def fixed(threshold: float) -> Policy:
    """A share of drifted columns, and nothing else."""
    return Policy(
        f"share {threshold:g}",
        f"a share of drifted columns of at least {threshold:g}",
        {"trigger": "share", "threshold": threshold, "max_age_months": NEVER},
        only("columns"),
    )


def listed(label_delay: int, rate: float) -> list[Policy]:
    """All policies that are compared.

    Args:
        label_delay: of the data.
        rate: drift.false_alarm_rate.
    """
    return [
        Policy("never", "the first full window alone", {"max_age_months": NEVER}, only()),
        *(every(k, label_delay) for k in (1, 2, 3, 4, 6, 9, 12)),
        Policy("oracle", "by hindsight, the best model that there could be", hindsight=True),
        fixed(0.02),
        fixed(0.5),
        Policy("ours", "the defaults"),
        Policy("no columns", "ours, labels alone", judge=only("broken", "labels")),
        Policy("no labels", "ours, columns alone", judge=only("broken", "columns")),
        Policy("no growth", "ours, one training a change", {"growth": float(NEVER)}),
        Policy("no age", "ours, however old the window", {"max_age_months": NEVER}),
        Policy(
            "no effect size", "ours, p-values alone for columns",
            judge=alarm_by(lambda c: c["p_value"] is not None and c["p_value"] <= rate),
        ),
        Policy("no p-value", "ours, distances alone for columns",
               judge=alarm_by(lambda c: c["drifted"])),
        Policy("newest month", "ours, the holdout is the newest month of the window",
               {"holdout": "newest"}),
        Policy("month after", "ours, the holdout is the month after the window",
               {"holdout": "after"}),
        Policy("no gate", "ours, every candidate is promoted", gate=always),
        Policy("gate by point", "ours, a gain of delta is enough", gate=by_point),
        Policy("gate on training rows", "ours, compared on customers it was trained on",
               on_holdout=False),
        Policy("gate by coin", "ours, the gate is a coin", gate=coin),
    ]  # fmt: skip


@dataclass(frozen=True)
class Decided:
    """What a policy did when one month arrived."""

    step: Step
    trained: Window | None  # the candidate's window, if one was trained
    gain: float | None
    promoted: bool
    production: Window | None  # whose model answers from now on


def replay(history: History, policy: Policy, seed: int) -> list[Decided]:
    """Replay a history under a policy.

    Args:
        history: the months.
        policy: what decides.
        seed: of a gate that draws.

    Returns:
        What was decided at each month.
    """
    if policy.hindsight:
        return _hindsight(history)
    p = history.settings.drift.model_copy(update=policy.drift)
    judge, rng = policy.judge(history.judge), np.random.default_rng(seed)
    state, production, decided = State(), None, []
    for index, month in enumerate(history.months):
        known = labels_known(history.months[: index + 1], history.label_delay)
        before = state.window
        state, step = arrive(state, month, known, p, judge)
        found: Gain | None = None
        if state.window == before:
            trained, promoted = None, False
        elif production is None:
            trained, promoted = state.window, True
        else:
            trained = state.window
            found = history.gain(trained, production, state.holdout, policy.on_holdout)
            promoted = policy.gate(found, history.settings.compare, rng)
        if promoted:
            production = trained
        decided.append(Decided(step, trained, found.gain if found else None, promoted, production))
    return decided


def _hindsight(history: History) -> list[Decided]:
    """At each month the model that ranks its customers best, of all that there could be."""
    monthly = replay(history, every(1, history.label_delay), 0)
    there: list[Window] = []
    decided, production = [], None
    for month, of_month in zip(history.months, monthly, strict=True):
        there += [of_month.trained] if of_month.trained else []
        best = max(there, key=lambda w: history.quality(w, month.name) or 0.0, default=None)
        changed = best is not None and best != production
        production = best
        decided.append(Decided(of_month.step, best if changed else None, None, changed, production))
    return decided
