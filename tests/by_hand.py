"""A candidate whose coefficients are written down: nothing is trained to make it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sklearn
from registry_fixtures import Clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier

from stages import train
from stages.shared import candidate, contract, export, params

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

    from stages.shared.contract import Feature

THRESHOLD = 0.5


def rows(features: dict[str, Feature]) -> list[dict[str, Any]]:
    """Three customers that any contract has: the least, the most, and one with a value missing."""
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    for name, feature in features.items():
        if feature.type == "number":
            least[name] = feature.min or 0.0
            most[name] = least[name] + 10.0 if feature.max is None else feature.max
        elif feature.type == "boolean":
            least[name], most[name] = False, True
        else:
            known = feature.values or ("a", "b")  # noqa: PD011 - no frame
            least[name], most[name] = known[0], known[-1]
    unknown = {**most, next(iter(features)): None}
    return [least, most, unknown]


def model(features: dict[str, Feature], frame: pd.DataFrame, slope: float) -> BaseEstimator:
    """A logistic model: the preprocessing has seen ``frame``, the coefficients are given."""
    section = {"estimator": "logistic_regression", "seed": 1}
    fitted = train.pipeline(features, params.parse(params.Train, "train", section))
    width = fitted.named_steps["prepare"].fit_transform(frame).shape[1]
    estimator = fitted.named_steps["estimator"]
    estimator.coef_ = slope * np.linspace(-1.0, 1.0, width)[np.newaxis]
    estimator.intercept_ = np.array([slope / 10])
    estimator.classes_ = np.array([0, 1])
    estimator.n_features_in_ = width
    fixed = FixedThresholdClassifier(
        FrozenEstimator(fitted), threshold=THRESHOLD, response_method="predict_proba", pos_label=1
    )
    # Frozen: what this tells it are the classes alone.
    return fixed.fit(frame.iloc[:2], np.array([0, 1]))


def put(clone: Clone, slope: float, production: int | None) -> tuple[str, list[float]]:
    """Write such a candidate and a verdict that awaits approval into a clone.

    Args:
        clone: where; its params.yaml says the columns.
        slope: tells one candidate from another.
        production: the version that it was compared with.

    Returns:
        Its digest, and its probabilities of `rows`.
    """
    data = params.parse(params.Data, "data", params.read(clone.root / "params.yaml").get("data"))
    customers = rows(data.features)
    frame = contract.to_frame(contract.to_table(customers, data.features), data.features)
    made = model(data.features, frame, slope)
    said: list[float] = candidate.churn_probability(made, frame).tolist()
    card = {
        "id": data.id,
        "label": data.label,
        "features": contract.to_dict(data.features),
        "window": ["1997-04", "1997-05"],
        "split": {"method": "hash", "salt": "churn", "holdout_share": 0.3},
        "estimator": "logistic_regression",
        "hyperparameters": {},
        "decision_threshold": THRESHOLD,
        "seed": 1,
        "rows": len(customers),
        "scikit_learn": sklearn.__version__,
        "train_sha256": "0" * 64,
    }
    golden = {"rows": customers, "probabilities": said}
    served = export.servable(made.estimator.estimator, data.features)
    digest = candidate.save(clone.root / "models" / "candidate", made, card, golden, served)
    clone.reports(digest, production)
    return digest, said
