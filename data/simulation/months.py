"""The rows of a simulated world, month by month."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.simulation import churn, columns, population

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    from data.simulation.columns import Columns
    from data.simulation.population import Floats, Ints, Subscribers
    from data.simulation.scenarios import World

ID, LABEL = "user_id", "churned"

# Subscribers who are drawn together. Another size draws other subscribers.
CHUNK = 50_000

_STREAMS = ("population", "stalls", "skips", "losses", "gone", "churn")


class Month(NamedTuple):
    """The rows of one month, or a chunk of them.

    Attributes:
        name: YYYY-MM.
        table: user_id, the features, and churned (int8), known or not.
        truth: shape (rows,), the true churn probabilities.
    """

    name: str
    table: pa.Table
    truth: Floats


def months(world: World) -> Iterator[Month]:
    """One month after the other, each with all its rows."""
    for parts in zip(*chunks(world), strict=True):
        table = pa.concat_tables([part.table for part in parts]).combine_chunks()
        yield Month(parts[0].name, table, np.concatenate([part.truth for part in parts]))


def chunks(world: World) -> Iterator[Iterator[Month]]:
    """The same rows, CHUNK subscribers at a time, each over all months: for any number of rows."""
    for number, first in enumerate(range(0, world.rows, CHUNK)):
        places = np.arange(first, min(first + CHUNK, world.rows))
        yield _chunk(world, number, places)


def _chunk(world: World, number: int, places: Ints) -> Iterator[Month]:
    """The months of one chunk; what is drawn depends on the seed, its number, and the month."""
    now, gone = None, np.zeros(len(places), dtype=bool)
    for month in range(world.months):
        rngs = _generators(world.seed, number, month)
        if now is None:
            now = population.settled(len(places), rngs["population"])
        else:
            now = population.next_month(now, gone, rngs["population"])
        gone = rngs["gone"].random(len(places)) < population.GONE
        yield _month(world, month, places, now, gone, rngs)


def _month(
    world: World,
    month: int,
    places: Ints,
    now: Subscribers,
    gone: NDArray[np.bool_],
    rngs: dict[str, Generator],
) -> Month:
    change = world.change(month)
    true = columns.observe(now, change, rngs["stalls"], rngs["skips"])
    truth = churn.probability(true, change)
    # Who is gone has churned; the others do with what is left of their probability.
    rest = (truth - population.GONE) / (1 - population.GONE)
    churned = gone | (rngs["churn"].random(len(places)) < rest)
    arrived = columns.through_feed(true, change, rngs["losses"])
    ids = places + 1 + world.rows * now.generation  # nobody else ever has it
    return Month(world.name(month), _table(ids, arrived, churned), truth)


def _generators(*seed: int) -> dict[str, Generator]:
    spawned = np.random.SeedSequence(seed).spawn(len(_STREAMS))
    return {n: np.random.default_rng(s) for n, s in zip(_STREAMS, spawned, strict=True)}


def _table(ids: Ints, arrived: Columns, churned: NDArray[np.bool_]) -> pa.Table:
    digits = pc.utf8_lpad(pa.array(ids).cast(pa.string()), 7, "0")
    table = {
        ID: pc.binary_join_element_wise("u", digits, ""),
        **{name: pa.array(values, from_pandas=True) for name, values in arrived.items()},
        LABEL: pa.array(churned.astype(np.int8)),
    }
    return pa.table(table)
