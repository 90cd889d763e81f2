"""What a month's table shows of the subscribers, and what a broken feed makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from data.simulation import population, scenarios

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from data.simulation.population import Floats, Ints, Subscribers
    from data.simulation.scenarios import Change

    Columns = dict[str, NDArray[Any]]

# The contract, as the `data` section of params.yaml has it. It lists no values of net_service and
# no maximum of watch_hours_30d: with these, ingest would refuse two broken feeds by itself. That is
# what they are good for, but here it is to be seen whether a look at distributions finds the break.
FEATURES: dict[str, dict[str, Any]] = {
    "months_active": {"type": "number", "min": 0},
    "monthly_fee": {"type": "number", "min": 0},
    "paperless_billing": {"type": "boolean"},
    "plan_stream_tv": {"type": "boolean"},
    "plan_stream_movies": {"type": "boolean"},
    "net_service": {"type": "category"},
    "watch_hours_30d": {"type": "number", "min": 0},
    "avg_session_mins_7d": {"type": "number", "min": 0},
    "unique_devices_30d": {"type": "number", "min": 1},
    "skips_7d": {"type": "number", "min": 0},
    "rebuffer_events_7d": {"type": "number", "min": 0},
    "failed_payments_90d": {"type": "number", "min": 0},
    "support_tickets_90d": {"type": "number", "min": 0},
    "ticket_avg_resolution_hrs_90d": {"type": "number", "min": 0},
}

WATCH_HOURS, SESSION_MINUTES = 24.0, 38.0  # medians
STALLS = np.array([1.6, 2.6, 1.0, 3.2])  # medians of the means by NET_SERVICES, in 7 days
SKIPS = 4.0  # median of the means, in 7 days
DISCOUNT, DISCOUNT_MONTHS = 3.00, 3  # what a joiner pays less, and how long
HOURS_OF_30_DAYS = 720.0
MINUTES = 60
STUCK_AT = SESSION_MINUTES  # a likely value, so that the mean gives nothing away
LOST_SHARE = 0.6
RENAMED = {"cable": "Cable", "dsl": "DSL", "fiber": "Fiber optic", "mobile": "Mobile"}


def observe(now: Subscribers, change: Change, stalls: Generator, skips: Generator) -> Columns:
    """The features of n subscribers as they are.

    Args:
        now: the subscribers.
        change: what a scenario does to their columns.
        stalls: draws rebuffer_events_7d, and nothing else: numpy draws a count from more or fewer
            random numbers as its mean is, and no other column may depend on that.
        skips: the same for skips_7d.

    Returns:
        Columns of shape (n,) in the order of FEATURES; NaN is missing.
    """
    moods = dict(zip(population.MOODS, now.moods.T, strict=True))
    return {
        "months_active": now.tenure,
        "monthly_fee": _fee(now, change),
        "paperless_billing": now.paperless,
        "plan_stream_tv": now.tv,
        "plan_stream_movies": now.movies,
        "net_service": now.net,
        "watch_hours_30d": _watched(now, moods["watch"], change),
        "avg_session_mins_7d": _session(now, moods["session"], change),
        "unique_devices_30d": now.devices,
        "skips_7d": skips.poisson(SKIPS * np.exp(0.5 * now.impatience + 0.4 * moods["skips"])),
        "rebuffer_events_7d": stalls.poisson(_stalls(now, moods["stalls"], change)),
        "failed_payments_90d": now.failed.sum(axis=1),
        "support_tickets_90d": now.tickets.sum(axis=1),
        "ticket_avg_resolution_hrs_90d": _resolution(now),
    }


def _fee(now: Subscribers, change: Change) -> Floats:
    fee = np.array(population.TIER_FEES)[now.tier]
    fee = fee + population.TV_FEE * now.tv + population.MOVIES_FEE * now.movies
    fee = fee - DISCOUNT * (now.tenure < DISCOUNT_MONTHS)
    paid: Floats = np.round(fee + change.covariate * scenarios.FEE_RISE, 2)
    return paid


def _watched(now: Subscribers, mood: Floats, change: Change) -> Floats:
    more = change.covariate * scenarios.WATCH_MORE + change.season * scenarios.SEASON_WATCH
    usual = 0.5 * now.engagement + 0.2 * np.log(now.household / 2)
    hours: Floats = WATCH_HOURS * np.exp(usual + 0.4 * mood + more)
    return hours.clip(max=HOURS_OF_30_DAYS).round(1)


def _session(now: Subscribers, mood: Floats, change: Change) -> Floats:
    longer = change.season * scenarios.SEASON_SESSION
    return np.round(SESSION_MINUTES * np.exp(0.25 * now.engagement + 0.3 * mood + longer), 1)


def _stalls(now: Subscribers, mood: Floats, change: Change) -> Floats:
    more = change.covariate * scenarios.STALL_MORE
    means: Floats = STALLS[now.net] * np.exp(0.6 * now.line + 0.5 * mood + more)
    return means


def _resolution(now: Subscribers) -> Floats:
    """Mean hours of the tickets; missing where there are none."""
    tickets: Ints = now.tickets.sum(axis=1)
    hours = now.ticket_hours.sum(axis=1) / np.maximum(tickets, 1)
    return np.where(tickets > 0, np.round(hours, 1), np.nan)


def through_feed(true: Columns, change: Change, losses: Generator) -> Columns:
    """The columns as they arrive, net_service in words.

    Args:
        true: as `observe` gave them.
        change: which feed is broken, if one is.
        losses: draws which values are lost.
    """
    arrived = true | {"net_service": _named(true["net_service"], change)}
    if change.broken == "unit":
        arrived["watch_hours_30d"] = np.round(true["watch_hours_30d"] * MINUTES, 1)
    elif change.broken == "stuck":
        arrived["avg_session_mins_7d"] = np.full(len(true["avg_session_mins_7d"]), STUCK_AT)
    elif change.broken == "nulls":
        stalls = true["rebuffer_events_7d"]
        lost = losses.random(len(stalls)) < LOST_SHARE
        arrived["rebuffer_events_7d"] = np.ma.masked_array(stalls, lost)
    return arrived


def _named(net: Ints, change: Change) -> NDArray[np.object_]:
    names = list(population.NET_SERVICES)
    if change.broken == "renamed":
        names = [RENAMED[name] for name in names]
    return np.array(names, dtype=object)[net]
