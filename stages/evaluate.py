"""Stage 4: is the candidate good enough by itself?

Reads the candidate and ``holdout``; writes metrics, DVC plots, and whether the absolute gate is
passed: F1 at least ``evaluate.gate_f1`` and above that of answering "churn" to everybody, and an
AUC whose interval lies above that of a coin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import metrics

from stages.shared import candidate, errors, files, params, ranking, scoring
from stages.shared.terminal import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stages.shared.params import Evaluate
    from stages.shared.ranking import Codes, Floats, Labels

BINS = 10  # of the calibration curve and of the expected calibration error
POINTS = 200  # of a curve: what an eye can tell apart
SHOWN = 10_000  # rows of the confusion plot; a larger holdout is shown in proportion
WORDS = ("stays", "churns")


def evaluate(
    churned: Labels, customers: Codes, scores: Floats, threshold: float, p: Evaluate
) -> dict[str, Any]:
    """Measure a model on rows that it never saw, and hold it against the gate.

    Args:
        churned: shape (n,), 0 or 1.
        customers: shape (n,), whose row each is.
        scores: shape (n,), churn probabilities.
        threshold: the model's own decision threshold.
        p: section ``evaluate`` of params.yaml.

    Returns:
        reports/evaluate.json. What a single class, or no row, leaves undefined is None.
    """
    rows, both = len(churned), len(set(churned.tolist())) == 2
    said = (scores >= threshold).astype(np.int8)
    found: dict[str, Any] = {
        "auc": None,
        "auc_interval": None,
        "average_precision": None,
        "f1": None,
        "precision": None,
        "recall": None,
        "accuracy": None,
        "log_loss": None,
        "brier": None,
        "ece": None,
        "n": rows,
        "customers": len(np.unique(customers)),
        "base_rate": files.rounded(churned.mean()) if rows else None,
        "f1_of_yes_to_all": files.rounded(f1_of_yes_to_all(churned.mean())) if rows else None,
    }
    if rows:
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            churned, said, average="binary", zero_division=0
        )
        found |= {
            "f1": files.rounded(f1),
            "precision": files.rounded(precision),
            "recall": files.rounded(recall),
            "accuracy": files.rounded(metrics.accuracy_score(churned, said)),
            "log_loss": files.rounded(ranking.log_losses(churned, scores).mean()),
            "brier": files.rounded(np.square(scores - churned).mean()),
            "ece": files.rounded(expected_calibration_error(churned, scores)),
        }
    if both:
        auc = ranking.auc_estimate(churned, scores)
        of_class = ranking.fewest(churned, customers)
        ends = ranking.interval(auc, customers, p.confidence, of_class)
        found |= {
            "auc": files.rounded(auc.value),
            "auc_interval": [files.rounded(min(max(end, 0.0), 1.0)) for end in ends],
            "average_precision": files.rounded(metrics.average_precision_score(churned, scores)),
        }
    reasons = gate(found, p.gate_f1)
    return found | {"gate_passed": not reasons, "reasons": reasons}


def gate(found: dict[str, Any], gate_f1: float) -> list[str]:
    """Why the candidate does not pass; empty if it does."""
    if not found["n"]:
        return ["the holdout has no row: no customer of its months fell into it"]
    if found["auc"] is None:
        return [f"the holdout's {found['n']} rows are of one class only"]
    reasons = []
    f1, f1_of_yes = found["f1"], found["f1_of_yes_to_all"]
    if f1 < gate_f1:
        reasons.append(f"F1 {f1:.3f} is below evaluate.gate_f1 {gate_f1:g}")
    if f1 <= f1_of_yes:
        reasons.append(
            f"F1 {f1:.3f} is no better than answering churn to everybody ({f1_of_yes:.3f})"
        )
    low = found["auc_interval"][0]
    if not low > 0.5:
        reasons.append(f"AUC {found['auc']:.3f} may be a coin's: its interval begins at {low:.3f}")
    return reasons


def f1_of_yes_to_all(base_rate: float) -> float:
    """F1 of answering "churn" to everybody: precision is the base rate, recall is 1."""
    return 2 * base_rate / (1 + base_rate)


def expected_calibration_error(churned: Labels, scores: Floats) -> float:
    """Mean distance of predicted from observed rates over equal-width bins, weighted by rows.

    Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities, AAAI 2015.
    """
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = [
        abs(scores[bins == b].mean() - churned[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return float(sum(gaps))


def plots(churned: Labels, scores: Floats, threshold: float) -> dict[str, list[dict[str, Any]]]:
    """Points of the curves, by the name of their file; empty where a class is missing."""
    found: dict[str, list[dict[str, Any]]] = {"roc": [], "precision_recall": [], "calibration": []}
    if len(set(churned.tolist())) == 2:
        fpr, tpr, _ = metrics.roc_curve(churned, scores)
        precision, recall, _ = metrics.precision_recall_curve(churned, scores)
        found["roc"] = _points(false_positive_rate=fpr, true_positive_rate=tpr)
        found["precision_recall"] = _points(recall=recall[::-1], precision=precision[::-1])
        found["calibration"] = _calibration(churned, scores)
    found["confusion"] = _confusion(churned, scores >= threshold)
    return found


def _confusion(churned: Labels, said: NDArray[np.bool_]) -> list[dict[str, str]]:
    """A row for each of the holdout, for that is what DVC's template counts; at most `SHOWN`."""
    scale = min(1.0, SHOWN / max(1, len(churned)))
    rows = []
    for actual, predicted in ((0, 0), (0, 1), (1, 0), (1, 1)):
        count = int(((churned == actual) & (said == predicted)).sum())
        rows += [{"actual": WORDS[actual], "predicted": WORDS[predicted]}] * round(count * scale)
    return rows


