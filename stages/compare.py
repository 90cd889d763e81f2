"""Stage 5: is the candidate better than what is in production?

Reads the candidate, ``holdout`` and the production model from the registry; scores both on the
same rows, each through its own preprocessing; writes both models' figures, the gain with its
interval, and the verdict. Which production version it was measured against is part of the report:
the registry is an input that DVC cannot see, and `promote` checks that it has not moved since.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stages.shared import candidate, errors, files, params, ranking, scoring
from stages.shared.terminal import say

if TYPE_CHECKING:
    from stages.registry.store import Production
    from stages.shared.params import Compare
    from stages.shared.ranking import Codes, Floats, Labels


# Of a few customers nobody can know how much others differ.
LEAST_OF_A_CLASS = 30


@dataclass(frozen=True)
class Gain:
    """How much better the candidate is, on the same customers; intervals at compare.confidence."""

    candidate_auc: float
    production_auc: float
    gain: float  # in AUC
    interval: tuple[float, float]
    log_loss_gain: float  # production's log loss minus the candidate's, in nats
    log_loss_interval: tuple[float, float]
    rows: int


@dataclass(frozen=True)
class Decision:
    """The verdict, why, and how many holdout rows would settle what is undecided."""

    verdict: str  # promote, reject or undecided
    reasons: tuple[str, ...]
    rows_needed: int | None = None


def measure(
    churned: Labels, customers: Codes, candidate_s: Floats, production_s: Floats, p: Compare
) -> Gain:
    """The gain of the candidate over production on the same rows (see `ranking`).

    Args:
        churned: shape (n,), 0 or 1, both present.
        customers: shape (n,), whose row each is.
        candidate_s: shape (n,), the candidate's probabilities.
        production_s: shape (n,), production's probabilities of the same rows.
        p: section ``compare`` of params.yaml.

    Returns:
        Estimates and intervals, rounded as reports give them.
    """
    ours, theirs = (ranking.auc_estimate(churned, s) for s in (candidate_s, production_s))
    losses = [ranking.log_losses(churned, s) for s in (production_s, candidate_s)]
    by_loss = ranking.mean_estimate(losses[0] - losses[1])
    of_class = ranking.fewest(churned, customers)
    by_auc, of_losses = (
        ranking.interval(found, customers, p.confidence, of_class)
        for found in (ours - theirs, by_loss)
    )
    of_ours, of_theirs = files.rounded(ours.value), files.rounded(theirs.value)
    return Gain(
        candidate_auc=of_ours,
        production_auc=of_theirs,
        gain=files.rounded(of_ours - of_theirs),
        interval=_rounded(by_auc),
        log_loss_gain=files.rounded(by_loss.value),
        log_loss_interval=_rounded(of_losses),
        rows=len(churned),
    )


def _rounded(ends: tuple[float, float]) -> tuple[float, float]:
    return files.rounded(ends[0]), files.rounded(ends[1])


def decide(
    *,
    gates: list[str],
    already: str | None,
    unmeasured: str | None,
    first: bool,
    incomparable: str | None,
    gain: Gain | None,
    p: Compare,
) -> Decision:
    """What is to be done with the candidate. Whatever is not proven is undecided.

    Args:
        gates: the reasons for which it fails the absolute gate; empty if it passes.
        already: why the registry's history settles it (in production, or rolled back).
        unmeasured: why the holdout tells nothing (no row, one class only).
        first: nothing is in production.
        incomparable: why production cannot be scored on this holdout.
        gain: what was measured, where it could be.
        p: section ``compare`` of params.yaml.
    """
    if already:
        return Decision("reject", (already,))
    if unmeasured:
        return Decision("undecided", (unmeasured,))
    if gates:
        return Decision("reject", tuple(gates))
    if first:
        return Decision(
            "promote", ("nothing is in production: the first model needs the gates alone",)
        )
    if incomparable or gain is None:
        return Decision("undecided", (f"not comparable: {incomparable}",))
    return _by_gain(gain, p)


def _by_gain(found: Gain, p: Compare) -> Decision:
    gain, (low, high), rows = found.gain, found.interval, found.rows
    said = f"gain in AUC {gain:+.4f} [{low:+.4f}, {high:+.4f}]"
    if high < p.delta:
        return Decision("reject", (f"{said}: at best below compare.delta {p.delta:g}",))
    if gain >= p.delta and gain > 0 and low > p.min_lower_bound:
        enough = f"at least compare.delta {p.delta:g}, and surely above {p.min_lower_bound:g}"
        return Decision("promote", (f"{said}: {enough}",))
    if gain >= p.delta and not gain > 0:
        return Decision("undecided", (f"{said}: no gain at all is no reason to promote",))
    # An interval's arm shrinks with the square root of the rows.
    if gain >= p.delta:
        why = f"may be no more than compare.min_lower_bound {p.min_lower_bound:g}"
        needed = _rows_needed(rows, arm=gain - low, room=gain - p.min_lower_bound)
    else:
        why = f"below compare.delta {p.delta:g}, but may be above it"
        needed = _rows_needed(rows, arm=high - gain, room=p.delta - gain)
    ask = (
        "no holdout could settle it"
        if needed is None
        else (f"if it stays so, some {needed:,} holdout rows would settle it, {rows:,} are there")
    )
    return Decision("undecided", (f"{said}: {why}; {ask}",), needed)


def _rows_needed(rows: int, arm: float, room: float) -> int | None:
    if room <= 0:
        return None
    ratio = arm / room
    exact = math.ceil(rows * ratio * ratio) + 1
    step: int = 10 ** max(0, len(str(exact)) - 2)
    return -(-exact // step) * step  # two digits, upwards: it is no better known


def least_gain_shown(found: Gain, p: Compare) -> float:
    """The least gain in AUC that would have been promoted on this holdout."""
    arm = found.gain - found.interval[0]
    return files.rounded(max(p.delta, p.min_lower_bound + arm))


def incomparable(candidate: dict[str, Any], production: dict[str, Any]) -> str | None:
    """Why a production model cannot be scored on the candidate's holdout, or None.

    Args:
        candidate: the candidate's card.
        production: production's card.
    """
    if candidate["split"] != production["split"]:
        return "production was trained with another split of the customers"
    for key in ("id", "label", "positive"):
        if candidate[key] != production[key]:
            return f"production was trained with data.{key} {production[key]!r}"
    for name, feature in production["features"].items():
        now = candidate["features"].get(name)
        if now is None or now["type"] != feature["type"]:
            return f"production needs column {name!r} as {feature['type']}, which is not there now"
    return None


def unmeasured(churned: Labels, customers: Codes) -> str | None:
    """Why a holdout tells nothing of any model, or None."""
    if len(churned) == 0:
        return "the holdout has no row: no customer of its months fell into it"
    if churned.min() == churned.max():
        return f"the holdout's {len(churned)} rows are of one class only"
    fewest = ranking.fewest(churned, customers)
    if fewest < LEAST_OF_A_CLASS:
        return (
            f"the holdout's {len(churned)} rows have only {fewest} customers of one class: an "
            f"interval from fewer than {LEAST_OF_A_CLASS} says nothing"
        )
    return None


def headline(evaluated: dict[str, Any], compared: dict[str, Any]) -> dict[str, Any]:
    """reports/metrics.json: the few figures that matter most, the first of them first.

    DVC shows every value of a metrics file as a column; the whole reports have thirty.

    Args:
        evaluated: reports/evaluate.json.
        compared: reports/compare.json.
    """
    low = compared["interval"][0] if compared["interval"] else None
    found = {"verdict": compared["verdict"], "gain": compared["gain"], "gain_low": low}
    return found | {name: evaluated[name] for name in ("auc", "f1")}


def main() -> None:
    """Score both models and write the verdict."""
    from stages.registry import store  # MLflow: seconds

    p = params.compare()
    model = candidate.load(files.CANDIDATE)
    evaluated = files.read_json(files.REPORTS / "evaluate.json")
    churned, customers = scoring.labels(files.HOLDOUT), scoring.customers(files.HOLDOUT)
    now = store.production()
    production = None
    if now.version is not None and now.digest is not None:
        production = candidate.load(store.at_hand(now.version, now.digest))
    why_not = incomparable(model.card, production.card) if production else None
    nothing_to_see = unmeasured(churned, customers)
    gain = None
    if production and not why_not and not nothing_to_see and production.digest != model.digest:
        ours, theirs = scoring.scores(files.HOLDOUT, [model, production])
        gain = measure(churned, customers, ours, theirs, p)
    decision = decide(
        gates=evaluated["reasons"],
        already=already(model.digest, now),
        unmeasured=nothing_to_see,
        first=production is None,
        incomparable=why_not,
        gain=gain,
        p=p,
    )
    report = {
        "verdict": decision.verdict,
        "gain": gain.gain if gain else None,
        "interval": list(gain.interval) if gain else None,
        "reasons": list(decision.reasons),
        "rows_needed": decision.rows_needed,
        "least_gain_shown": least_gain_shown(gain, p) if gain else None,
        "gates_passed": evaluated["gate_passed"],
        "candidate": model.digest,
        "production_version": now.version,
        "production_digest": now.digest,
        "holdout_sha256": files.sha256(files.HOLDOUT),
        "measured": asdict(gain) if gain else None,
    }
    files.write_json(files.REPORTS / "compare.json", report)
    files.write_json(files.REPORTS / "metrics.json", headline(evaluated, report))
    against = f"version {now.version}" if production else "nothing in production"
    print(f"compare: candidate {model.digest[:12]} against {against}: {decision.verdict}")
    for reason in decision.reasons:
        say(f"  {reason}")


def already(digest: str, now: Production) -> str | None:
    """What the registry's history says of a candidate, before anything is measured."""
    if digest == now.digest:
        return f"it is in production already, as version {now.version}"
    if digest in now.quarantined:
        return (
            f"it was in production as version {now.quarantined[digest]} and was rolled back; "
            f"`make rollback VERSION={now.quarantined[digest]} REASON=…` would put it back"
        )
    return None


if __name__ == "__main__":
    errors.run(main)
