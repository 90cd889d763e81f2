"""The files of a simulated world: snapshots as CSV, and the truth beside them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from data.simulation.columns import FEATURES
from data.simulation.months import ID, LABEL, chunks

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from data.simulation.months import Month
    from data.simulation.population import Floats
    from data.simulation.scenarios import World

LABEL_DELAY = 3  # months until a month's labels are known
HEADER = ",".join([ID, *FEATURES, LABEL]) + "\n"
TRUTH = pa.schema([(ID, pa.string()), ("probability", pa.float64()), (LABEL, pa.int8())])
PLAIN = csv.WriteOptions(include_header=False, quoting_style="none")


class Written(NamedTuple):
    """What was written."""

    snapshots: list[Path]  # oldest first
    churned: list[float]  # share of the rows, by month with labels, as are the next
    best_f1: list[float]  # that the true probabilities reach


class _Files(NamedTuple):
    snapshot: BinaryIO
    truth: parquet.ParquetWriter


def write(world: World, raw: Path, truth: Path) -> Written:
    """Write all months, a chunk of the subscribers after the other.

    Args:
        world: what to simulate.
        raw: an empty folder; gets YYYY-MM.csv, the newest LABEL_DELAY without labels.
        truth: an empty folder; gets YYYY-MM.parquet with id, probability and label of every row.
    """
    names = [world.name(month) for month in range(world.months)]
    labelled = names[: len(names) - LABEL_DELAY]
    churned, best = dict.fromkeys(labelled, 0), dict.fromkeys(labelled, 1.0)
    with ExitStack() as stack:
        out = {name: _open(name, raw, truth, stack) for name in names}
        for chunk in chunks(world):
            for month in chunk:
                _append(month, out[month.name], labels=month.name in churned)
                if month.name in churned:
                    churned[month.name] += pc.sum(month.table[LABEL]).as_py()
                    best[month.name] = min(best[month.name], best_f1(month.truth))
    return Written(
        [raw / f"{name}.csv" for name in names],
        [count / world.rows for count in churned.values()],
        list(best.values()),
    )


def _open(name: str, raw: Path, truth: Path, stack: ExitStack) -> _Files:
    snapshot = stack.enter_context((raw / f"{name}.csv").open("wb"))
    snapshot.write(HEADER.encode())
    writer = parquet.ParquetWriter(truth / f"{name}.parquet", TRUTH, use_dictionary=[LABEL])
    return _Files(snapshot, stack.enter_context(writer))


def _append(month: Month, out: _Files, *, labels: bool) -> None:
    table, at = month.table, month.table.column_names.index(LABEL)
    known = pa.table([table[ID], month.truth, table[LABEL]], schema=TRUTH)
    out.truth.write_table(known)
    if not labels:
        table = table.set_column(at, LABEL, pa.nulls(len(table), pa.int8()))
    csv.write_csv(table, out.snapshot, PLAIN)


def best_f1(probabilities: Floats) -> float:
    """The greatest F1 to expect of any decision: say churn where the true probability is highest.

    Args:
        probabilities: shape (n,).
    """
    found = np.cumsum(np.sort(probabilities)[::-1])
    said = np.arange(1, len(found) + 1)
    return float((2 * found / (said + found[-1])).max())
