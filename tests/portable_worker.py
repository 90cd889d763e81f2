"""All that computes and ends in a committed hash, on drawn rows: prints it as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from clone import DATA, month

from stages import compare, evaluate, train
from stages.shared import candidate, contract, export, movement, params, ranking
from stages.shared import scorer as scorers

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GIVEN: Any = DATA["features"]
FEATURES = contract.from_dict(_GIVEN)


def frame_of(name: str) -> tuple[Any, NDArray[np.int8], pa.Array]:
    """A tiny month as training takes it."""
    lines = [line.split(",") for line in month(name).splitlines()]
    columns = dict(zip(lines[0], zip(*lines[1:], strict=True), strict=True))
    rows = [
        {"spend": float(a), "calls": float(b), "plan": c, "paperless": d == "true"}
        for a, b, c, d in zip(
            *(columns[n] for n in ("spend", "calls", "plan", "paperless")), strict=True
        )
    ]
    churned = np.array(columns["left"], dtype=np.int8)
    return contract.to_table(rows, FEATURES), churned, pa.array(columns["customer"])


def trained(estimator: str, folder: Path) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """A candidate's digest, and what it says of another month."""
    p = params.train().model_copy(update={"estimator": estimator})
    rows, churned, customers = frame_of("2024-01")
    frame = contract.to_frame(rows, FEATURES)
    model, threshold = train.train(frame, churned, customers, FEATURES, p)
    golden = train.golden_rows(model, frame, FEATURES)
    served = export.servable(model.estimator.estimator, FEATURES)
    digest = candidate.save(folder, model, {"threshold": threshold}, golden, served)
    others, labels, who = frame_of("2024-02")
    scores = candidate.churn_probability(model, contract.to_frame(others, FEATURES))
    codes = ranking.codes(who.to_numpy(zero_copy_only=False))
    found = evaluate.evaluate(labels, codes, scores, threshold, params.evaluate())
    curves = evaluate.plots(labels, scores, threshold)
    return {"digest": digest, "evaluate": found, "plots": curves}, scores


def moved() -> list[Any]:
    """P-values of means that say the same as others: their correlations have many zeros."""
    rng = np.random.default_rng(3)
    parts = rng.normal(size=(1200, 12))
    values = np.column_stack([parts, parts[:, :6] + parts[:, 6:], parts > 0, parts <= 0])
    who = np.tile(np.arange(600), 2)
    before, now = movement.Rows(values[:600], who[:600]), movement.Rows(values[600:], who[600:])
    found = movement.measure(before, now, seed=1)
    return [found.effects.tolist(), found.p_values.tolist()]


def worth() -> dict[str, float]:
    """What columns with few values are worth: most scores are ties."""
    rng = np.random.default_rng(4)
    coded = {name: rng.integers(0, 6, 4000).astype(float) for name in "abcdef"}
    logits = (coded["a"] - coded["b"]) / 2
    churned = (rng.random(4000) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    first = rng.random(4000) < 0.5
    scorer = scorers.fit(coded, churned, first, seed=1)
    assert scorer is not None
    return {
        "said": scorer.score(coded, first).tolist(),
        **scorer.importances(coded, first, churned, seed=1),
    }


def main() -> None:
    """Print all of it."""
    scores, found = [], {"moved": moved(), "worth": worth()}
    with tempfile.TemporaryDirectory() as folder:
        for estimator in train.ESTIMATORS:
            found[estimator], said = trained(estimator, Path(folder) / estimator)
            scores.append(said)
    _, labels, who = frame_of("2024-02")
    codes = ranking.codes(who.to_numpy(zero_copy_only=False))
    gain = compare.measure(labels, codes, scores[0], scores[1], params.compare())
    json.dump(found | {"gain": list(vars(gain).values())}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
