"""The judge that the fold asks: months read from files, answers remembered."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from stages.shared import contract, feed, files, memory, months, window

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from stages.shared.contract import Names
    from stages.shared.fold import Window
    from stages.shared.judging import World
    from stages.shared.params import Drift

REMEMBERED = files.MEMORY / "drift.json"
_OURS = [
    f"stages.shared.{name}"
    for name in (
        "coding", "comparisons", "contract", "distances", "evidently_page", "feed", "judging",
        "movement", "policy", "scorer", "split", "window",
    )
]  # fmt: skip
_THEIRS = ["evidently", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy"]
# The parameters that no answer depends on: they decide what follows from it.
_OF_THE_FOLD = {
    "accepted", "growth", "holdout", "max_age_months", "min_rows", "trigger", "window_months",
}  # fmt: skip


class Comparisons:
    """Answers a fold's questions (see `fold.Judge`) from the months that ingest left."""

    def __init__(
        self, names: Names, p: Drift, newest: str, folder: Path = files.MONTHS,
        remembered: Path = REMEMBERED, page: Path | None = files.DRIFT_HTML,
    ) -> None:  # fmt: skip
        """Begin with what is remembered.

        Args:
            names: of the columns.
            p: section ``drift`` of params.yaml.
            newest: the month whose comparison gets a page of Evidently's.
            folder: where the months lie.
            remembered: where answers are kept.
            page: where the page goes; None for nowhere.
        """
        self.names, self.p, self.newest = names, p, newest
        self._folder, self._file, self._page = folder, remembered, page
        self._remembered = memory.recall(remembered)
        self._used: dict[str, Any] = {}
        self.basis = files.key(
            names.id,
            names.label,
            contract.to_dict(names.features),
            p.model_dump(mode="json", exclude=_OF_THE_FOLD),
            memory.code_key(_OURS, _THEIRS),
        )
        self._world = lru_cache(2)(self._learn)  # many months are held against one window

    def broken(self, before: str, month: str) -> dict[str, str]:
        """The month's columns whose feed broke since the month ``before``, each with the sign."""
        key = self._key("broken", [before, month], self._features_digest)
        return dict(self._answer(key, lambda: self._broken(before, month)))

    def columns(self, against: Window, month: str) -> dict[str, dict[str, Any]]:
        """How far each column moved from the window, and whether that is an alarm."""
        # Of the window the labels too: they say which columns matter.
        key = files.key(
            self._key("columns", against, self._digest),
            self._key("", [month], self._features_digest),
        )
        found: dict[str, dict[str, Any]] = self._answer(key, lambda: self._columns(against, month))
        # Of the window alone: a fold may ask about other months afterwards.
        if month == self.newest and self._page and "page" not in self._used:
            if not (self._page.is_file() and self.recall("page") == key):
                self._write_page(against, month)
            self.note("page", key)
        return found

    def labels(self, against: Window, month: str) -> dict[str, Any] | None:
        """Whether the month's labels are of the window's world."""
        key = self._key("labels", [*against, month], self._digest)
        found: dict[str, Any] | None = self._answer(key, lambda: self._labels(against, month))
        return found

    def recall(self, key: str) -> Any:
        """What is remembered under ``key``, or None."""
        return self._used.get(key, self._remembered.get(key))

    def note(self, key: str, value: object) -> None:
        """Have ``value`` remembered under ``key``."""
        self._used[key] = value

    def keep(self) -> None:
        """Keep what this run used, and nothing older."""
        memory.remember(self._file, self._used)

    def _answer(self, key: str, work_out: Any) -> Any:
        found = self.recall(key)
        if found is None:
            found = {"answer": work_out()}
        self.note(key, found)
        return found["answer"]

    def _key(self, what: str, chosen: Any, digest: Any) -> str:
        return files.key(what, list(chosen), [digest(month) for month in chosen], self.basis)

    def _digest(self, month: str) -> str:
        """A digest of a month with its labels."""
        return files.sha256(window.month_path(month, self._folder))

    def _features_digest(self, month: str) -> str:
        """A digest of a month's features alone: labels that arrive later leave it as it is."""
        path = window.month_path(month, self._folder)
        key = files.key("features", files.sha256(path), self.basis)
        found = self.recall(key) or window.columns_digest(path, list(self.names.features))
        self.note(key, found)
        return str(found)

    def _broken(self, before: str, month: str) -> dict[str, str]:
        old, new = self._rows((before,), before), self._rows((month,), before)
        features = self.names.features
        found = {name: feed.broken(old[name], new[name], f) for name, f in features.items()}
        return {name: why for name, why in found.items() if why}

    def _columns(self, against: Window, month: str) -> dict[str, dict[str, Any]]:
        from stages.shared import distances, judging  # seconds, and 200 MB

        print(f"  holding {month} against {months.span(against)}", flush=True)
        world, names, p = self._world(against), self.names, self.p
        worth = self._answer(
            self._key("importances", against, self._digest),
            lambda: judging.importances(world, names, p),
        )
        rows = self._rows((month,), against[-1])
        moved = judging.columns(world, rows, worth, names, p)
        far = distances.measure(self._drawn(world.window), self._drawn(rows), names.features, p)
        return judging.alarms(far, moved, p)

    def _labels(self, against: Window, month: str) -> dict[str, Any] | None:
        from stages.shared import judging

        print(f"  holding the labels of {month} against {months.span(against)}", flush=True)
        rows = self._rows((month,), against[-1])
        return judging.labels(self._world(against), rows, self.names, self.p)

    def _write_page(self, against: Window, month: str) -> None:
        from stages.shared import distances

        assert self._page is not None  # noqa: S101 - asked before
        before = self._drawn(self._rows(against, against[-1]))
        now = self._drawn(self._rows((month,), against[-1]))
        distances.write_page(before, now, self.names.features, self.p, self._page)

    def _learn(self, against: Window) -> World:
        from stages.shared import judging

        return judging.learn(self._rows(against, against[-1]), self.names, self.p)

    def _drawn(self, rows: pa.Table) -> pa.Table:
        """What Evidently sees."""
        return window.draw(rows, self.p.sample_rows, self.p.seed)

    def _rows(self, chosen: Window, measure: str) -> pa.Table:
        """Rows of so many customers that the month ``measure`` has `sample_rows`; all, if fewer."""
        names = self.names
        columns = [names.id, names.label, *names.features]
        rows = window.count_rows(window.month_path(measure, self._folder))
        share = window.share_of(rows, self.p.sample_rows)
        return window.with_share(chosen, self._folder, columns, names.id, share)
