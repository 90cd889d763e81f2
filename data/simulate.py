"""Simulated subscribers of a streaming service: `make simulate SCENARIO=… [MONTHS=24] …`.

Writes the months of a world of which everything is known: what changes, when and by how much, and
every subscriber's true churn probability. So it can be told how well the pipeline decides.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from data.adoption import placing, section
from data.simulation import writing
from data.simulation.churn import IRRELEVANT
from data.simulation.columns import FEATURES
from data.simulation.months import ID, LABEL, Month, chunks, months
from data.simulation.scenarios import KINDS, MONTHS, SCENARIOS, STEADY, World
from data.simulation.writing import LABEL_DELAY
from stages.shared import contract, errors, files, params
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from data.simulation.writing import Written

__all__ = ["FEATURES", "ID", "IRRELEVANT", "KINDS", "LABEL", "LABEL_DELAY", "SCENARIOS",
           "Month", "World", "chunks", "months", "simulate"]  # fmt: skip

RAW, TRUTH = files.ROOT / "data" / "raw", files.ROOT / "data" / "truth"
COMMENT = "simulated subscribers, by `make simulate`"
# A gate that a model of use passes: this share of the F1 that the true probabilities reach.
GATE_SHARE = 0.75
_NUMBERS = ("months", "rows", "seed", "onset")
USAGE = (
    f"make simulate SCENARIO={'|'.join(SCENARIOS)} [MONTHS=24] [ROWS=5000] [SEED=1] [ONSET=12] "
    f"[KIND={'|'.join(KINDS)}]"
)


def simulate(world: World, params_file: Path, raw: Path, truth: Path) -> None:
    """Put a world in place as the pipeline's data.

    Args:
        world: what to simulate.
        params_file: params.yaml; its ``data`` section, ``gate_f1`` and maybe ``drift.columns``
            change, all else stays.
        raw: the folder of snapshots that the pipeline reads; gets these months and no others.
        truth: gets what nobody knows of a real world, YYYY-MM.parquet: each subscriber's true
            churn probability, and the label, also where it is not known yet.

    Raises:
        UserError: nothing was changed.
    """
    if world.months <= LABEL_DELAY:
        least = LABEL_DELAY + 1
        raise UserError(f"MONTHS={world.months}: give {least} or more, or no month has labels yet")
    gone = [placing.recover(raw)]
    before = params.read(params_file)
    print(f"simulating {world.months:,} months of {world.rows:,} subscribers", flush=True)
    with _workshop(truth) as (new_raw, new_truth):
        written = _write(world, new_raw, new_truth)
        gate_f1 = math.floor(100 * GATE_SHARE * min(written.best_f1)) / 100
        text = params_file.read_text(encoding="utf-8")
        new = section.rewrite(text, _data(), gate_f1, COMMENT)
        with _replaced(truth, new_truth):
            gone.append(placing.place(written.snapshots, new, raw, params_file, bring=os.link))
    for line in [*_notes(world, written, gate_f1), *filter(None, gone)]:
        print(line)
    if before.get("data") != section.read(new)["data"]:
        print(section.OTHER_MODEL)
    print("next: make repro")


@contextmanager
def _workshop(truth: Path) -> Iterator[tuple[Path, Path]]:
    """Two empty folders beside ``truth``, gone afterwards; what a killed run left goes too."""
    folder = truth.with_name(".simulate.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for inside in (folder / "raw", folder / "truth"):
            inside.mkdir(parents=True)
        yield folder / "raw", folder / "truth"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _replaced(truth: Path, new: Path) -> Iterator[None]:
    """Replace the truth if the block ends well; a kill may leave none, but never a wrong one."""
    old = new.with_name("old")
    if truth.exists():
        truth.rename(old)
    try:
        yield
    except BaseException:  # Ctrl-C too; it goes on its way once the truth is back
        if old.exists():
            old.rename(truth)
        raise
    new.rename(truth)


def _write(world: World, raw: Path, truth: Path) -> Written:
    try:
        return writing.write(world, raw, truth)
    except OSError as error:
        raise UserError(f"nothing was changed, for this went wrong: {error}") from None


def _data() -> params.Data:
    features = contract.from_dict(FEATURES)
    return params.Data(id=ID, label=LABEL, label_delay=LABEL_DELAY, features=features)


def _notes(world: World, written: Written, gate_f1: float) -> list[str]:
    """What a person should know, a line each."""
    span = f"{world.name(0)}..{world.name(world.months - 1)}"
    lowest, highest = min(written.churned), max(written.churned)
    known, best = world.name(world.months - 1 - LABEL_DELAY), min(written.best_f1)
    return [
        f"scenario {world.scenario}: {world.story()}",
        f"{span}: {world.rows:,} rows each, {lowest:.1%} to {highest:.1%} churned",
        f"label_delay {LABEL_DELAY}: the newest month with labels is {known}",
        f"gate_f1 {gate_f1:g}: {GATE_SHARE:g} of what the true probabilities reach ({best:.2f})",
        "data/truth holds the true probabilities",
    ]


def world_of(typed: Mapping[str, str]) -> World:
    """The world that was typed: what was left out adapts to what was not.

    Raises:
        UserError: there is no such world, or two options contradict each other.
    """
    numbers = {name: _number(name.upper(), typed[name]) for name in _NUMBERS if name in typed}
    scenario = typed.get("scenario", "broken" if "kind" in typed else World.scenario)
    if "onset" in numbers and scenario in STEADY:
        changing = ", ".join(name for name in SCENARIOS if name not in STEADY)
        raise UserError(
            f"ONSET={numbers['onset']} means nothing for SCENARIO={scenario}: leave it out, or "
            f"name one of {changing}"
        )
    if "months" not in numbers:  # as many after the onset as there are by default
        after = numbers.get("onset", World.onset) + World.months - World.onset
        numbers["months"] = min(max(World.months, after), MONTHS[1])
    if "onset" not in numbers:  # with months before it and after it
        numbers["onset"] = min(World.onset, max(1, numbers["months"] // 2))
    return World(scenario=scenario, kind=typed.get("kind"), **numbers)


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{name}={text} is no whole number: {USAGE}") from None


def main() -> None:
    """Simulate what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m data.simulate", usage=USAGE)
    for name in ("scenario", "kind", *_NUMBERS):
        parser.add_argument(f"--{name}")
    asked = {name: text for name, text in vars(parser.parse_args()).items() if text is not None}
    simulate(world_of(asked), files.PARAMS, RAW, TRUTH)


if __name__ == "__main__":
    errors.run(main)
