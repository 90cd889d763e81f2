"""Customers for the measurements: many rows, fifteen columns, of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

NUMBERS = [f"number_{i}" for i in range(10)]


def customers(rows: int, seed: int = 0) -> pa.Table:
    """An id, ten numbers (one with holes), two categories, a boolean, a label: fifteen columns."""
    rng = np.random.default_rng(seed)
    values = {name: np.round(rng.normal(50, 20, rows), 2) for name in NUMBERS}
    holes = rng.random(rows) < 0.1
    score = (values["number_0"] - values["number_1"]) / 20 + rng.normal(size=rows)
    columns: dict[str, Any] = {"customer": pa.array([f"{i:08}" for i in range(rows)])}
    columns |= {name: pa.array(array) for name, array in values.items()}
    columns["number_9"] = pa.array(values["number_9"], mask=holes)
    columns["plan"] = pa.array(rng.choice(["basic", "plus", "premium"], rows))
    columns["region"] = pa.array(rng.choice([f"region {i}" for i in range(40)], rows))
    columns["paperless"] = pa.array(rng.random(rows) < 0.5)
    columns["churned"] = pa.array((score > 1).astype(np.int8))
    return pa.table(columns)


def data_section() -> dict[str, Any]:
    """The ``data`` section of params.yaml for these customers."""
    features: dict[str, Any] = {
        name: {"type": "number", "min": -500, "max": 500} for name in NUMBERS
    }
    features["plan"] = {"type": "category", "values": ["basic", "plus", "premium"]}
    features["region"] = {"type": "category"}
    features["paperless"] = {"type": "boolean"}
    return {
        "snapshots": "data/raw",
        "id": "customer",
        "label": "churned",
        "label_delay": 0,
        "features": features,
    }
