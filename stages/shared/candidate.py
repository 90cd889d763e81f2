"""A candidate is a folder of a few files, and is known by their digest.

``model.skops`` the fitted scikit-learn pipeline, without pickle; ``model.json`` its card: contract,
window, split, estimator, decision threshold; ``golden.json`` some rows with the probabilities that
the model gave them, so that whoever loads it elsewhere can tell that it still is the same model;
``servable.json`` and, for trees, ``servable.onnx`` and ``treeshap.txt`` the form that the server
loads.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.shared import contract, files, identifiers, servable
from stages.shared.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator

MODEL, CARD, GOLDEN = "model.skops", "model.json", "golden.json"
SCRATCH = ".candidate-"  # folders that are being filled, or that a kill left so
ALWAYS, SOMETIMES = (CARD, GOLDEN, MODEL), servable.FILES

# What a saved model may hold beside skops' own list of scikit-learn's types. All three are plain
# data; nothing here can name a function to be called on loading.
TRUSTED_TYPES = [
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]

# The time that a zip member bears: any fixed one, so that equal models are equal bytes.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Candidate:
    """A model that was read from its folder."""

    digest: str
    card: dict[str, Any]
    model: BaseEstimator

    @property
    def features(self) -> dict[str, contract.Feature]:
        """The columns that the model takes, in its order."""
        return contract.from_dict(self.card["features"])

    def probabilities(self, rows: pa.Table) -> NDArray[np.float64]:
        """The churn probability of each row, through the model's own preprocessing; shape (n,)."""
        return churn_probability(self.model, contract.to_frame(rows, self.features))


def churn_probability(model: BaseEstimator, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Probability of the positive class (the label's 1); shape (n,)."""
    of_both: NDArray[np.float64] = model.predict_proba(frame)
    return of_both[:, list(model.classes_).index(1)]


def digest(folder: Path) -> str:
    """SHA-256 over the names and SHA-256 of the files, in hexadecimal.

    Raises:
        UserError: a file is missing.
    """
    for name in ALWAYS:
        if not (folder / name).is_file():
            missing = files.relative(folder / name)
            raise UserError(f"{missing} is missing: type `dvc repro train` to make it")
    names = (*ALWAYS, *(name for name in SOMETIMES if (folder / name).is_file()))
    return files.key([(name, files.sha256(folder / name)) for name in names])


def keep(source: Path, root: Path, expected: str) -> Path:
    """Copy a candidate's files, and no others, to ``root/expected``: all of them or none.

    Args:
        source: the candidate's folder.
        root: where to.
        expected: the digest that the copy must have.

    Raises:
        UserError: a file is missing, or the copy has another digest; ``root`` is as it was.
        OSError: so is it where the disk is full.
    """
    target = files.inside(root, identifiers.digest(expected))
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=SCRATCH) as scratch:
        copy = Path(scratch) / "copy"
        copy.mkdir()
        for name in (*ALWAYS, *SOMETIMES):
            if (source / name).is_file():
                shutil.copyfile(source / name, copy / name)
                with (copy / name).open("rb") as file:
                    os.fsync(file.fileno())
        found = digest(copy)
        if found != expected:
            raise UserError(
                f"{files.relative(source)} holds candidate {found[:12]}, not {expected[:12]}"
            )
        files.remove(root, target.name)
        copy.replace(target)
    return target


def save(
    folder: Path,
    model: BaseEstimator,
    card: dict[str, Any],
    golden: dict[str, Any],
    served: tuple[servable.Plan, bytes | None] | None = None,
    explained: str | None = None,
) -> str:
    """Write the files and return their digest; equal arguments give equal bytes.

    Args:
        folder: where to.
        model: fitted; its ``predict`` applies the decision threshold.
        card: see the module.
        golden: ``rows``, and the ``probabilities`` that the model gives them.
        served: as `export.servable` makes it.
        explained: as `treeshap.of_estimator` makes it.
    """
    import skops.io

    files.write_bytes(folder / MODEL, canonical(skops.io.dumps(model)))
    files.write_json(folder / CARD, card)
    files.write_json(folder / GOLDEN, golden)
    if served:
        plan, trees = served
        files.write_json(folder / servable.PLAN, servable.to_json(plan))
        if trees is not None:
            files.write_bytes(folder / servable.TREES, trees)
    if explained:
        files.write_bytes(folder / servable.SHAP, explained.encode())
    return digest(folder)


def load(folder: Path) -> Candidate:
    """Read a candidate; nothing in its files is ever executed.

    Raises:
        UserError: a file is missing or damaged, or holds a type that no model of ours has.
    """
    import skops.io

    found = digest(folder)
    card = files.read_json(folder / CARD)
    try:
        model = skops.io.load(folder / MODEL, trusted=TRUSTED_TYPES)
    except Exception as error:  # zip, json, numpy and skops each have their own for a damaged file
        what = " ".join(str(error).split())
        where = files.relative(folder / MODEL)
        raise UserError(f"{where} cannot be loaded ({what}): type `dvc repro train`") from error
    loaded = Candidate(found, card, model)
    _check_golden(loaded, files.read_json(folder / GOLDEN))
    return loaded


def _check_golden(loaded: Candidate, golden: dict[str, Any]) -> None:
    """Refuse a model that does not answer as it did when it was trained."""
    import sklearn

    if not golden.get("rows"):
        return
    now = loaded.probabilities(contract.to_table(golden["rows"], loaded.features))
    if max(abs(now - golden["probabilities"])) > servable.TOLERANCE:
        raise UserError(
            f"candidate {loaded.digest[:12]} gives other probabilities than when it was trained: "
            f"with scikit-learn {loaded.card.get('scikit_learn')} then, {sklearn.__version__} now; "
            "install that one, or train again"
        )


def canonical(archive: bytes) -> bytes:
    """The same skops archive without what differs from one save to the next.

    skops numbers objects by their address in memory, names its members after these numbers and
    lets zip note the time. Here objects are numbered by their first appearance, members follow in
    the order of their numbers, uncompressed (compressors differ), and bear no time.
    """
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        schema = json.loads(old.read("schema.json"))
        numbers: dict[int, int] = {}
        members: dict[str, str] = {}
        _renumber(schema, numbers, members)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
            new.writestr(_member("schema.json"), json.dumps(schema, indent=1))
            for before, after in members.items():
                new.writestr(_member(after), old.read(before))
    return out.getvalue()


def _renumber(node: Any, numbers: dict[int, int], members: dict[str, str]) -> None:
    """Rewrite ids and member names in place, noting what became what."""
    if isinstance(node, list):
        for part in node:
            _renumber(part, numbers, members)
    elif isinstance(node, dict):
        if isinstance(node.get("__id__"), int):
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers))
        if isinstance(node.get("file"), str):
            suffix = Path(node["file"]).suffix
            node["file"] = members.setdefault(node["file"], f"{len(members)}{suffix}")
        for part in node.values():
            _renumber(part, numbers, members)


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, _NO_TIME)
