"""From a fitted pipeline to its servable: how columns become numbers, and the estimator itself.

Trees are read by treelite and written as ONNX. What preprocessing makes of a category is not read
out of scikit-learn's encoders but asked of them, value by value, so that it is what training saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from stages.shared.servable import Column, Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline

    from stages.shared.contract import Feature

    Floats = NDArray[np.float64]


def servable(model: Pipeline, features: dict[str, Feature]) -> tuple[Plan, bytes | None]:
    """Export a fitted pipeline of `stages.train.pipeline`.

    Args:
        model: steps ``prepare`` (number, category, boolean, each where there are such columns) and
            ``estimator``.
        features: the contract.

    Returns:
        The plan, and the trees as ONNX (None for a linear model).

    Raises:
        UserError: a kind of tree that cannot be served.
    """
    linear = isinstance(model.named_steps["estimator"], LogisticRegression)
    plan, trees = _linear(model) if linear else _trees(model)
    order = list(features)
    columns = sorted(plan.columns, key=lambda column: order.index(column.name))
    return Plan(**{**vars(plan), "columns": tuple(columns)}), trees


def _trees(model: Pipeline) -> tuple[Plan, bytes]:
    import treelite

    from stages.shared import trees

    estimator = model.named_steps["estimator"]
    columns: list[Column] = []
    width = 0
    for kind, part, names in model.named_steps["prepare"].transformers_:
        if kind == "number":
            columns += _numbers(part, names)
            width = len(names) + len(part.indicator_.features_)
        else:
            for position in range(len(names)):
                codes = _ask(part, kind, names, position, _column(position))
                columns.append(Column(at=width + position, **codes))
            width += len(names)
    # A forest looks at its input in 32 bits and averages probabilities, gradient boosting in 64
    # and adds logits.
    forest = isinstance(estimator, RandomForestClassifier)
    plan = Plan(tuple(columns), width, single_precision=forest, logistic=not forest)
    return plan, trees.to_onnx(treelite.sklearn.import_model(estimator))


def _linear(model: Pipeline) -> tuple[Plan, None]:
    """A number keeps its coefficient; a category's one-hot columns become one, of their weights."""
    estimator = model.named_steps["estimator"]
    weights, intercept = estimator.coef_[0], float(estimator.intercept_[0])
    columns: list[Column] = []
    coefficients: list[float] = []
    for kind, part, names in model.named_steps["prepare"].transformers_:
        if kind == "number":
            fill, scale = part.named_steps["fill"], part.named_steps["scale"]
            columns += _numbers(fill, names)
            here = weights[: len(scale.scale_)] / scale.scale_
            weights = weights[len(here) :]
            coefficients += here.tolist()
            # No product of vectors: it adds in the processor's own order.
            intercept -= float((here * scale.mean_).sum())
            continue
        nothing = part.transform(_frame(names, kind, {}))
        here, weights = weights[: nothing.shape[1]], weights[nothing.shape[1] :]
        base = float((nothing[0] * here).sum())
        intercept += base
        for position in range(len(names)):
            codes = _ask(part, kind, names, position, _weighed(here, base))
            columns.append(Column(at=len(coefficients), **codes))
            coefficients.append(1.0)
    return Plan(
        tuple(columns), len(coefficients), coefficients=tuple(coefficients), intercept=intercept
    ), None


def _numbers(fill: SimpleImputer, names: Sequence[str]) -> list[Column]:
    """Numbers come first, then a flag for each that was missing in training."""
    flags = {int(n): len(names) + place for place, n in enumerate(fill.indicator_.features_)}
    medians = fill.transform(_frame(names, "number", {}))[0]
    return [
        Column(name, "number", place, float(medians[place]), flags.get(place))
        for place, name in enumerate(names)
    ]


def _ask(
    encoder: Any,
    kind: str,
    names: Sequence[str],
    position: int,
    read: Callable[[Floats], Floats],
) -> dict[str, Any]:
    """What an encoder makes of each value of one column; the others are missing meanwhile."""
    name = names[position]
    seen: list[Any] = [False, True]
    unseen: Any = True  # of a boolean there is no third value
    if kind == "category":
        seen = [value for value in encoder.categories_[position] if isinstance(value, str)]
        unseen = "?" * (1 + max(map(len, seen), default=0))
    frame = _frame(names, kind, {name: [*seen, unseen, None]})
    *known, other, missing = read(encoder.transform(frame)).tolist()
    return {
        "name": name,
        "type": kind,
        "missing": missing,
        "codes": tuple(zip(seen, known, strict=True)),
        "unseen": other,
    }


def _column(position: int) -> Callable[[Floats], Floats]:
    return lambda rows: rows[:, position]


def _weighed(weights: Floats, base: float) -> Callable[[Floats], Floats]:
    return lambda rows: (rows * weights).sum(axis=1) - base


def _frame(names: Sequence[str], kind: str, values: dict[str, list[Any]]) -> pd.DataFrame:
    """A frame as `contract.to_frame` makes them, missing where no values are given."""
    gone = None if kind == "boolean" else np.nan
    rows = max((len(column) for column in values.values()), default=1)
    columns = {
        name: [gone if v is None else v for v in values.get(name, [None] * rows)] for name in names
    }
    return pd.DataFrame(columns, dtype="float64" if kind == "number" else object)
