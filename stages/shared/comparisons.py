"""Months held against windows: each pair is measured once, and remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.shared import contract, files, memory, months, window

if TYPE_CHECKING:
    from stages.shared.contract import Feature
    from stages.shared.params import Drift

REMEMBERED = files.MEMORY / "drift.json"
_OURS = [
    f"stages.shared.{name}" for name in ("comparisons", "contract", "distances", "split", "window")
]
_THEIRS = ["evidently", "numpy", "pandas", "pyarrow", "scipy"]
_SETTINGS = {  # the parameters that a comparison depends on
    "category_method",
    "category_threshold",
    "columns",
    "number_method",
    "number_threshold",
    "sample_rows",
    "seed",
    "threshold",
}


class Comparisons:
    """Measures months against windows with Evidently, and remembers what came out."""

    def __init__(self, features: dict[str, Feature], p: Drift, newest: str) -> None:
        self.features, self.p, self.newest = features, p, newest
        self._remembered = memory.recall(REMEMBERED)
        self._used: dict[str, Any] = {}
        self.basis = files.key(
            contract.to_dict(features),
            p.model_dump(include=_SETTINGS),
            memory.code_key(_OURS, _THEIRS),
        )

    def judge(self, against: tuple[str, ...], month: str) -> dict[str, dict[str, Any]]:
        """Each column's distance from the window ``against`` to ``month``, as plain values."""
        digests = [self._features_digest(name) for name in (*against, month)]
        key = files.key("distances", against, month, digests, self.basis)
        found = self.recall(key)
        is_newest = month == self.newest
        if found is None or (is_newest and not self._has_page(key)):
            found = self._measure(against, month, page=is_newest)
        if is_newest:
            self.note("page", key)
        self.note(key, found)
        distances: dict[str, dict[str, Any]] = found
        return distances

    def recall(self, key: str) -> Any:
        """What is remembered under ``key``, or None."""
        return self._remembered.get(key)

    def note(self, key: str, value: object) -> None:
        """Have ``value`` remembered under ``key``."""
        self._used[key] = value

    def keep(self) -> None:
        """Keep what this run used, and nothing older."""
        memory.remember(REMEMBERED, self._used)

    def _has_page(self, key: str) -> bool:
        return files.DRIFT_HTML.is_file() and self.recall("page") == key

    def _features_digest(self, month: str) -> str:
        """A digest of a month's features alone: labels that arrive later leave it as it is."""
        path = window.month_path(month, files.MONTHS)
        key = files.key("features", files.sha256(path), self.basis)
        found = self.recall(key) or window.columns_digest(path, list(self.features))
        self.note(key, found)
        return str(found)

    def _measure(self, against: tuple[str, ...], month: str, *, page: bool) -> dict[str, Any]:
        from stages.shared import distances  # Evidently: seconds, and 200 MB

        print(f"  holding {month} against {months.span(against)}", flush=True)
        columns, rows, seed = list(self.features), self.p.sample_rows, self.p.seed
        return distances.measure(
            window.sample(against, files.MONTHS, columns, rows, seed),
            window.sample([month], files.MONTHS, columns, rows, seed),
            self.features,
            self.p,
            files.DRIFT_HTML if page else None,
        )
