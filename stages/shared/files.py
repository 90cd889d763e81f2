"""Where everything lies, and how it is written: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.shared.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[2]

PARAMS = ROOT / "params.yaml"
LOCK = ROOT / "dvc.lock"
MONTHS = ROOT / "data" / "months"
REJECTED = ROOT / "data" / "rejected"
TRAIN = ROOT / "data" / "train.parquet"
HOLDOUT = ROOT / "data" / "holdout.parquet"
# Remembered comparisons: only ever a shortcut, safe to delete, no output of any stage.
MEMORY = ROOT / "data" / "memory"
CANDIDATE = ROOT / "models" / "candidate"
REPORTS = ROOT / "reports"
PLOTS = REPORTS / "plots"
DRIFT_HTML = REPORTS / "drift.html"

SCORE_DIGITS = 10  # of a probability: far beyond what it means, far above what processors differ by


def home() -> Path:
    """The clone's root, also from a copy of it in which DVC runs an experiment.

    ``dvc exp run --temp`` and the queue copy the workspace to ``.dvc/tmp/exps/<name>``; what is
    not part of an experiment (the registry, its ledger) lies in the clone that they came from.
    """
    for folder in ROOT.parents:
        if (
            folder.name == "exps"
            and folder.parent.name == "tmp"
            and folder.parents[1].name == ".dvc"
        ):
            return folder.parents[2]
    return ROOT


def relative(path: Path) -> str:
    """``path`` as a person reads it: from the repository's root where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def inside(root: Path, *parts: str) -> Path:
    """The path of ``parts`` below ``root``, proven to lie there, whatever its folders link to.

    Whoever writes or removes a path that was made of a value from outside asks here first. The
    last part may be a link itself: `remove` then removes the link.

    Raises:
        UserError: it is ``root`` itself, or lies elsewhere.
    """
    path = root.joinpath(*parts)
    try:
        real, home = path.parent.resolve(), root.resolve()
        found = bool(parts) and path.name not in {"", ".."} and "\0" not in path.name
        found = found and real.is_relative_to(home)
    except (OSError, ValueError, RuntimeError):  # a null character; a link to itself
        found = False
    if not found:
        name = ascii("/".join(parts))[:80]
        raise UserError(f"{name} does not lie inside {relative(root)}: nothing was touched")
    return path


def remove(root: Path, *parts: str) -> None:
    """Remove the file or folder of ``parts`` below ``root``; what is not there is no error.

    Raises:
        UserError: see `inside`.
    """
    path = inside(root, *parts)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; move it there only if the block ends well.

    A kill or an error leaves ``path`` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def own(path: Path) -> None:
    """Part a file from those that are the same by a hard link, as `cp -al` makes them.

    For what is written in place: what is replaced as a whole parts by itself.
    """
    if path.is_file() and not path.is_symlink() and path.stat().st_nlink > 1:
        with replacing(path) as temporary:
            shutil.copy2(path, temporary)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON that a person and `diff` can read; NaN and infinity are refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def report(path: Path) -> dict[str, Any]:
    """A report of a stage's; empty where it is not there, or is no JSON object.

    Raises:
        UserError: it is no JSON.
    """
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        UserError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{relative(path)} is missing: type `dvc repro` to make it") from None
    except ValueError as error:
        raise UserError(
            f"{relative(path)} cannot be read ({error}): delete it and type `dvc repro`"
        ) from None


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key(*parts: object) -> str:
    """SHA-256 of JSON values: equal parts give equal keys, on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def rounded(value: float, digits: int = 6) -> float:
    """``value`` as reports give it: without the last bits, which differ from CPU to CPU.

    What decides something is rounded first, so that the report and the decision agree.
    """
    return round(float(value), digits) + 0.0  # + 0.0: no "-0.0"


def rounded_scores(probabilities: Floats) -> Floats:
    """Probabilities without their last bits, before they are ranked, averaged or kept; same shape.

    The exponential behind them has several versions in numpy, in the C library and in BLAS, one
    for each kind of processor. They differ in the last bit, and so would the ties among scores.
    """
    return probabilities.round(SCORE_DIGITS)
