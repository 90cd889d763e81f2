"""An MLflow run for every candidate: found by the digest of its files, or made anew from them."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.registry import connection, evidence, store
from stages.shared import candidate, contract, files, identifiers
from stages.shared.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

_TYPES = {"number": "double", "category": "string", "boolean": "boolean"}
_EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Run:
    """A complete run and the model that it logged."""

    run_id: str
    model_id: str


def ensure(case: evidence.Case) -> Run:
    """The candidate's complete run, made if there is none; the newest figures are noted in it.

    A run that a kill left half done is marked as killed, not taken up: which of its parts are
    there is not worth finding out.
    """
    experiment = store.experiment()
    found = find(case.digest)
    if found is None:
        _give_up_partial_runs(experiment, case.digest)
        found = _log(case, experiment)
    _note_figures(case, found.run_id)
    return found


def find(digest: str) -> Run | None:
    """The oldest complete run of a candidate, None if there is none."""
    question = f"tags.digest = '{identifiers.digest(digest)}' and attributes.status = 'FINISHED'"
    with connection.asking() as client:
        runs = client.search_runs(
            [store.experiment()], question, order_by=["attributes.start_time ASC"]
        )
    for run in runs:
        if run.outputs and run.outputs.model_outputs:
            return Run(run.info.run_id, run.outputs.model_outputs[0].model_id)
    return None


def give_up(run: Run) -> None:
    """Mark a run whose files are gone as killed: nobody finds it any more, `make gc` takes it."""
    with connection.asking() as client:
        client.set_terminated(run.run_id, "KILLED")


def tags(case: evidence.Case) -> dict[str, str]:
    """What a version says of its candidate."""
    return {"digest": case.digest, "window": ", ".join(case.card["window"])}


def parameters(case: evidence.Case) -> dict[str, str]:
    """The run's parameters: estimator, data digests, window, split; all as texts."""
    card = case.card
    found = {
        "estimator": card["estimator"],
        "seed": card["seed"],
        "decision_threshold": card["decision_threshold"],
        "window": ", ".join(card["window"]),
        "rows": card["rows"],
        "train_sha256": card["train_sha256"],
        "holdout_sha256": case.evaluate.get("holdout_sha256", "unknown"),
        "features": ", ".join(card["features"]),
        **{f"hyperparameters.{name}": value for name, value in card["hyperparameters"].items()},
        **{f"split.{name}": value for name, value in card["split"].items()},
    }
    return {name: str(value)[:6000] for name, value in found.items()}  # MLflow takes no more


def figures(case: evidence.Case) -> dict[str, float]:
    """The run's metrics: every number of evaluate.json, and of compare.json behind ``compare.``."""
    low, high = case.compare.get("interval") or (None, None)
    compared = {**case.compare, "interval_low": low, "interval_high": high}
    compared |= compared.get("measured") or {}
    compared.pop("production_version", None)  # a name, no figure
    named = {**case.evaluate, **{f"compare.{name}": value for name, value in compared.items()}}
    return {name: float(value) for name, value in named.items() if _is_figure(value)}


def signature(features: dict[str, contract.Feature]) -> ModelSignature:
    """The contract in MLflow's words; the model answers 0 or 1."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns: Any = [ColSpec(_TYPES[feature.type], name) for name, feature in features.items()]
    return ModelSignature(Schema(columns), Schema([ColSpec("long")]))


def example(case: evidence.Case, features: dict[str, contract.Feature]) -> pd.DataFrame:
    """A few golden rows as the model takes them."""
    rows = files.read_json(case.folder / candidate.GOLDEN)["rows"]
    spread = rows[:: len(rows) // _EXAMPLE_ROWS + 1]  # over the whole range of probabilities
    return contract.to_frame(contract.to_table(spread, features), features)


def requirements() -> list[str]:
    """What loads and serves the model, at the versions that made it."""
    from importlib.metadata import version

    packages = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
    return [f"{name}=={version(name)}" for name in packages]


def _log(case: evidence.Case, experiment: str) -> Run:
    import mlflow

    model = candidate.load(case.folder)  # before the run: a damaged one leaves none behind
    marks = {"digest": case.digest, "contract": json.dumps(case.card["features"])[:5000]}
    with (
        connection.asking() as client,
        mlflow.start_run(experiment_id=experiment, run_name=case.digest[:12], tags=marks) as run,
    ):
        run_id = run.info.run_id
        mlflow.log_params(parameters(case))
        client.log_artifacts(run_id, str(case.folder), store.CANDIDATE)
        if case.reports.is_dir():
            _log_reports(case, run_id)
        _note_figures(case, run_id)  # before the model, which takes them over
        model_id = _log_model(case, model)
    return Run(run_id, model_id)


def _log_reports(case: evidence.Case, run_id: str) -> None:
    with connection.asking() as client:
        for name in ("train", "evaluate", "compare"):
            path = case.reports / f"{name}.json"
            if path.is_file():
                client.log_artifact(run_id, str(path), "reports")
        plots = case.reports / files.PLOTS.name
        if plots.is_dir():
            client.log_artifacts(run_id, str(plots), f"reports/{plots.name}")


def _log_model(case: evidence.Case, model: candidate.Candidate) -> str:
    import mlflow.sklearn

    logged = mlflow.sklearn.log_model(
        model.model,
        name="model",
        serialization_format="skops",  # no pickle: loading it runs nothing
        skops_trusted_types=candidate.TRUSTED_TYPES,
        signature=signature(model.features),
        input_example=example(case, model.features),
        pip_requirements=requirements(),
    )
    if logged.model_id is None:
        raise UserError(f"MLflow at {connection.shown()} is too old: version 3 gives models an id")
    return str(logged.model_id)


def _note_figures(case: evidence.Case, run_id: str) -> None:
    """Once for each comparison: the same candidate may be held against another production."""
    from mlflow.entities import Metric, RunTag

    if not case.evaluate:
        return
    known = files.key(case.evaluate, case.compare)
    with connection.asking() as client:
        if client.get_run(run_id).data.tags.get("figures") == known:
            return
        now = time.time_ns() // 1_000_000
        metrics = [Metric(name, value, now, 0) for name, value in figures(case).items()]
        client.log_batch(run_id, metrics=metrics)
        marks = {"verdict": case.compare.get("verdict", "unknown"), "figures": known}
        client.log_batch(run_id, tags=[RunTag(name, text) for name, text in marks.items()])


def _give_up_partial_runs(experiment: str, digest: str) -> None:
    question = f"tags.digest = '{identifiers.digest(digest)}' and attributes.status = 'RUNNING'"
    with connection.asking() as client:
        for run in client.search_runs([experiment], question):
            client.set_terminated(run.info.run_id, "KILLED")


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
