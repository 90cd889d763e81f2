"""Who churns: the true probability, a function of what the table shows while nothing is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data.simulation import population, scenarios

if TYPE_CHECKING:
    from data.simulation.columns import Columns
    from data.simulation.population import Floats
    from data.simulation.scenarios import Change

# Columns that the function does not read.
IRRELEVANT = ("paperless_billing", "plan_stream_movies", "skips_7d", "unique_devices_30d")

INTERCEPT = -3.45
# Added in proportion to the change of concept, so that the churn rate stays.
CONCEPT_INTERCEPT = 0.256


def probability(columns: Columns, change: Change) -> Floats:
    """The probability that a subscriber churns.

    Whoever is gone for good (population.GONE of them, whatever they are like) has churned. Of the
    others a logistic function decides; they cancel, are won back before the month after, and stay.

    Args:
        columns: the true features, shape (n,) each.
        change: how much of the other concept there is, and of the higher rate.

    Returns:
        Shape (n,), the probability that the label is 1.
    """
    part = change.concept * scenarios.CONCEPT
    score = (1 - part) * before(columns) + part * after(columns)
    score += INTERCEPT + change.concept * CONCEPT_INTERCEPT + change.label * scenarios.LABEL
    found: Floats = population.GONE + (1 - population.GONE) / (1 + np.exp(-score))
    return found


def before(columns: Columns) -> Floats:
    """The score of the world of before: who watches little, sees stalls or cannot pay."""
    c = _Terms(columns)
    score: Floats = (
        1.7 * c.idle + 1.2 * c.stalls * (1 + 0.8 * c.fiber) + 1.0 * c.failed
        + 1.7 * c.new + 0.7 * c.waited + 0.9 * c.dear * (1 + c.idle) - 0.3 * c.tv - 0.2 * c.session
    )  # fmt: skip
    return score


def after(columns: Columns) -> Floats:
    """The score of the other world: a cheaper rival takes those who pay much and stay long."""
    c = _Terms(columns)
    score: Floats = (
        0.5 * c.idle + 0.5 * c.stalls * (1 - c.fiber) + 0.3 * c.failed
        - 1.2 * c.new + 0.6 * c.waited + 3.6 * c.dear + 0.8 * c.tv - 0.2 * c.session
    )  # fmt: skip
    return score


class _Terms:
    """What speaks for and against leaving, each about between -1 and 1 or 0 and 1."""

    def __init__(self, columns: Columns) -> None:
        watched = np.log1p(columns["watch_hours_30d"]) - np.log(25)
        self.idle = np.tanh(-1.2 * watched)
        self.stalls = np.minimum(columns["rebuffer_events_7d"], 8) / 4
        self.fiber = columns["net_service"] == population.NET_SERVICES.index("fiber")
        self.failed = np.minimum(columns["failed_payments_90d"], 3)
        self.new = np.exp(-columns["months_active"] / 6)
        self.dear = np.tanh((columns["monthly_fee"] - 16) / 6)
        self.tv = columns["plan_stream_tv"]
        self.session = np.tanh(np.log(columns["avg_session_mins_7d"] / 38))
        hours = np.nan_to_num(columns["ticket_avg_resolution_hrs_90d"])
        self.waited = np.minimum(columns["support_tickets_90d"], 3) * np.tanh(hours / 24)
