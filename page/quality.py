"""How well models rank the holdout's customers: production month by month, and both on one holdout.

Models are scored through their servables, so that neither scikit-learn nor a model's frame is
needed. What was measured once is remembered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.registry import store
from stages.shared import candidate, contract, files, memory, servable, split, window
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[np.int8]

REMEMBERED = "quality.json"  # in data/memory
POINTS, BINS = 60, 10  # of a ROC curve; of a calibration curve
_OURS = [
    "page.quality",
    *(f"stages.shared.{name}" for name in ("ranking", "servable", "split", "window")),
]
_THEIRS = ["numpy", "pyarrow", "scipy"]


class Measured:
    """Measures, and remembers what this run used."""

    def __init__(self, confidence: float) -> None:
        self._confidence, self._known = confidence, memory.recall(files.MEMORY / REMEMBERED)
        self._used: dict[str, Any] = {}
        self._basis = files.key(confidence, memory.code_key(_OURS, _THEIRS))

    def month(self, name: str, version: int, digest: str) -> dict[str, Any]:
        """A version's AUC on the labelled holdout customers of a month."""
        path = window.month_path(name, files.MONTHS)
        key = files.key("month", files.sha256(path), digest, self._basis)
        found = self._known.get(key)
        if found is None:
            folder = store.at_hand(version, digest)
            card = files.read_json(folder / candidate.CARD)
            found = auc(*scored(labelled(path, card), folder, card), self._confidence)
        self._used[key] = found
        return {"month": name, "version": version, **found}

    def holdout(self, folder: Path, digest: str) -> dict[str, Any]:
        """A model's ROC and calibration on the workspace's holdout."""
        key = files.key("curves", files.sha256(files.HOLDOUT), digest, self._basis)
        found = self._known.get(key)
        if found is None:
            card = files.read_json(folder / candidate.CARD)
            table = window.read(files.HOLDOUT)
            churned, scores = scored(table, folder, card)
            found = {"roc": roc(churned, scores), "calibration": calibration(churned, scores)}
        self._used[key] = found
        curves: dict[str, Any] = found
        return curves

    def keep(self) -> None:
        """Keep what this run used, and nothing older."""
        memory.remember(files.MEMORY / REMEMBERED, self._used)


def labelled(path: Path, card: Mapping[str, Any]) -> pa.Table:
    """A month's labelled rows of the customers that the model was never trained on."""
    how = card["split"]
    rows = pq.read_table(path, columns=[card["id"], card["label"], *card["features"]])
    rows = rows.filter(pc.is_valid(rows[card["label"]]))
    held = split.in_holdout(rows[card["id"]].to_numpy(), how["salt"], how["holdout_share"])
    return rows.filter(pa.array(held))


def scored(rows: pa.Table, folder: Path, card: Mapping[str, Any]) -> tuple[Labels, Floats]:
    """Labels and probabilities of rows, by the servable in a folder; each of shape (n,)."""
    features = contract.from_dict(card["features"])
    missing = [name for name in features if name not in rows.column_names]
    if missing:
        raise UserError(f"column {missing[0]!r} is not there any more")
    columns = [
        _numbers(rows[name]) if feature.type == "number" else rows[name].to_pylist()
        for name, feature in features.items()
    ]
    churned = rows[card["label"]].to_numpy().astype(np.int8)
    scores = servable.load(folder).many(columns) if len(churned) else np.zeros(0)
    return churned, scores


def _numbers(column: pa.ChunkedArray) -> Any:
    return pc.fill_null(column, float("nan")).to_numpy()


def auc(churned: Labels, scores: Floats, confidence: float) -> dict[str, Any]:
    """AUC with its interval, one row a customer (see `ranking`); None where a class is missing."""
    from stages.shared import ranking  # SciPy takes half a second, and all may be remembered

    found: dict[str, Any] = {"n": len(churned), "auc": None, "low": None, "high": None}
    customers = np.arange(len(churned))
    fewest = min(int(churned.sum()), len(churned) - int(churned.sum()))
    if fewest < 2:
        return found
    estimate = ranking.auc_estimate(churned, scores)
    low, high = ranking.interval(estimate, customers, confidence, fewest)
    ends = {"auc": estimate.value, "low": max(0.0, low), "high": min(1.0, high)}
    return found | {name: files.rounded(end) for name, end in ends.items()}


def roc(churned: Labels, scores: Floats) -> list[list[float]]:
    """False and true positive rates over all thresholds, `POINTS` of them at most."""
    positives = int(churned.sum())
    if positives in (0, len(churned)):
        return []
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(churned[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of each tie
    true = np.append(0, hits[ends]) / positives
    false = np.append(0, (ends + 1) - hits[ends]) / (len(churned) - positives)
    kept = np.unique(np.linspace(0, len(true) - 1, POINTS).round().astype(int))
    return [[files.rounded(false[i], 4), files.rounded(true[i], 4)] for i in kept]


def calibration(churned: Labels, scores: Floats) -> list[list[float]]:
    """Predicted and observed rates, by tenths of the rows."""
    parts = np.array_split(np.argsort(scores, kind="stable"), BINS)
    return [
        [files.rounded(scores[part].mean(), 4), files.rounded(churned[part].mean(), 4)]
        for part in parts
        if len(part)
    ]


def of_production(
    names: Sequence[str], placed: Mapping[str, Mapping[str, Any]], measured: Measured
) -> list[dict[str, Any]]:
    """Production's AUC on each month whose labels are known, where it can be had.

    Args:
        names: those months.
        placed: for each month the event that put its production in place.
        measured: see `Measured`.
    """
    found = []
    for name in names:
        event = placed.get(name)
        if event is None:
            continue
        try:
            found.append(measured.month(name, event["to_version"], event["candidate"]))
        # Its files or its columns are gone, or of another type: the page says less.
        except (UserError, OSError, KeyError, pa.ArrowException):
            continue
    return found
