"""Models put in place as the watcher puts them, small enough to make many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serve import place
from serve.app import create_app
from serve.metrics import Metrics
from serve.online import Online
from stages import train
from stages.shared import contract, export, files, params, servable, treeshap
from stages.shared.contract import Feature

FEATURES = {
    "calls": Feature(type="number", min=0, max=1000),
    "paperless": Feature(type="boolean"),
    "plan": Feature(type="category", values=("NA", "basic")),
    "région.x y": Feature(type="category"),
}
GOOD: dict[str, Any] = {"calls": 3.5, "paperless": True, "plan": "NA", "région.x y": "EU"}


@dataclass
class Placed:
    """A model in its place."""

    version: int
    servable: servable.Servable
    threshold: float

    def probability(self, row: dict[str, Any]) -> float:
        return self.servable.one([row[name] for name in FEATURES])


def put(folder: Path, version: int, estimator: str = "hist_gradient_boosting") -> Placed:
    """Train a model, another one for each version, and put it in place."""
    rng = np.random.default_rng(version)
    rows: list[dict[str, Any]] = [
        {
            "calls": float(rng.integers(0, 1000)),
            "paperless": bool(rng.random() < 0.5),
            "plan": str(rng.choice(["NA", "basic"])),
            "région.x y": str(rng.choice(["EU", "US", "None"])),
        }
        for _ in range(300)
    ]
    churned = [int(r["calls"] / 1000 + r["paperless"] + rng.normal() / 4 > 1) for r in rows]
    p = params.parse(
        params.Train,
        "train",
        {
            "estimator": estimator,
            "seed": 1,
            "hist_gradient_boosting": {"max_iter": 10},
            "random_forest": {"n_estimators": 10},
        },
    )
    frame = contract.to_frame(contract.to_table(rows, FEATURES), FEATURES)
    model = train.pipeline(FEATURES, p).fit(frame, churned)
    plan, trees = export.servable(model, FEATURES)
    target = folder / f"of-{version}"
    files.write_json(target / servable.PLAN, servable.to_json(plan))
    if trees is not None:
        files.write_bytes(target / servable.TREES, trees)
    explained = treeshap.of_estimator(model.named_steps["estimator"])
    if explained:
        files.write_bytes(target / servable.SHAP, explained.encode())
    place.replace_current(
        folder,
        {
            "version": version,
            "digest": f"{version:064d}",
            "folder": target.name,
            "files": servable.hashes(target),
            "since": "2026-01-31T00:00:00+00:00",
            "id": "customer",
            "label": "left",
            "features": contract.to_dict(FEATURES),
            "decision_threshold": 0.5,
            "estimator": estimator,
            "window": ["2025-12"],
            "metrics": {"auc": 0.7},
            "promoted": None,
        },
    )
    return Placed(version, servable.assemble(plan, trees), 0.5)


def client(folder: Path, **settings: Any) -> Any:
    """Flask's test client of an application that takes its model from ``folder``."""
    values = {**params.read()["serve"], "folder": str(folder), **settings}
    section = params.parse(params.Serve, "serve", values)
    return create_app(section, Metrics(), Online(section.online_store)).test_client()
