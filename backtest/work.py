"""What is to be worked out, piece by piece: in parallel, with progress, and kept as it is done."""

from __future__ import annotations

import ast
import gc
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from backtest import calibration, cases
from stages.shared import files, memory, params

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from backtest.calibration import Question
    from backtest.cases import Case

KEPT = files.MEMORY / "backtest"
_SHARED = ("candidate", "coding", "comparisons", "contract", "distances", "feed", "fold",
           "judging", "months", "movement", "ranking", "scorer", "split", "window")  # fmt: skip
_BACKTEST = ("calibration", "cases", "history", "measures", "policies")
_SIMULATION = ("churn", "columns", "months", "population", "scenarios")
_SOURCES = [
    *(f"stages/shared/{name}.py" for name in _SHARED),
    *(f"backtest/{name}.py" for name in _BACKTEST),
    *(f"data/simulation/{name}.py" for name in _SIMULATION),
    "data/cdnow.py", "stages/compare.py", "stages/train.py",
]  # fmt: skip
_THEIRS = ["evidently", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy"]
AT_ONCE = 10  # panels of one question that are one piece of work

Piece = tuple[str, tuple[Any, ...]]


def run(pieces: Sequence[Piece], workers: int, say: Callable[[str], None]) -> dict[Piece, Any]:
    """Work out all pieces; what was worked out before, by the same code, is taken from the disk.

    Args:
        pieces: a function's name in this module, and its arguments.
        workers: processes.
        say: told of the progress.
    """
    paths = places(pieces)
    found = {piece: files.read_json(path) for piece, path in paths.items() if path.is_file()}
    todo = [piece for piece in pieces if piece not in found]
    if found:
        say(f"{len(found)} of {len(pieces)} pieces were worked out before")
    begun = time.monotonic()
    # Processes of their own, no copies of this one: it may have threads.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(_work, piece, paths[piece]): piece for piece in todo}
        for done, future in enumerate(as_completed(running), start=1):
            found[running[future]] = future.result()
            left = (time.monotonic() - begun) / done * (len(todo) - done)
            what, arguments = running[future]
            named = arguments[0].name if what == "history" else arguments[0]
            say(f"{done} of {len(todo)}: {what} {named}; some {left / 60:.0f} min left")
    return {piece: found[piece] for piece in pieces}  # in whatever order they were done


def places(pieces: Sequence[Piece]) -> dict[Piece, Path]:
    """Where each piece is kept: under a name of all that it depends on."""
    data = params.data()
    # Of the default customers `cdnow` has all months, whatever has arrived.
    months = sorted(files.MONTHS.glob("*.parquet")) if data.source != "cdnow" else []
    basis = files.key(
        [_code(files.ROOT / name) for name in _SOURCES],
        memory.code_key([], _THEIRS),
        [section.model_dump(mode="json") for section in cases.settings()],
        data.model_dump(mode="json"),
        [files.sha256(month) for month in months],
    )
    return {piece: KEPT / f"{files.key(basis, str(piece))[:32]}.json" for piece in pieces}


def _code(path: Path) -> str:
    """A module without its comments and docstrings: hours of work do not hang on a word."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _work(piece: Piece, path: Path) -> Any:
    what, arguments = piece
    found = _WORK[what](*arguments)
    files.write_json(path, found)
    gc.collect()  # a history is a ring of months and models, which takes 80 MB
    return found


def history(case: Case) -> dict[str, dict[str, Any]]:
    """All policies on one history."""
    return cases.replay(case, cases.settings())


def panels(question: Question, first: int) -> list[dict[str, bool]]:
    """Some panels of one question."""
    last = min(first + AT_ONCE, question.repetitions)
    return [calibration.ask(question, seed, cases.settings().drift) for seed in range(first, last)]


def labels(rows: int, first: int) -> list[dict[str, bool]]:
    """Some worlds in which nothing changes."""
    seeds = range(first, first + AT_ONCE)
    return [calibration.ask_labels(rows, seed, cases.settings().drift) for seed in seeds]


def gate(rows: int, gain: float) -> float:
    """The gate's rate of promotion."""
    return calibration.ask_gate(rows, gain, cases.settings().compare)


_WORK: dict[str, Callable[..., Any]] = {
    "history": history, "panels": panels, "labels": labels, "gate": gate,
}  # fmt: skip
