"""What changes in a simulated world, when, and by how much.

The sizes were measured on 1,000,000 rows; tests/test_simulate.py holds them against their claims.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from stages.shared import months as calendar
from stages.shared.errors import UserError

SCENARIOS = ("none", "covariate", "concept", "label", "gradual", "season", "broken")
STEADY = ("none", "season")  # those without an onset
KINDS = ("unit", "stuck", "nulls", "renamed")  # of a broken feed
FIRST = "2024-01"

# A covariate change in full moves three columns that matter by half of their standard deviation:
# large enough to see in any column, small enough that the values of before and after overlap. Two
# of them make people leave and one makes them stay, so that the churn rate moves little (from 0.21
# to 0.23) and the scenario is not one of the rate in disguise.
WATCH_MORE = 0.31  # logarithm of the factor on watch_hours_30d
FEE_RISE = 2.77  # added to monthly_fee
STALL_MORE = 0.50  # logarithm of the factor on the mean of rebuffer_events_7d

# A change of concept in full: the churn function of before loses 0.05 AUC against that of after.
CONCEPT = 0.39  # weight of the other function's score
# The churn rate in full is 1.5 times what it was, by this much on the logit.
LABEL = 0.862

GRADUAL_MONTHS = 8  # until both changes of scenario gradual have come in full

# A season moves two columns by about half of their standard deviation up in January, and by
# somewhat less down in July; half of a change of concept comes in July and is gone in January.
SEASON_WATCH, SEASON_SESSION = 0.31, 0.18  # logarithms of factors
SEASON_CONCEPT = 0.5
YEAR = 12

BROKEN_MONTHS = 3  # until the feed is mended

MONTHS = (1, 240)
ROWS = (100, 10_000_000)

STORIES = {
    "none": "nothing changes",
    "covariate": (
        "monthly_fee, rebuffer_events_7d and watch_hours_30d are up by half a standard deviation"
    ),
    "concept": "others churn than before, and no feature moves",
    "label": "1.5 times as many churn, and no feature moves",
    "gradual": f"columns move and others churn, more so every month for {GRADUAL_MONTHS} months",
    "season": "people watch more in winter, and in summer others churn than in winter",
    "unit": f"watch_hours_30d is in minutes, for {BROKEN_MONTHS} months",
    "stuck": f"avg_session_mins_7d is the same for everybody, for {BROKEN_MONTHS} months",
    "nulls": f"most values of rebuffer_events_7d are missing, for {BROKEN_MONTHS} months",
    "renamed": f"the values of net_service have other names, for {BROKEN_MONTHS} months",
}


class Change(NamedTuple):
    """How far one month is from the world of before; 0 is not at all, 1 in full."""

    covariate: float = 0.0
    concept: float = 0.0
    label: float = 0.0
    season: float = 0.0  # from -1 in July to 1 in January
    broken: str | None = None  # the kind


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        scenario: one of SCENARIOS.
        rows: subscribers in each month.
        months: how many, from 2024-01 on.
        seed: another seed, other subscribers.
        onset: the first changed month, counted from 1. It means nothing for ``none``, and for
            ``season``, which has no beginning.
        kind: one of KINDS, for ``broken``; None is the first.

    Raises:
        UserError: a value of which there can be no world.
    """

    scenario: str = "none"
    rows: int = 5_000
    months: int = 24
    seed: int = 1
    onset: int = 12
    kind: str | None = None

    def __post_init__(self) -> None:
        if self.scenario not in SCENARIOS:
            raise UserError(f"SCENARIO={self.scenario}: name one of {', '.join(SCENARIOS)}")
        _check_range("ROWS", self.rows, *ROWS)
        _check_range("MONTHS", self.months, *MONTHS)
        _check_range("SEED", self.seed, 0, 2**32 - 1)
        if self.scenario not in STEADY:
            _check_range("ONSET", self.onset, 1, self.months)
        if self.kind not in {None, *KINDS}:
            raise UserError(f"KIND={self.kind}: name one of {', '.join(KINDS)}")
        if self.kind and self.scenario != "broken":
            raise UserError(f"KIND={self.kind} is for SCENARIO=broken: leave it out")

    def name(self, month: int) -> str:
        """The calendar month of the month counted from 0."""
        year, month_of_year = divmod(calendar.number(FIRST) + month, YEAR)
        return f"{year:04d}-{month_of_year + 1:02d}"

    def story(self) -> str:
        """What happens, in a sentence without its full stop."""
        if self.scenario in STEADY:
            return STORIES[self.scenario]
        told = (
            STORIES[self.kind or KINDS[0]] if self.scenario == "broken" else STORIES[self.scenario]
        )
        return f"from {self.name(self.onset - 1)} on {told}"

    def change(self, month: int) -> Change:
        """How far the month counted from 0 is from the world of before."""
        since = month + 1 - self.onset  # months since the onset
        if self.scenario == "season":
            winter = math.cos(2 * math.pi * month / YEAR)
            return Change(season=winter, concept=SEASON_CONCEPT * (1 - winter) / 2)
        if since < 0 or self.scenario == "none":
            return Change()
        if self.scenario == "gradual":
            part = min(1.0, (since + 1) / GRADUAL_MONTHS)
            return Change(covariate=part, concept=part)
        if self.scenario == "broken":
            return Change(broken=(self.kind or KINDS[0]) if since < BROKEN_MONTHS else None)
        full = {"covariate": Change(covariate=1.0), "concept": Change(concept=1.0)}
        return full.get(self.scenario, Change(label=1.0))


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UserError(f"{name}={value}: give a number from {least:,} to {most:,}")
