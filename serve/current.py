"""The model that a worker answers with: taken from its place, and changed between two requests."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serve import place
from serve.rows import Contract
from stages.shared import servable
from stages.shared.errors import UserError
from stages.shared.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stages.shared.servable import Servable


PAUSE = 1.0  # seconds before a model that could not be taken is tried again


@dataclass(frozen=True)
class Model:
    """A model and what it says of itself: never one without the other."""

    version: int
    digest: str
    since: str
    threshold: float
    contract: Contract
    servable: Servable
    facts: dict[str, Any]  # current.json


class Current:
    """The model in place; asks the disk before every request whether it still is."""

    def __init__(self, folder: Path, swapped: Callable[[Model], None]) -> None:
        """Begin without a model.

        Args:
            folder: see `serve.place`.
            swapped: called with every model that is taken.
        """
        self.trouble: str | None = None  # why the newest model could not be taken
        self._folder, self._path = folder, str(folder / place.CURRENT)
        self._swapped, self._lock = swapped, threading.Lock()
        self._model: Model | None = None
        self._seen: tuple[int, int] | None = None
        self._again = 0.0  # when a model that could not be taken is tried again

    def model(self) -> Model | None:
        """The model to answer this request with; None if there never was one."""
        try:
            stat = os.stat(self._path)  # noqa: PTH116 - for every request: half the time of Path's
        except OSError:
            return self._model
        seen = (stat.st_mtime_ns, stat.st_ino)
        if seen != self._seen:
            with self._lock:  # others wait: the first model may be on its way
                if seen != self._seen and time.monotonic() >= self._again:
                    self._seen = seen if self._take() else None
        return self._model

    def _take(self) -> bool:
        facts = place.read(self._folder, place.CURRENT)
        try:
            if facts is None:
                raise UserError(f"{place.CURRENT} is damaged")
            model = load(self._folder, facts)
        except Exception as error:
            self.trouble = f"{type(error).__name__}: {error}"
            self._again = time.monotonic() + PAUSE
            why = printable(str(error))
            print(f"serve: the new model cannot be taken: {why}", file=sys.stderr, flush=True)
            return False
        self._model, self.trouble = model, None
        self._swapped(model)
        return True


def load(folder: Path, facts: dict[str, Any]) -> Model:
    """The model that ``facts`` of current.json name."""
    return Model(
        version=facts["version"],
        digest=facts["digest"],
        since=facts["since"],
        threshold=facts["decision_threshold"],
        contract=Contract(facts["id"], facts["features"]),
        servable=servable.load(folder / facts["folder"], facts["files"]),
        facts=facts,
    )