def _points(**axes: NDArray[np.float64]) -> list[dict[str, float]]:
    (x_name, x), (y_name, y) = axes.items()
    kept = np.unique(np.linspace(0, len(x) - 1, POINTS).round().astype(int))
    return [{x_name: files.rounded(x[i], 4), y_name: files.rounded(y[i], 4)} for i in kept]


def _calibration(churned: Labels, scores: Floats) -> list[dict[str, float]]:
    parts = np.array_split(np.argsort(scores, kind="stable"), BINS)
    return [
        {
            "predicted": files.rounded(scores[part].mean(), 4),
            "observed": files.rounded(churned[part].mean(), 4),
            "rows": len(part),
        }
        for part in parts
        if len(part)
    ]


def main() -> None:
    """Score the candidate on the holdout; write metrics and plots."""
    p = params.evaluate()
    model = candidate.load(files.CANDIDATE)
    churned = scoring.labels(files.HOLDOUT)
    (scores,) = scoring.scores(files.HOLDOUT, [model])
    threshold = model.card["decision_threshold"]
    found = evaluate(churned, scoring.customers(files.HOLDOUT), scores, threshold, p)
    for name, points in plots(churned, scores, threshold).items():
        files.write_json(files.PLOTS / f"{name}.json", points)
    files.write_json(
        files.REPORTS / "evaluate.json",
        found | {"candidate": model.digest, "holdout_sha256": files.sha256(files.HOLDOUT)},
    )
    print(f"evaluate: {sentence(found)}")
    print(
        "evaluate: the gate is passed"
        if found["gate_passed"]
        else "evaluate: the gate is not passed"
    )
    for reason in found["reasons"]:
        say(f"  {reason}")


def sentence(found: dict[str, Any]) -> str:
    """The main figures, as people read them."""
    if found["auc"] is None:
        return f"{found['n']} holdout rows"
    low, high = found["auc_interval"]
    return (
        f"AUC {found['auc']:.3f} [{low:.3f}, {high:.3f}], F1 {found['f1']:.3f}, "
        f"log loss {found['log_loss']:.3f} on {found['n']:,} holdout rows of "
        f"{found['customers']:,} customers, "
        f"{found['base_rate']:.1%} of them churned"
    )


if __name__ == "__main__":
    errors.run(main)
