"""How far each column of a month moved from the window: Evidently measures and decides.

What is put before it here are the cases in which a distance between two samples means nothing:
columns without values, and categories with more values than the rows can tell apart.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stages.shared import evidently_page, files
from stages.shared.contract import Feature, to_frame
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

    from stages.shared.params import Drift

# A category's values that leave fewer rows than this to each are compared as one: the distance
# between two samples of one distribution grows with the values and shrinks with the rows, and
# stays near 0.05 at 50 rows a value.
ROWS_PER_VALUE = 50
# A change in the share of missing values that counts as drift of a number; a category needs no
# such rule, for there "missing" is one of the values.
MISSING_THRESHOLD = 0.1
# Evidently divides the Wasserstein distance by the window's standard deviation, but never by less
# than 0.001; numbers smaller than this are therefore looked at in a smaller unit.
SMALL = 0.1

OTHER, MISSING = "(other)", "(missing)"


@dataclass(frozen=True)
class Distance:
    """One column: how it was measured, what came out, from where on it counts as drifted."""

    method: str
    value: float | None
    threshold: float | None
    drifted: bool


def measure(
    window: pa.Table, month: pa.Table, features: dict[str, Feature], p: Drift
) -> dict[str, dict[str, Any]]:
    """Hold a month's rows against a window's.

    Args:
        window: sampled rows of the window.
        month: sampled rows of the month.
        features: the contract; every feature is judged.
        p: methods and thresholds.

    Returns:
        For each feature, in the contract's order, a `Distance` as plain values.

    Raises:
        UserError: a method that Evidently does not know.
    """
    found: dict[str, Distance] = {}
    for name, pair in _pairs(window, month, features).items():
        plain = _without_values(*pair, features[name])
        found[name] = plain or _evidently(
            *_prepared(*pair, features[name]), name, features[name], p
        )
    return {name: asdict(distance) for name, distance in found.items()}


def write_page(
    window: pa.Table, month: pa.Table, features: dict[str, Feature], p: Drift, html: Path
) -> None:
    """Write Evidently's own report of the same comparison.

    Args:
        window: sampled rows of the window.
        month: sampled rows of the month.
        features: the contract.
        p: methods and thresholds.
        html: the file; it is removed where Evidently is asked of no column.
    """
    pairs = {
        name: _prepared(*pair, features[name])
        for name, pair in _pairs(window, month, features).items()
        if _without_values(*pair, features[name]) is None
    }
    if not pairs:
        html.unlink(missing_ok=True)  # it would be of another comparison
        return
    snapshot = _report(pairs, {name: features[name] for name in pairs}, p)
    files.write_bytes(html, evidently_page.safe(snapshot.get_html_str(as_iframe=False)).encode())


def _pairs(
    window: pa.Table, month: pa.Table, features: dict[str, Feature]
) -> dict[str, tuple[pd.Series[Any], pd.Series[Any]]]:
    before, now = to_frame(window, features), to_frame(month, features)
    return {name: (before[name], now[name]) for name in features}


def _without_values(
    reference: pd.Series[Any], current: pd.Series[Any], feature: Feature
) -> Distance | None:
    """The verdict where values are missing on one side or both; None where Evidently is asked."""
    if feature.type != "number":
        return None
    before, now = reference.isna().mean(), current.isna().mean()
    moved = files.rounded(abs(now - before))
    if before < 1 and now < 1 and moved < MISSING_THRESHOLD:
        return None
    return Distance("missing share", moved, MISSING_THRESHOLD, moved >= MISSING_THRESHOLD)


def _prepared(
    before: pd.Series[Any], now: pd.Series[Any], feature: Feature
) -> tuple[pd.Series[Any], pd.Series[Any]]:
    if feature.type == "number":
        spread = before.std()
        unit = 10.0 ** math.ceil(-math.log10(spread)) if 0 < spread < SMALL else 1.0
        return before * unit, now * unit
    before, now = _as_text(before), _as_text(now)
    # Counted on both sides: values chosen for being frequent on one are rarer on the other.
    counts = before.value_counts().add(now.value_counts(), fill_value=0)
    ranked = sorted(counts.index, key=lambda value: (-counts[value], value))
    kept = set(ranked[: max(2, min(len(before), len(now)) // ROWS_PER_VALUE)])
    return before.where(before.isin(kept), OTHER), now.where(now.isin(kept), OTHER)


def _as_text(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.map(str, na_action="ignore").astype("str").fillna(MISSING)


def _evidently(
    before: pd.Series[Any], now: pd.Series[Any], name: str, feature: Feature, p: Drift
) -> Distance:
    """What Evidently's own function says; a report's plots would take ten times as long."""
    method, threshold = test(name, feature, p)
    before, now = before.dropna(), now.dropna()  # as the report does
    with warnings.catch_warnings():
        # Of its dependencies on import, and of divisions by zero in empty bins.
        warnings.simplefilter("ignore")
        from evidently.legacy.calculations.stattests import get_stattest
        from evidently.legacy.core import ColumnType

        kind = ColumnType.Numerical if feature.type == "number" else ColumnType.Categorical
        try:
            result = get_stattest(before, now, kind, method)(before, now, kind, threshold)
        except ValueError as error:
            if not type(error).__name__.startswith("StatTest"):  # not found, or for another type
                raise
            what = " ".join(str(error).split())
            raise UserError(
                f"params.yaml: drift: {what}; take a method that Evidently's page "
                "'Customize data drift' lists for the column's type"
            ) from error
    value = float(result.drift_score)
    if not math.isfinite(value):  # no distance is no evidence
        return Distance(f"{method}, without a result", None, threshold, drifted=False)
    said = files.rounded(value)
    # Evidently decides by all digits. A distance has drifted from the threshold on, a p-value
    # below it: which of them it is, its own decision tells.
    from_there_on = (value >= threshold) == bool(result.drifted)
    return Distance(method, said, threshold, (said >= threshold) == from_there_on)


def _report(
    pairs: dict[str, tuple[pd.Series[Any], pd.Series[Any]]], features: dict[str, Feature], p: Drift
) -> Any:
    import pandas as pd

    tests = {name: test(name, feature, p) for name, feature in features.items()}
    numbers = [name for name, feature in features.items() if feature.type == "number"]
    others = [name for name in features if name not in numbers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above, and of its plots
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import DriftedColumnsCount, ValueDrift

        types = DataDefinition(numerical_columns=numbers, categorical_columns=others)
        # What DataDriftPreset is made of, without its table, which measures all a second time.
        count = DriftedColumnsCount(
            columns=list(features),
            drift_share=p.threshold,
            per_column_method={name: method for name, (method, _) in tests.items()},
            per_column_threshold={name: threshold for name, (_, threshold) in tests.items()},
        )
        each = [ValueDrift(column=name, method=m, threshold=t) for name, (m, t) in tests.items()]
        before, now = (
            Dataset.from_pandas(
                pd.DataFrame({name: pair[side] for name, pair in pairs.items()}),
                data_definition=types,
            )
            for side in (0, 1)
        )
        return Report([count, *each], include_tests=True).run(now, before)


def test(name: str, feature: Feature, p: Drift) -> tuple[str, float]:
    """Method and threshold of a column: its own where params.yaml gives one."""
    if feature.type == "number":
        method, threshold = p.number_method, p.number_threshold
    else:
        method, threshold = p.category_method, p.category_threshold
    override = p.columns.get(name)
    if override is not None:
        method = override.method or method
        threshold = threshold if override.threshold is None else override.threshold
    return method, threshold
