"""How each column's values are distributed in each month: small enough to travel with the page."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.shared import contract, files, memory, window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stages.shared.contract import Feature

REMEMBERED = "histograms.json"  # in data/memory
BINS = 10  # of a number; a category shows as many values
ROWS = 20_000  # of a month, at most
OTHER, MISSING = "(other)", "(missing)"
_OURS = ["page.histograms", "stages.shared.contract", "stages.shared.window"]


def gather(
    names: Sequence[str], first: Sequence[str], features: dict[str, Feature]
) -> dict[str, Any]:
    """For each column its bins and, by month, the share of the rows in each of them.

    Args:
        names: the months, oldest first.
        first: the months that the bins are cut from, so that they stay what they are.
        features: the contract.

    Returns:
        Column -> ``bins`` (words), ``months`` (month -> thousandths of its rows, by bin).
    """
    code = memory.code_key(_OURS, ["numpy", "pyarrow"])
    known, used = memory.recall(files.MEMORY / REMEMBERED), {}
    basis = files.key(contract.to_dict(features), code)
    digests = {name: _digest(name, features) for name in {*names, *first}}
    key = files.key("bins", first, [digests[name] for name in first], basis)
    cuts = known.get(key) or _cuts(_sample(first, features), features)
    used[key] = cuts
    found: dict[str, Any] = {
        name: {"bins": words(cuts[name], features[name]), "months": {}} for name in features
    }
    for name in names:
        month_key = files.key(key, name, digests[name])
        shares = known.get(month_key) or _shares(_sample([name], features), features, cuts)
        used[month_key] = shares
        for column, of_column in shares.items():
            found[column]["months"][name] = of_column
    memory.remember(files.MEMORY / REMEMBERED, used)
    return found


def shared(names: Sequence[str], features: dict[str, Feature]) -> dict[str, Feature]:
    """The features that all months have: some may have been ingested by another contract."""
    types = contract.arrow_types(features)
    schemas = [pq.read_schema(window.month_path(name, files.MONTHS)) for name in names]
    return {
        name: feature
        for name, feature in features.items()
        if all(name in s.names and s.field(name).type == types[name] for s in schemas)
    }


def _digest(month: str, features: dict[str, Feature]) -> str:
    return window.columns_digest(window.month_path(month, files.MONTHS), list(features))


def _sample(chosen: Sequence[str], features: dict[str, Feature]) -> pa.Table:
    """Rows of each month, `ROWS` at most, spread evenly over its file."""
    parts = []
    for name in chosen:
        rows = pq.read_table(window.month_path(name, files.MONTHS), columns=list(features))
        places = np.linspace(0, len(rows) - 1, min(len(rows), ROWS)).astype(np.int64)
        parts.append(rows.replace_schema_metadata().take(pa.array(places)))
    return pa.concat_tables(parts)


def _cuts(rows: pa.Table, features: dict[str, Feature]) -> dict[str, dict[str, Any]]:
    return {name: cuts(rows[name], feature) for name, feature in features.items()}


def cuts(column: pa.ChunkedArray, feature: Feature) -> dict[str, Any]:
    """Where a column's bins begin and end: ``edges`` of numbers, or the ``values`` themselves."""
    if feature.type == "boolean":
        return {"values": [True, False]}
    if feature.type == "category":
        counts = pc.value_counts(column.drop_null()).to_pylist()
        ranked = sorted(counts, key=lambda one: (-one["counts"], one["values"]))
        return {"values": [one["values"] for one in ranked[:BINS]]}
    numbers = column.drop_null().to_numpy()
    distinct = np.unique(numbers)
    if len(distinct) <= BINS:
        return {"values": [float(value) for value in distinct]}
    # The outermost bins are open, so that a long tail does not crush all else into one.
    low, high = np.quantile(numbers, [0.01, 0.95])
    if low == high:
        low, high = distinct[0], distinct[-1]
    whole = bool((numbers == np.trunc(numbers)).all())
    if whole:  # counts: one by one, as far as there are bins
        low, high = np.floor(low), max(np.ceil(high), min(distinct[-1], low + BINS - 1))
        step = np.ceil((high - low + 1) / BINS)
        edges = np.arange(low, high + 1 + step, step)
    else:
        edges = np.linspace(low, high, BINS + 1)
    return {"edges": [files.rounded(edge) for edge in edges], "whole": whole}


def words(cut: Mapping[str, Any], feature: Feature) -> list[str]:
    """The bins of a column as people read them; the last is for what is missing."""
    if feature.type == "boolean":
        return ["true", "false", MISSING]
    if "values" in cut:
        form = str if feature.type == "category" else "{:.4g}".format
        return [*map(form, cut["values"]), OTHER, MISSING]
    edges, whole = cut["edges"], cut["whole"]
    inner = [_span(a, b, whole) for a, b in pairwise(edges[1:-1])]
    if feature.min is not None and feature.min >= edges[0]:
        first = _span(edges[0], edges[1], whole)
    else:
        first = f"{edges[1] - 1:.4g} and less" if whole else f"below {edges[1]:.3g}"
    return [first, *inner, f"{edges[-2]:.4g} and more", MISSING]


def _span(low: float, high: float, whole: bool) -> str:
    if not whole:
        return f"{low:.3g} to {high:.3g}"
    return f"{low:.4g}" if high - low <= 1 else f"{low:.4g} to {high - 1:.4g}"


def _shares(
    rows: pa.Table, features: dict[str, Feature], cut: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[int]]:
    return {name: shares(rows[name], f, cut[name]) for name, f in features.items()}


def shares(column: pa.ChunkedArray, feature: Feature, cut: Mapping[str, Any]) -> list[int]:
    """Thousandths of the rows in each bin, in the order of `words`."""
    if "edges" in cut:
        edges = cut["edges"]
        numbers = column.drop_null().to_numpy()
        inside = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
        counts = np.bincount(inside, minlength=len(edges) - 1).tolist()
    else:
        seen = {one["values"]: one["counts"] for one in pc.value_counts(column).to_pylist()}
        seen.pop(None, None)
        counts = [seen.pop(value, 0) for value in cut["values"]]
        if feature.type != "boolean":
            counts.append(sum(seen.values()))
    total = max(1, len(column))
    return [round(1000 * count / total) for count in [*counts, column.null_count]]


def first_window(drift: Mapping[str, Any]) -> list[str]:
    """The first window that the replay chose; else the oldest month."""
    steps = drift.get("months", [])
    found = [step["window"] for step in steps if step.get("window")]
    return list(found[0]) if found else [step["month"] for step in steps[:1]]
