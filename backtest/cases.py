"""The histories that are replayed: simulated worlds by seed, and the real customers."""

from __future__ import annotations

import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from backtest import history, measures, policies
from data import cdnow, simulate
from stages.shared import files, params
from stages.shared.contract import Names, from_dict

if TYPE_CHECKING:
    from backtest.history import History

REAL = "customers"
# A world whose feed breaks: what the others would train on there is garbage, and needs no figure.
OF_BROKEN = ("never", "every 1", "ours")
# Seasons over years: how often does a policy train once it has seen them all?
LONG_MONTHS, LONG_SEEDS, OF_LONG = 60, 5, ("never", "every 1", "every 6", "ours")
# The defaults were chosen while looking at seeds 1 to 4: the published ones are others.
FIRST_SEED = 101


@dataclass(frozen=True)
class Case:
    """One history, by what makes it."""

    scenario: str
    kind: str | None
    seed: int
    rows: int
    months: int
    onset: int
    long: bool = False

    @property
    def name(self) -> str:
        """The scenario, with the kind of a broken feed, or with how long it is."""
        if self.long:
            return f"{self.scenario} ({self.months} months)"
        return f"{self.scenario} ({self.kind})" if self.kind else self.scenario

    @property
    def changes(self) -> int | None:
        """The first changed month, None where nothing changes at one."""
        return None if self.scenario in {"none", "season", REAL} else self.onset


def every(seeds: int, rows: int, months: int, onset: int) -> list[Case]:
    """All cases, seed by seed, so that an early stop leaves some of each; real customers first.

    The change comes up to three months before ``onset`` or two after it, seed by seed: in one
    fixed month it would suit one calendar, and not another.
    """
    found, around = [Case(REAL, None, 0, 0, 0, 0)], onset
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        onset = min(max(1, around - 3 + seed % 6), months)
        for scenario in simulate.SCENARIOS:
            kinds = simulate.KINDS if scenario == "broken" else (None,)
            found += [Case(scenario, kind, seed, rows, months, onset) for kind in kinds]
        if seed < FIRST_SEED + LONG_SEEDS:
            found.append(Case("season", None, seed, rows, LONG_MONTHS, onset, long=True))
    return found


def settings() -> history.Settings:
    """What params.yaml says."""
    return history.Settings(params.drift(), params.train(), params.compare())


def replay(case: Case, with_settings: history.Settings) -> dict[str, dict[str, Any]]:
    """Each policy's figures on one case."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        past = made(case, Path(folder), with_settings)
        chosen = policies.listed(past.label_delay, with_settings.drift.false_alarm_rate)
        if case.long or case.scenario == "broken":
            few = OF_LONG if case.long else OF_BROKEN
            chosen = [policy for policy in chosen if policy.name in few]
        return {
            policy.name: measures.measure(
                past, policies.replay(past, policy, case.seed), case.changes
            )
            for policy in chosen
        }


def made(case: Case, folder: Path, with_settings: history.Settings) -> History:
    """A case's history; its months are written into the folder."""
    if case.scenario == REAL:
        return _real(folder, with_settings)
    world = simulate.World(case.scenario, case.rows, case.months, case.seed, case.onset, case.kind)
    names = Names(simulate.ID, simulate.LABEL, from_dict(simulate.FEATURES))
    truth = {}
    for month in simulate.months(world):
        history.write(folder, [(month.name, month.table)], names)
        truth[month.name] = month.truth
    return history.History(folder, names, simulate.LABEL_DELAY, with_settings, truth)


def _real(folder: Path, with_settings: history.Settings) -> History:
    """The pipeline's own customers; of CDNOW all months, with every label that the orders tell."""
    data = params.data()
    names = Names(data.id, data.label, data.features)
    if data.source != "cdnow":
        return history.History(files.MONTHS, names, data.label_delay, with_settings, None)
    orders = cdnow.load_orders()
    for month in cdnow.all_months():
        frame = cdnow.month_file(orders, month, newest=cdnow.LAST)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        history.write(folder, [(month, table)], names)
    return history.History(folder, names, data.label_delay, with_settings, None)
