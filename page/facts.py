"""All that the page is made of, as plain JSON values: gathered in one place, shown in another."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What `page.gather` found; what is not there yet is empty or None.

    Attributes:
        as_of: when they were gathered; UTC, ISO 8601.
        next_step: the one thing to do now.
        next_month: how the next month arrives.
        awaits: a verdict waits for a person.
        stale: the verdict is about a production that is gone.
        outcome: what became of the candidate.
        trouble: why the registry or its ledger cannot be relied on.
        from_copy: whether the events are those of the clone's copy, not of the registry.
        alias: what is wrong with the alias, in words.
        drift: reports/drift.json.
        candidate: digest, estimator and window of the candidate in the workspace.
        evaluate: reports/evaluate.json, if it is about this candidate.
        compare: reports/compare.json, likewise.
        events: the ledger's events as plain values, each with the ``month`` it fell into.
        runs: MLflow's runs, one a candidate, each with the ``month`` it was trained in.
        quality: production's AUC on each month whose labels are known.
        curves: ROC and calibration of candidate and production on the holdout.
        columns: for each column, how its values are distributed in each month.
        form: the contract of the model in production, with an example; None without one.
        settings: the parameters of section ``compare`` that the page names.
        evidently: whether there is a page of Evidently's.
    """

    as_of: str
    next_step: str
    next_month: str = "make month && make repro"
    awaits: bool = False
    stale: bool = False
    outcome: str | None = None
    trouble: str | None = None
    from_copy: bool = False
    alias: str | None = None
    drift: dict[str, Any] = field(default_factory=dict)
    candidate: dict[str, Any] | None = None
    evaluate: dict[str, Any] = field(default_factory=dict)
    compare: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    quality: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    form: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    evidently: bool = False


def to_json(facts: Facts) -> dict[str, Any]:
    """The facts as plain values."""
    return asdict(facts)


def from_json(values: dict[str, Any]) -> Facts:
    """The facts from plain values; a key that nobody knows is left out."""
    known = {one.name for one in fields(Facts)}
    return Facts(**{name: value for name, value in values.items() if name in known})
