"""The frozen recipe of data and model whose metrics may not move, and their intervals.

    PYTHONPATH=. python tests/contract/recipe.py    derive the intervals anew (some minutes)

A metric of one training depends on the rows that it happened to draw. So the same recipe is trained
on `DRAWS` other draws of the training rows and scored on the same frozen holdout, and the interval
is the prediction interval for one more draw: mean ± t s √(1 + 1/n) at `CONFIDENCE` (Meeker, Hahn
and Escobar, Statistical Intervals, 2nd edition 2017, chapter 4). A model outside it is none that
this recipe gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from stages import evaluate, train
from stages.shared import candidate, contract, files, params

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTERVALS = Path(__file__).with_name("intervals.json")
METRICS = ("auc", "average_precision", "f1", "log_loss", "brier")
DRAWS, CONFIDENCE = 100, 0.999
ROWS = 1500

FEATURES = contract.from_dict(
    {
        "spend": {"type": "number"},
        "calls": {"type": "number", "min": 0},
        "tenure": {"type": "number", "min": 0},
        "plan": {"type": "category", "values": ["NA", "basic", "premium"]},
        "paperless": {"type": "boolean"},
    }
)
ESTIMATORS: dict[str, dict[str, Any]] = {
    "hist_gradient_boosting": {"max_iter": 40, "learning_rate": 0.1, "early_stopping": False},
    "logistic_regression": {"C": 1.0},
}
_EVALUATE = {"gate_f1": 0.0, "confidence": 0.95}


def rows(seed: int) -> tuple[pa.Table, NDArray[np.int8]]:
    """Customers and whether they churned: missing values, a category, an interaction, some luck."""
    rng = np.random.default_rng([1997, seed])
    spend, calls = rng.lognormal(3.0, 1.0, ROWS), rng.poisson(2.0, ROWS).astype(float)
    tenure = rng.exponential(24.0, ROWS)
    plan = rng.choice(["NA", "basic", "premium"], ROWS, p=[0.4, 0.4, 0.2])
    paperless = rng.random(ROWS) < 0.4
    score = 0.8 * calls - 0.05 * tenure - 1.0 + 3.0 * ((plan == "NA") & (spend > 10.0))
    churned = (rng.random(ROWS) < 1 / (1 + np.exp(-score))).astype(np.int8)
    gone = rng.random(ROWS) < 0.1 + 0.3 * churned  # that it is missing tells something
    columns = {
        "spend": pa.array(spend.round(2)),
        "calls": pa.array(np.where(gone, np.nan, calls), from_pandas=True),
        "tenure": pa.array(tenure.round(1)),
        "plan": pa.array(plan.astype(str)),
        "paperless": pa.array(paperless),
    }
    return pa.table(columns), churned


def measured(estimator: str, seed: int, holdout: int = 0) -> dict[str, float]:
    """The metrics of the recipe, trained on one draw of rows and scored on another."""
    section = {"estimator": estimator, "seed": 1, estimator: ESTIMATORS[estimator]}
    p = params.parse(params.Train, "train", section)
    table, churned = rows(seed)
    customers = pa.array([str(n) for n in range(ROWS)])
    frame = contract.to_frame(table, FEATURES)
    model, threshold = train.train(frame, churned, customers, FEATURES, p)
    others, left = rows(holdout)
    scores = candidate.churn_probability(model, contract.to_frame(others, FEATURES))
    found = evaluate.evaluate(
        left,
        np.arange(ROWS),
        scores,
        threshold,
        params.parse(params.Evaluate, "evaluate", _EVALUATE),
    )
    return {name: found[name] for name in METRICS}


def intervals(estimator: str) -> dict[str, list[float]]:
    """The prediction interval of each metric."""
    from scipy import stats

    drawn = [measured(estimator, seed) for seed in range(2, 2 + DRAWS)]
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, DRAWS - 1))
    found = {}
    for name in METRICS:
        values = np.array([one[name] for one in drawn])
        half = t * values.std(ddof=1) * np.sqrt(1 + 1 / DRAWS)
        found[name] = [
            files.rounded(values.mean() - half, 4),
            files.rounded(values.mean() + half, 4),
        ]
    return found


def main() -> None:
    """Derive and write the intervals."""
    files.write_json(INTERVALS, {estimator: intervals(estimator) for estimator in ESTIMATORS})


if __name__ == "__main__":
    main()
