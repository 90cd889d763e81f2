"""What models say of the holdout's customers, with a batch of rows in memory at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.shared import contract, ranking, window

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stages.shared.candidate import Candidate
    from stages.shared.ranking import Codes, Floats, Labels

# Preprocessing holds several copies of the rows that are scored at once.
BATCH = 10_000


def labels(holdout: Path) -> Labels:
    """The label of each row; shape (n,), 0 or 1."""
    name = contract.facts(pq.read_schema(holdout))["label"]
    found: Labels = pq.read_table(holdout, columns=[name])[name].to_numpy().astype(np.int8)
    return found


def customers(holdout: Path) -> Codes:
    """A number for each row's customer, who may have a row in several months; shape (n,)."""
    name = contract.facts(pq.read_schema(holdout))["id"]
    return ranking.codes(pq.read_table(holdout, columns=[name])[name].to_numpy())


def scores(holdout: Path, models: Sequence[Candidate]) -> list[Floats]:
    """Each model's churn probability of each row, through its own preprocessing.

    Args:
        holdout: the file; it has every column that a model takes.
        models: scored on the same rows.

    Returns:
        For each model an array of shape (n,).
    """
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what it once took
    found: list[list[Floats]] = [[np.zeros(0)] for _ in models]
    for rows in window.rows(holdout, at_once=BATCH):
        for parts, model in zip(found, models, strict=True):
            parts.append(model.probabilities(rows))
    return [np.concatenate(parts) for parts in found]
