"""One history: months that arrive one after the other, the models that could be trained on them.

All that a policy asks for is made by the functions that the stages call, and kept, so that two
policies that come to the same window share its model.
"""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from stages import compare, train
from stages.shared import candidate, contract, ranking, split, window
from stages.shared.comparisons import Comparisons
from stages.shared.fold import Month

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

    from stages.compare import Gain
    from stages.shared.contract import Names
    from stages.shared.fold import Window
    from stages.shared.params import Compare, Drift, Train

    Floats = NDArray[np.float64]


class Settings(NamedTuple):
    """The sections of params.yaml that a history is replayed with."""

    drift: Drift
    train: Train
    compare: Compare


class Trained(NamedTuple):
    """A window, the month of its holdout, and the model."""

    window: Window
    model: Pipeline


class History:
    """Months in a folder, as ingest leaves them, and what is known of them beside."""

    def __init__(
        self, folder: Path, names: Names, label_delay: int, settings: Settings,
        truth: dict[str, Floats] | None,
    ) -> None:  # fmt: skip
        """Take months that are there.

        Args:
            folder: YYYY-MM.parquet files.
            names: of their columns.
            label_delay: months until a month's labels are known.
            settings: how they are judged, and what is trained.
            truth: for each month the true churn probabilities, shape (rows,); None where nobody
                knows them, and labels must do.
        """
        self.folder, self.names, self.settings = folder, names, settings
        self.label_delay, self._truth = label_delay, truth
        self.months = [self._month(path) for path in sorted(folder.glob("*.parquet"))]
        self.judge = Comparisons(
            names, settings.drift, self.months[-1].name, folder, folder / "answers.json", None
        )
        # Each history's own, so that they go with it.
        self._scores = cache(self._scored)
        self.trained = cache(self._trained)
        self.gain = cache(self._gain)
        self.quality = cache(self._quality)

    def _month(self, path: Path) -> Month:
        rows, labelled = window.count(path, self.names.label)
        return Month(path.stem, rows, labelled * 2 > rows)

    @cached_property
    def _frames(self) -> dict[str, tuple[pd.DataFrame, Floats, NDArray[np.bool_], Any]]:
        """For each month the frame that models see, the labels, the holdout, and the ids."""
        p, found = self.settings.drift, {}
        for month in self.months:
            table = pq.read_table(window.month_path(month.name, self.folder))
            ids = table[self.names.id].to_numpy()
            held = split.in_holdout(ids, p.salt, p.holdout_share)
            labels = table[self.names.label].to_numpy().astype(np.float64)
            found[month.name] = (contract.to_frame(table, self.names.features), labels, held, ids)
        return found

    def _trained(self, chosen: Window) -> Pipeline:
        import pandas as pd

        parts = [self._frames[month] for month in chosen]
        learned = [~held & ~np.isnan(labels) for _, labels, held, _ in parts]
        frame = pd.concat([f[of] for (f, *_), of in zip(parts, learned, strict=True)])
        churned = np.concatenate([y[of] for (_, y, *_), of in zip(parts, learned, strict=True)])
        return train.fit(frame, churned.astype(np.int8), self.names.features, self.settings.train)

    def _scored(self, chosen: Window, month: str) -> Floats:
        return candidate.churn_probability(self.trained(chosen), self._frames[month][0])

    def _gain(self, ours: Window, theirs: Window, judging: Window, on_holdout: bool) -> Gain:
        """What `compare` measures: two models on the holdout customers of some months.

        Or, without ``on_holdout``, on those customers whom models learn from: the mistake that the
        split is there to prevent.
        """
        parts = [self._frames[month] for month in judging]
        of = np.concatenate(
            [(held == on_holdout) & ~np.isnan(labels) for _, labels, held, _ in parts]
        )
        ids = np.concatenate([customers for *_, customers in parts])[of]
        labels = np.concatenate([labels for _, labels, _, _ in parts])[of]
        ours_s, theirs_s = (
            np.concatenate([self._scores(w, month) for month in judging])[of]
            for w in (ours, theirs)
        )
        return compare.measure(
            labels.astype(np.int8), ranking.codes(ids), ours_s, theirs_s, self.settings.compare
        )

    def _quality(self, chosen: Window, month: str) -> float | None:
        """The AUC of a model on all of a month's customers; of the true probabilities if known."""
        return self._auc(self._scores(chosen, month), month)

    def best(self, month: str) -> float | None:
        """The AUC of the true probabilities; None where nobody knows them."""
        return self._auc(self._truth[month], month) if self._truth else None

    def _auc(self, scores: Floats, month: str) -> float | None:
        if self._truth is None:
            _, labels, *_ = self._frames[month]
            known = ~np.isnan(labels)
            if not 0 < np.nansum(labels) < known.sum():
                return None
            return ranking.auc(labels[known].astype(np.int8), scores[known])
        return expected_auc(scores, self._truth[month])


def expected_auc(scores: Floats, truth: Floats) -> float:
    """The AUC of scores where each row churns with a known probability.

    Every row counts as one that churned with weight p and as one that stayed with weight 1 - p:
    the chance of the labels is gone, and what differs between two models is the models.

    Args:
        scores: shape (n,).
        truth: shape (n,), the true churn probabilities.
    """
    twice = np.concatenate([scores, scores])
    churned = np.repeat(np.array([1, 0], dtype=np.int8), len(scores))
    return ranking.auc(churned, twice, np.concatenate([truth, 1 - truth]))


def write(folder: Path, months: Iterable[tuple[str, Any]], names: Names) -> None:
    """Write months as ingest leaves them: the contract's types, labels that may be missing."""
    import pyarrow as pa

    types = contract.arrow_types(names.features)
    types |= {names.id: pa.string(), names.label: pa.int8()}
    for name, table in months:
        typed = pa.table({column: table[column].cast(kind) for column, kind in types.items()})
        pq.write_table(typed, window.month_path(name, folder))
