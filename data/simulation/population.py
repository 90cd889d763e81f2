"""Subscribers who join, age, change and leave: what they are like, whatever comes of it.

All that is drawn here has the same law in every month: traits keep theirs while a subscriber
stays, moods are autoregressions in their stationary state, and a joiner differs from the others in
what follows from being new alone. Whoever leaves does so regardless of what he is like. So nothing
trends, and no change of the churn function moves a feature.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

# Share of the subscribers who are gone for good the month after. They stay 33 months on average.
GONE = 0.03

NET_SERVICES = ("cable", "dsl", "fiber", "mobile")
NET_SHARES = (0.35, 0.15, 0.40, 0.10)
TIER_FEES = (7.99, 12.99, 17.99)
TIER_SHARES = (0.40, 0.40, 0.20)
TV_FEE, MOVIES_FEE = 6.00, 4.00
HOUSEHOLD_SHARES = (0.30, 0.32, 0.18, 0.13, 0.07)  # one to five people

CHANGES_PLAN = 0.02  # share of the subscribers who choose their plans anew in a month
CHANGES_DEVICE = 0.10
KEPT_MOOD = 0.7  # correlation of a mood with that of the month before
MOODS = ("watch", "session", "stalls", "skips")

QUARTER = 3  # months that a count of 90 days covers
FAILED_A_MONTH, FAILED_SPREAD = 0.11, 0.5  # mean, and shape of the gamma of the payers' means
TICKETS_A_MONTH, TICKETS_SPREAD = 0.18, 1.0
RESOLUTION_SHAPE, RESOLUTION_HOURS = 1.5, 12.0  # of the gamma of the hours of one ticket


@dataclass(frozen=True)
class Subscribers:
    """What n subscribers are like at the end of a month; every array's first axis is n."""

    tenure: Ints  # months since they joined
    generation: Ints  # how many had this place before
    engagement: Floats  # standard normal, as are the next two
    line: Floats  # how bad the network is at their place
    impatience: Floats
    household: Ints  # people
    net: Ints  # index into NET_SERVICES
    paperless: NDArray[np.bool_]
    payer: Floats  # failed payments to expect in a month
    caller: Floats  # tickets to expect in a month
    tier: Ints  # index into TIER_FEES
    tv: NDArray[np.bool_]
    movies: NDArray[np.bool_]
    devices: Ints
    moods: Floats  # shape (n, 4), standard normal
    failed: Ints  # shape (n, QUARTER), the newest month first
    tickets: Ints
    ticket_hours: Floats


def settled(n: int, rng: Generator) -> Subscribers:
    """As many subscribers as if the service had been running for ever."""
    return _draw(rng.geometric(GONE, n) - 1, np.zeros(n, dtype=np.int64), rng)


def next_month(now: Subscribers, gone: NDArray[np.bool_], rng: Generator) -> Subscribers:
    """A month later: who is gone has been replaced by a joiner, the others have aged and changed.

    Args:
        now: n subscribers.
        gone: shape (n,), who is not there any more.
        rng: draws the same whatever the churn function is, as long as ``gone`` is the same.
    """
    older = _grow_older(now, rng)
    joined = _draw(np.zeros(gone.sum(), dtype=np.int64), now.generation[gone] + 1, rng)
    merged = {}
    for field in fields(Subscribers):
        values = getattr(older, field.name).copy()
        values[gone] = getattr(joined, field.name)
        merged[field.name] = values
    return Subscribers(**merged)


def _draw(tenure: Ints, generation: Ints, rng: Generator) -> Subscribers:
    n = len(tenure)
    household = 1 + rng.choice(len(HOUSEHOLD_SHARES), n, p=HOUSEHOLD_SHARES)
    tier, tv, movies = _plans(n, rng)
    payer = rng.gamma(FAILED_SPREAD, FAILED_A_MONTH / FAILED_SPREAD, n)
    caller = rng.gamma(TICKETS_SPREAD, TICKETS_A_MONTH / TICKETS_SPREAD, n)
    there = tenure[:, None] >= np.arange(QUARTER)  # nobody fails to pay before he joins
    failed = rng.poisson(payer[:, None], (n, QUARTER)) * there
    tickets = rng.poisson(caller[:, None], (n, QUARTER)) * there
    return Subscribers(
        tenure=tenure,
        generation=generation,
        engagement=rng.standard_normal(n),
        line=rng.standard_normal(n),
        impatience=rng.standard_normal(n),
        household=household,
        net=rng.choice(len(NET_SERVICES), n, p=NET_SHARES),
        paperless=rng.random(n) < 0.6,
        payer=payer,
        caller=caller,
        tier=tier,
        tv=tv,
        movies=movies,
        devices=_devices(household, rng),
        moods=rng.standard_normal((n, len(MOODS))),
        failed=failed,
        tickets=tickets,
        ticket_hours=_hours(tickets, rng),
    )


def _grow_older(now: Subscribers, rng: Generator) -> Subscribers:
    n = len(now.tenure)
    anew = rng.random(n) < CHANGES_PLAN
    plans = _plans(n, rng)
    tier, tv, movies = (
        np.where(anew, new, old)
        for new, old in zip(plans, (now.tier, now.tv, now.movies), strict=True)
    )
    other_device = rng.random(n) < CHANGES_DEVICE
    fresh = np.sqrt(1 - KEPT_MOOD**2) * rng.standard_normal(now.moods.shape)
    failed, tickets = rng.poisson(now.payer), rng.poisson(now.caller)
    return replace(
        now,
        tenure=now.tenure + 1,
        tier=tier,
        tv=tv,
        movies=movies,
        devices=np.where(other_device, _devices(now.household, rng), now.devices),
        moods=KEPT_MOOD * now.moods + fresh,
        failed=_roll(failed, now.failed),
        tickets=_roll(tickets, now.tickets),
        ticket_hours=_roll(_hours(tickets, rng), now.ticket_hours),
    )


def _plans(n: int, rng: Generator) -> tuple[Ints, NDArray[np.bool_], NDArray[np.bool_]]:
    tier = rng.choice(len(TIER_FEES), n, p=TIER_SHARES)
    return tier, rng.random(n) < 0.35 + 0.1 * tier, rng.random(n) < 0.40


def _devices(household: Ints, rng: Generator) -> Ints:
    return 1 + rng.binomial(household + 1, 0.35)


def _hours(tickets: Ints, rng: Generator) -> Floats:
    """Sum of the hours that so many tickets took: 0 for none."""
    return RESOLUTION_HOURS / RESOLUTION_SHAPE * rng.standard_gamma(RESOLUTION_SHAPE * tickets)


def _roll(newest: NDArray[Any], months: NDArray[Any]) -> NDArray[Any]:
    return np.column_stack([newest, months[:, :-1]])
