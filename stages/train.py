"""Stage 3: train the candidate on the window.

Reads ``train``; writes models/candidate (the fitted pipeline with its preprocessing, its card, its
golden rows). Decides nothing. Equal rows and parameters give equal bytes, on any number of cores.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve
from sklearn.model_selection import (
    FixedThresholdClassifier,
    StratifiedGroupKFold,
    cross_val_predict,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from stages.shared import (
    candidate,
    contract,
    errors,
    export,
    files,
    months,
    params,
    servable,
    treeshap,
    window,
)
from stages.shared.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator

    from stages.shared.contract import Feature
    from stages.shared.params import Train

ESTIMATORS = {
    "hist_gradient_boosting": HistGradientBoostingClassifier,
    "logistic_regression": LogisticRegression,
    "random_forest": RandomForestClassifier,
}
OURS = ("n_jobs", "random_state")  # not to be set: bytes depend on them
TREES = {"hist_gradient_boosting", "random_forest"}

FOLDS = 5
# More rows than these tell the threshold no better, and five more trainings on millions are dear.
THRESHOLD_ROWS = 50_000
THRESHOLD_DIGITS = 6
LEARNED, LEARNED_DIGITS = ("coef_", "intercept_", "_baseline_prediction"), 6
GOLDEN_ROWS, GOLDEN_FROM = 25, 10_000
# A one-hot column each: what is rarer than this is one column together.
MOST_CATEGORIES = 40


def pipeline(features: dict[str, Feature], p: Train) -> Pipeline:
    """The unfitted model: preprocessing and estimator, fed with `contract.to_frame`'s frames.

    Missing values and categories that training never saw are handled inside: a missing number is
    the median and a column that says so; a missing or unseen category is a code of its own for
    trees, and one of the rare ones (or a column of its own) for linear models.

    Raises:
        UserError: a hyper-parameter that the estimator does not have, or not with this value.
    """
    for key in OURS:
        if key in p.hyperparameters:
            raise UserError(
                f"params.yaml: train.{p.estimator}.{key}: take it out; train.seed is the seed, and "
                "one thread is what gives the same model everywhere"
            )
    names: dict[str, list[str]] = {"number": [], "category": [], "boolean": []}
    for name, feature in features.items():
        names[feature.type].append(name)
    parts = _for_trees() if p.estimator in TREES else _for_linear_models()
    prepare = ColumnTransformer([(kind, parts[kind], names[kind]) for kind in names if names[kind]])
    try:
        estimator = ESTIMATORS[p.estimator](**{"random_state": p.seed} | p.hyperparameters)
    except TypeError as error:
        raise UserError(
            f"params.yaml: train.{p.estimator}: {error}; take it out or look it up in "
            f"scikit-learn's {ESTIMATORS[p.estimator].__name__}"
        ) from None
    return Pipeline([("prepare", prepare), ("estimator", estimator)])


def _filled() -> SimpleImputer:
    # Gradient boosting knows missing values by itself, but fails on a column that has no others.
    return SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)


def _for_trees() -> dict[str, Any]:
    def codes() -> OrdinalEncoder:
        return OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1
        )

    return {"number": _filled(), "category": codes(), "boolean": codes()}


def _for_linear_models() -> dict[str, Any]:
    number = Pipeline([("fill", _filled()), ("scale", StandardScaler())])
    one_hot = {"handle_unknown": "infrequent_if_exist", "sparse_output": False}
    return {
        "number": number,
        "category": OneHotEncoder(max_categories=MOST_CATEGORIES, **one_hot),
        "boolean": OneHotEncoder(**one_hot),
    }


def train(
    frame: pd.DataFrame,
    churned: NDArray[np.int8],
    customers: pa.Array,
    features: dict[str, Feature],
    p: Train,
) -> tuple[BaseEstimator, float]:
    """Fit the model and choose its decision threshold, on training rows alone.

    Args:
        frame: shape (n, features), from `contract.to_frame`.
        churned: shape (n,), 0 or 1.
        customers: shape (n,), the id of each row: one customer's rows stay together.
        features: the contract.
        p: section ``train`` of params.yaml.

    Returns:
        The fitted model, whose ``predict`` applies the threshold, and the threshold.

    Raises:
        UserError: no rows, one class only, or hyper-parameters that scikit-learn refuses.
    """
    if len(churned) == 0 or churned.min() == churned.max():
        have = "no row" if len(churned) == 0 else f"{len(churned)} rows, all labelled {churned[0]}"
        raise UserError(
            f"the training window has {have}: there is nothing to learn; set drift.window_months "
            "higher, drift.max_age_months lower, or wait for months that have both"
        )
    try:
        with threadpool_limits(1):
            model = fit(frame, churned, features, p)
            threshold = decision_threshold(model, frame, churned, customers, p.seed)
            fixed = FixedThresholdClassifier(
                FrozenEstimator(model),
                threshold=threshold,
                pos_label=1,
                response_method="predict_proba",
            )
            # Frozen: what is fitted here is the wrapper, and two rows tell it the classes.
            both = [int(churned.argmin()), int(churned.argmax())]
            return fixed.fit(frame.iloc[both], churned[both]), threshold
    except ValueError as error:  # of a hyper-parameter, mostly: scikit-learn checks them late
        what = " ".join(str(error).replace(" of cross_val_predict", "").split())
        raise UserError(f"params.yaml: train.{p.estimator} cannot be trained: {what}") from error


def fit(
    frame: pd.DataFrame, churned: NDArray[np.int8], features: dict[str, Feature], p: Train
) -> Pipeline:
    """Fit the pipeline; see `train` for the arguments."""
    with threadpool_limits(1):  # sums over threads differ in their last bits
        fitted: Pipeline = pipeline(features, p).fit(frame, churned)
    _round_learned(fitted.named_steps["estimator"])
    return fitted


def _round_learned(estimator: BaseEstimator) -> None:
    """Round what was learned by BLAS or by logarithms, which differ from CPU to CPU.

    Of trees that is the logit from which boosting starts: their leaves are quotients of sums of
    numbers of 32 bits, in one order, and hide the last bits of 64.
    """
    for name in LEARNED:
        if hasattr(estimator, name):
            setattr(estimator, name, getattr(estimator, name).round(LEARNED_DIGITS))


def decision_threshold(
    model: Pipeline,
    frame: pd.DataFrame,
    churned: NDArray[np.int8],
    customers: pa.Array,
    seed: int,
) -> float:
    """The probability from which on F1 is best, by cross-validation over customers.

    A model scores its own training rows too well, so each row is scored by a model that was
    trained without its customer. Too few customers of a class for that: 0.5.

    Returns:
        A threshold in (0, 1).
    """
    if len(churned) > THRESHOLD_ROWS:
        drawn = np.sort(
            np.random.default_rng(seed).choice(len(churned), THRESHOLD_ROWS, replace=False)
        )
        frame, churned, customers = frame.iloc[drawn], churned[drawn], customers.take(drawn)
    groups = customers.dictionary_encode().indices.to_numpy()
    fewest = min(len(np.unique(groups[churned == label])) for label in (0, 1))
    if fewest < FOLDS:
        return 0.5
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(
        model, frame, churned, groups=groups, cv=folds, method="predict_proba"
    )[:, 1]
    return best_f1_threshold(churned, files.rounded_scores(scores))


def best_f1_threshold(churned: NDArray[np.int8], scores: NDArray[np.float64]) -> float:
    """Just below the smallest score at and above which answering "churn" gives the best F1.

    Between two numbers of six digits: a share like 0.25, which trees often answer, lies on neither
    side of it by its last bit.
    """
    precision, recall, thresholds = precision_recall_curve(churned, scores)
    total = precision[:-1] + recall[:-1]
    f1 = np.divide(
        2 * precision[:-1] * recall[:-1], total, out=np.zeros_like(total), where=total > 0
    )
    steps: int = 10**THRESHOLD_DIGITS
    chosen = float(thresholds[int(f1.argmax())])
    best = math.floor(chosen * steps)
    return max(best - 0.5, 0.5) / steps


def golden_rows(
    model: BaseEstimator, frame: pd.DataFrame, features: dict[str, Feature]
) -> dict[str, Any]:
    """Rows over the whole range of probabilities, with what the model answers for each."""
    frame = frame.iloc[:: len(frame) // GOLDEN_FROM + 1]
    scores = candidate.churn_probability(model, frame)
    order = np.argsort(scores, kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, GOLDEN_ROWS).round().astype(int))
    rows = frame.iloc[order[places]]
    plain = [
        {name: _plain(value, features[name]) for name, value in row.items()}
        for row in rows.to_dict(orient="records")
    ]
    return {"rows": plain, "probabilities": candidate.churn_probability(model, rows).tolist()}


def check_servable(served: tuple[servable.Plan, bytes | None], golden: dict[str, Any]) -> None:
    """Refuse a model whose servable does not answer as it does.

    Raises:
        UserError: a golden row has another probability.
    """
    try:
        servable.check_golden(servable.assemble(*served), golden)
    except UserError as error:
        raise UserError(
            f"the model's form for the server is refused: {error}; a hyper-parameter of train.… in "
            "params.yaml makes a model that cannot be served: take it out"
        ) from None


def _plain(value: Any, feature: Feature) -> Any:
    if pd.isna(value):
        return None
    return {"number": float, "category": str, "boolean": bool}[feature.type](value)


def main() -> None:
    """Train on the window and write the candidate."""
    p = params.train()
    table = window.read(files.TRAIN)
    facts = contract.facts(table.schema)
    features = contract.from_dict(facts["features"])
    frame = contract.to_frame(table, features)
    churned = table[facts["label"]].to_numpy().astype(np.int8)
    customers = table[facts["id"]].combine_chunks()
    del table  # the frame has all else that is needed of it
    chosen = facts["window"]
    print(
        f"train: {p.estimator} on {len(churned):,} rows and {len(features)} columns of "
        f"{months.span(chosen)}, {churned.sum():,} of them churned",
        flush=True,
    )
    model, threshold = train(frame, churned, customers, features, p)
    card = {
        **facts,
        "estimator": p.estimator,
        "hyperparameters": p.hyperparameters,
        "seed": p.seed,
        "decision_threshold": threshold,
        "rows": len(churned),
        "scikit_learn": sklearn.__version__,
        "train_sha256": files.sha256(files.TRAIN),
    }
    with threadpool_limits(1):
        golden = golden_rows(model, frame, features)
        fitted = model.estimator.estimator
        served = export.servable(fitted, features)
        explained = treeshap.of_estimator(fitted.named_steps["estimator"])
    check_servable(served, golden)
    digest = candidate.save(files.CANDIDATE, model, card, golden, served, explained)
    report = {
        "digest": digest,
        "window": chosen,
        "estimator": p.estimator,
        "decision_threshold": threshold,
    }
    files.write_json(files.REPORTS / "train.json", report)
    print(f"train: candidate {digest[:12]}, says churn from a probability of {threshold:.3f} on")


if __name__ == "__main__":
    errors.run(main)
