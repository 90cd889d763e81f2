"""The copy of the ledger beside DVC's files: what `make restore` rebuilds a lost registry from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.registry import ledger
from stages.shared import files
from stages.shared.errors import UserError


def path() -> Path:
    """Where it lies: one for a clone, whatever copy of it an experiment runs in."""
    return files.home() / "models" / "ledger.jsonl"


def read() -> list[ledger.Event]:
    """The events in the copy; none if there is no copy.

    Raises:
        UserError: it cannot be read, or its chain is broken.
    """
    try:
        lines = path().read_text(encoding="utf-8").split("\n")
        events = [ledger.from_text(line) for line in lines if line]
    except FileNotFoundError:
        return []
    except OSError as error:  # a folder, a link to itself, no rights
        raise UserError(_damaged(error.strerror or type(error).__name__)) from None
    except ValueError as error:
        raise UserError(_damaged(str(error))) from None
    if broken := ledger.broken_at(events):
        raise UserError(_damaged(f"its chain is broken at event {broken}"))
    return events


def refresh(events: Sequence[ledger.Event]) -> None:
    """Write ``events`` to the copy if they continue it; a copy that knows more is never lost."""
    copied = read()
    if len(events) > len(copied) and list(events[: len(copied)]) == copied:
        text = "".join(f"{ledger.to_text(event)}\n" for event in events)
        files.write_bytes(path(), text.encode())


def check(copied: Sequence[ledger.Event], kept: Sequence[ledger.Event]) -> None:
    """Hold the registry's own events against the copy, which was read before them.

    Raises:
        UserError: the copy knows events that the registry has lost, or they tell another story.
    """
    n = len(kept)
    if list(copied[:n]) != list(kept[: len(copied)]):
        raise UserError(
            f"{files.relative(path())} is the ledger of another registry than the one at hand: "
            "move the file away if this registry is the right one, or set MLFLOW_TRACKING_URI",
            "ledger_other",
        )
    if len(copied) > n:
        last = copied[-1]
        raise UserError(
            f"the registry has lost {len(copied) - n} of {len(copied)} events of its ledger "
            f"(the last put version {last.to_version} into production): type `make restore`",
            "ledger_lost",
        )


def _damaged(why: str) -> str:
    where = files.relative(path())
    return f"{where} is damaged ({why}): move it away; the registry's own ledger is copied anew"
