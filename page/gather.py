"""Read reports, registry and months: the facts that the page is made of."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from page import histograms, placing, quality
from page.facts import Facts
from stages.commands import status
from stages.registry import connection, ledger, store
from stages.shared import candidate, files, identifiers, months, params, servable
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlflow.entities import Run

_METRICS = {
    "auc": "auc",
    "gain": "compare.gain",
    "low": "compare.interval_low",
    "high": "compare.interval_high",
}


def gather() -> Facts:
    """All that there is; what cannot be had is left out, and a registry that is away is said."""
    now = status.gather()
    renewed, delay = placing.renewals(now.drift), params.data().label_delay
    events = _events(now.events, renewed, delay)
    measured = quality.Measured(params.evaluate().confidence)
    found = Facts(
        as_of=datetime.now(UTC).isoformat(timespec="seconds"),
        next_step=status.next_step(now),
        next_month=now.next_month,
        awaits=now.awaits,
        stale=now.stale,
        outcome=now.outcome,
        trouble=now.trouble,
        from_copy=now.from_copy,
        alias=_alias(now.registry),
        drift=now.drift,
        candidate=_candidate(now),
        evaluate=now.case.evaluate if now.case else {},
        compare=now.case.compare if now.case else {},
        events=events,
        runs=_runs(renewed, delay),
        quality=_quality(now.drift, events, measured),
        curves=_curves(now, measured),
        columns=_columns(now.drift),
        form=_form(now.state),
        settings=_settings(),
        evidently=files.DRIFT_HTML.is_file(),
    )
    measured.keep()
    return found


def _events(
    events: Sequence[ledger.Event], renewed: Sequence[str], label_delay: int
) -> list[dict[str, Any]]:
    plain = [asdict(event) for event in events]
    months = placing.of_events(plain, renewed, label_delay)
    return [{**event, "month": month} for event, month in zip(plain, months, strict=True)]


def _alias(registry: store.Registry) -> str | None:
    if registry.contradicts:
        return f"{store.by_hand(registry)}; {'; '.join(store.remedies(registry))}"
    if registry.standing == "interrupted":
        return "a command was interrupted before the alias had followed the ledger"
    return None


def _candidate(now: status.Facts) -> dict[str, Any] | None:
    if now.case is None:
        return None
    card = now.case.card
    return {"digest": now.case.digest, "estimator": card["estimator"], "window": card["window"]}


def _settings() -> dict[str, Any]:
    compared = params.compare()
    return {
        "delta": compared.delta,
        "min_lower_bound": compared.min_lower_bound,
        "confidence": compared.confidence,
    }


def _runs(renewed: Sequence[str], label_delay: int) -> list[dict[str, Any]]:
    """MLflow's complete runs, oldest first; none where the registry is away."""
    if not connection.exists():
        return []
    with suppress(UserError), connection.asking() as client:
        experiment = client.get_experiment_by_name(store.EXPERIMENT)
        if experiment is None:
            return []
        runs = connection.pages(
            client.search_runs,
            experiment_ids=[experiment.experiment_id],
            filter_string="attributes.status = 'FINISHED'",
            order_by=["attributes.start_time ASC"],
        )
        ours = [_run(run) for run in runs if _is_ours(run)]
        return [
            one | {"month": placing.of_window(one["window"], renewed, label_delay)} for one in ours
        ]
    return []


def _is_ours(run: Run) -> bool:
    try:
        return bool(identifiers.digest(run.data.tags.get("digest")))
    except ValueError:
        return False


def _run(run: Run) -> dict[str, Any]:
    named = run.data.params.get("window", "").split(", ")
    window = [month for month in named if months.is_month(month)]
    return {
        "digest": run.data.tags["digest"],
        "window": window,
        "verdict": run.data.tags.get("verdict"),
        "url": f"{_pages()}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}",
        **{name: run.data.metrics.get(metric) for name, metric in _METRICS.items()},
    }


def _pages() -> str:
    """Where MLflow's pages are: at the server, or where `make mlflow` puts them."""
    shown = connection.shown()
    return shown.rstrip("/") if shown.startswith("http") else "http://127.0.0.1:5000"


def _quality(
    drift: Mapping[str, Any], events: Sequence[Mapping[str, Any]], measured: quality.Measured
) -> list[dict[str, Any]]:
    known = [step["month"] for step in drift.get("months", []) if step.get("labels") == "known"]
    there = [name for name in known if _month(name).is_file()]
    return quality.of_production(there, placing.in_production(events, there), measured)


def _curves(now: status.Facts, measured: quality.Measured) -> dict[str, Any]:
    """Both models' curves, if the holdout still is the one that they were compared on."""
    case, holdout = now.case, files.HOLDOUT
    if not case or not case.compare or not holdout.is_file():
        return {}
    if files.sha256(holdout) != case.compare["holdout_sha256"]:
        return {}
    found: dict[str, Any] = {}
    with suppress(UserError, OSError, KeyError):
        found["candidate"] = measured.holdout(case.folder, case.digest)
        version, digest = case.compare["production_version"], case.compare.get("production_digest")
        if version is not None and digest not in (None, case.digest):
            found["production"] = measured.holdout(store.at_hand(version, digest), digest)
    return found


def _columns(drift: Mapping[str, Any]) -> dict[str, Any]:
    """The distributions of the months that were judged, and of those they were held against."""
    judged = [step for step in drift.get("months", []) if step.get("columns")]
    names = sorted({m for step in judged for m in (step["month"], *(step.get("window") or ()))})
    there = [name for name in names if _month(name).is_file()]
    first = [name for name in histograms.first_window(drift) if _month(name).is_file()]
    if not there or not first:
        return {}
    return histograms.gather(there, first, histograms.shared(there + first, params.data().features))


def _month(name: str) -> Path:
    return files.MONTHS / f"{name}.parquet"


def _form(state: ledger.State) -> dict[str, Any] | None:
    """The contract of what is in production, and one of its golden rows."""
    if state.production is None or state.digest is None:
        return None
    with suppress(UserError, OSError, KeyError, IndexError):
        folder = store.at_hand(state.production, state.digest)
        card = files.read_json(folder / candidate.CARD)
        rows = files.read_json(folder / candidate.GOLDEN)["rows"]
        if not (folder / servable.PLAN).is_file():
            return None
        return {
            "version": state.production,
            "id": card["id"],
            "features": card["features"],
            "example": rows[len(rows) // 2],
        }
    return None
