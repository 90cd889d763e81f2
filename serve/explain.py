"""What moves one customer's probability: `POST /explain`.

Of trees, TreeSHAP as LightGBM has it (Lundberg et al., From local explanations to global
understanding with explainable AI for trees, 2020): training writes them down in LightGBM's own text
format (see `stages.shared.treeshap`), and its library is asked for contributions through its C API.
The package itself is not imported: it would bring scikit-learn and pandas into the worker. Of a
linear model they are exact without a library: weight times distance from a reference customer.
"""

from __future__ import annotations

import ctypes
import json
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gevent import get_hub

from serve.problems import Problem
from stages.shared import servable
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from serve.current import Model
    from stages.shared.servable import Plan

    Floats = NDArray[np.float64]

TREE_SHAP = "TreeSHAP, by LightGBM {version}: how far each value moves this customer from the mean"
LINEAR = (
    "exact for a linear model: weight times distance from a customer with every number at the "
    "training rows' median and every category at the mean of its values' weights"
)
LOGISTIC = "\nobjective=binary"  # in a text: what the trees add up to is a logit
_FLOAT64, _ROW_MAJOR, _CONTRIBUTIONS = 1, 1, 3  # names of LightGBM's c_api.h


class Explanations:
    """Contributions of the columns, for whatever model is in place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: tuple[Model, Explainer] | None = None  # replaced as a whole: threads read it

    def explain(self, now: Model, values: Sequence[Any]) -> dict[str, Any]:
        """What each column's value contributes, the largest first.

        Args:
            now: the model that is asked about.
            values: of its columns, in the contract's order.

        Raises:
            Problem: 503, where LightGBM's library cannot be loaded.
        """
        # In a thread: a large forest takes a while, to read and to ask, and others wait meanwhile.
        # What goes wrong is brought back: raised there, gevent would print it at length.
        asked: tuple[Explainer, Floats] | Problem
        asked = get_hub().threadpool.apply(self._ask, (now, values))
        if isinstance(asked, Problem):
            raise asked
        explainer, by_input = asked
        found = [
            {"column": column.name, "value": value, "contribution": _of_column(by_input, column)}
            for column, value in zip(explainer.plan.columns, values, strict=True)
        ]
        found.sort(key=lambda one: -abs(one["contribution"]))
        return {"method": explainer.method, "unit": explainer.unit, "contributions": found}

    def _ask(self, now: Model, values: Sequence[Any]) -> tuple[Explainer, Floats] | Problem:
        try:
            explainer = self._explainer_of(now)
            return explainer, explainer.contributions(values)
        except (UserError, OSError, RuntimeError, ValueError) as error:
            return Problem(503, f"what moves it cannot be told here: {error}")

    def _explainer_of(self, now: Model) -> Explainer:
        last = self._last
        if last and last[0] is now:
            return last[1]
        explainer = Explainer(self._folder / now.facts["folder"], now.facts["files"])
        self._last = now, explainer
        return explainer


def _of_column(by_input: Floats, column: servable.Column) -> float:
    """A number's own input, and the one that says that it is missing, together."""
    places = [column.at] if column.missing_at is None else [column.at, column.missing_at]
    return float(by_input[places].sum())


class Explainer:
    """Explains one servable; takes the place of what makes probabilities of its inputs."""

    def __init__(self, folder: Path, expected: Mapping[str, str] | None = None) -> None:
        """Read a servable's files.

        Args:
            folder: where they are.
            expected: their SHA-256, by name; None does not look.

        Raises:
            UserError: the trees are missing, or not as they were put there.
            OSError: LightGBM's library is not here.
        """
        self.plan = servable.from_json(json.loads((folder / servable.PLAN).read_bytes()))
        if self.plan.coefficients is not None:
            self.method, self.unit = LINEAR, "log-odds"
            self._weigh = linear(self.plan)
        else:
            text = _trees(folder / servable.SHAP, expected)
            self.method = TREE_SHAP.format(version=version("lightgbm"))
            self.unit = "log-odds" if LOGISTIC in text else "probability"
            self._weigh = Booster(text).contributions
        self._servable = servable.Servable(self.plan, self)

    def contributions(self, values: Sequence[Any]) -> Floats:
        """What each input contributes; shape (width,)."""
        found: Any = self._servable.one(values)
        return np.asarray(found)

    def one(self, row: list[float]) -> Any:
        """The contributions of one input; called by the servable."""
        return self._weigh(np.array(row))

    def many(self, rows: Floats) -> Any:
        """The same for many."""
        return np.array([self._weigh(row) for row in rows])


def _trees(path: Path, expected: Mapping[str, str] | None) -> str:
    there = {path.name: path.read_bytes()} if path.is_file() else {}
    if expected is not None:
        servable.check(there, expected, [path.name])
    if not there:
        raise UserError(
            "this model was registered without its trees; one that is trained now has them "
            "(make repro; if it is no better: make promote REASON=…)"
        )
    return there[path.name].decode()


def linear(plan: Plan) -> Callable[[Floats], Floats]:
    """Contributions to a linear model's log-odds; from shape (width,) to (width,)."""
    reference = np.zeros(plan.width)
    for column in plan.columns:
        codes = [code for _, code in column.codes]
        reference[column.at] = sum(codes) / len(codes) if codes else column.missing
    weights = np.array(plan.coefficients)
    return lambda row: weights * (row - reference)


class Booster:
    """A model that LightGBM's library has read."""

    def __init__(self, text: str) -> None:
        self._handle = ctypes.c_void_p()
        self._library = library()
        iterations = ctypes.c_int()
        self._check(
            self._library.LGBM_BoosterLoadModelFromString(
                text.encode(), ctypes.byref(iterations), ctypes.byref(self._handle)
            )
        )

    def contributions(self, row: Floats) -> Floats:
        """TreeSHAP of one input; shape (width,)."""
        return self.all(row)[:-1]

    def all(self, row: Floats) -> Floats:
        """The same, and behind it what the model says on average: together, what it says here."""
        row = np.ascontiguousarray(row, dtype=np.float64)
        out, length = np.zeros(len(row) + 1), ctypes.c_int64()
        self._check(
            self._library.LGBM_BoosterPredictForMat(
                self._handle,
                row.ctypes.data_as(ctypes.c_void_p),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int32(1),
                ctypes.c_int32(len(row)),
                ctypes.c_int(_ROW_MAJOR),
                ctypes.c_int(_CONTRIBUTIONS),
                ctypes.c_int(0),
                ctypes.c_int(-1),
                b"num_threads=1",
                ctypes.byref(length),
                out.ctypes.data_as(ctypes.c_void_p),
            )
        )
        return out

    def _check(self, status: int) -> None:
        if status:
            raise RuntimeError(self._library.LGBM_GetLastError().decode())

    def __del__(self) -> None:
        if self._handle:
            self._library.LGBM_BoosterFree(self._handle)


@cache
def library() -> Any:
    """LightGBM's library, without its Python package.

    Raises:
        OSError: it is not there, or OpenMP's (libgomp1 of Debian's) is not.
    """
    found = find_spec("lightgbm")  # looks, and imports nothing
    if found is None or found.origin is None:
        raise OSError("the package lightgbm is not installed")
    paths = sorted((Path(found.origin).parent / "lib").glob("lib_lightgbm.*"))
    if not paths:
        raise OSError("the package lightgbm has no library")
    loaded = ctypes.CDLL(str(paths[0]))
    loaded.LGBM_GetLastError.restype = ctypes.c_char_p
    return loaded
