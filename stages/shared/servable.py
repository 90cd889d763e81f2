"""The servable: the form of a model that the server loads, with numpy and ONNX Runtime alone.

``servable.json`` says how each column of the contract becomes numbers of the model's input, and
holds a linear model's coefficients; ``servable.onnx`` is a tree ensemble, and ``treeshap.txt`` the
same trees for those who ask why (see `treeshap`). Nothing in them is executed. Training makes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from stages.shared import files
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PLAN, TREES, SHAP = "servable.json", "servable.onnx", "treeshap.txt"
FILES = (PLAN, TREES, SHAP)
FORMAT = 2
TOLERANCE = 1e-9  # of the golden rows' probabilities

Value = float | str | bool | None


@dataclass(frozen=True)
class Column:
    """How one column of the contract becomes numbers of the model's input."""

    name: str
    type: Literal["number", "category", "boolean"]
    at: int  # its place in the input
    missing: float  # what stands there for a missing value
    missing_at: int | None = None  # the place of a 1 where a number is missing, else 0
    codes: tuple[tuple[str | bool, float], ...] = ()  # of the values that training saw
    unseen: float = 0.0  # of any other value


@dataclass(frozen=True)
class Plan:
    """A servable without its trees."""

    columns: tuple[Column, ...]
    width: int  # of the input
    single_precision: bool = False  # whether the model rounds its input to 32 bits first
    logistic: bool = True  # whether what the trees say is a logit, and no probability
    coefficients: tuple[float, ...] | None = None  # of a linear model; None for trees
    intercept: float = 0.0


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain values."""
    return {"format": FORMAT, **asdict(plan)}


def from_json(values: Mapping[str, Any]) -> Plan:
    """The plan from plain values, as `to_json` gave them.

    Raises:
        UserError: another format.
    """
    if values.get("format") != FORMAT:
        raise UserError(
            f"a servable of format {values.get('format')!r} cannot be read, {FORMAT} can: "
            "train again with this version"
        )
    columns = tuple(
        Column(**{**column, "codes": tuple((value, code) for value, code in column["codes"])})
        for column in values["columns"]
    )
    given = values["coefficients"]
    return Plan(
        columns,
        values["width"],
        values["single_precision"],
        values["logistic"],
        None if given is None else tuple(given),
        values["intercept"],
    )


class Scorer(Protocol):
    """What makes probabilities of inputs."""

    def one(self, row: list[float]) -> float:
        """The probability of one input of ``width`` numbers."""

    def many(self, rows: Floats) -> Floats:
        """The probability of each input; from shape (n, width) to (n,)."""


class Linear:
    """A logistic model: coefficients over the input, and an intercept."""

    def __init__(self, coefficients: Sequence[float], intercept: float) -> None:
        self._coefficients, self._intercept = np.array(coefficients), intercept

    def one(self, row: list[float]) -> float:
        """The probability of one input of ``width`` numbers."""
        return float(self.many(np.array([row]))[0])

    def many(self, rows: Floats) -> Floats:
        """The probability of each input; from shape (n, width) to (n,)."""
        # A matrix product would add in another order for one row than for many.
        return _probability((rows * self._coefficients).sum(axis=1) + self._intercept)


class Trees:
    """A tree ensemble, run by ONNX Runtime."""

    def __init__(self, model: bytes, *, logistic: bool) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # 10,000 rows take 5 ms on one thread: what starting others takes.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it keeps what the largest request took
        options.log_severity_level = 3  # errors
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        (self._input,) = (given.name for given in session.get_inputs())
        self._outputs = [found.name for found in session.get_outputs()]
        self._run, self._logistic = session.run, logistic

    def one(self, row: list[float]) -> float:
        """The probability of one input of ``width`` numbers."""
        return float(self.many(np.array([row]))[0])

    def many(self, rows: Floats) -> Floats:
        """The probability of each input; from shape (n, width) to (n,)."""
        scores: Floats = self._run(self._outputs, {self._input: rows})[0][:, 0]
        return _probability(scores) if self._logistic else scores


def _probability(logits: Floats) -> Floats:
    """The same for one logit as among many, which ONNX's own Sigmoid does not promise."""
    with np.errstate(over="ignore"):  # exp of much is inf, and 1 / inf is the right answer
        found: Floats = 1 / (1 + np.exp(-logits))
    return found


class Servable:
    """A model that answers: columns of values in, probabilities out."""

    def __init__(self, plan: Plan, scorer: Scorer) -> None:
        self.columns = plan.columns
        self._plan, self._scorer = plan, scorer
        self._codes: list[dict[Any, float] | None] = [
            {**dict(c.codes), None: c.missing} if c.type != "number" else None for c in plan.columns
        ]
        # What one row asks of each column, unpacked: attributes take a third of the time.
        self._steps: list[Any] = [
            (c.at, codes, c.missing, c.missing_at, c.unseen)
            for c, codes in zip(plan.columns, self._codes, strict=True)
        ]

    def one(self, values: Sequence[Value]) -> float:
        """The churn probability of one customer.

        Args:
            values: one for each of ``columns``; numbers, texts, booleans, None for missing.
        """
        row = self._row(values)
        if self._plan.single_precision:
            row = np.array(row, dtype=np.float32).tolist()
        return self._scorer.one(row)

    def many(self, columns: Sequence[Sequence[Value]]) -> Floats:
        """The churn probability of n customers; shape (n,).

        Args:
            columns: n values for each of ``columns``; numbers may be an array with NaN for missing.
        """
        return self.score(self.inputs(columns))

    def inputs(self, columns: Sequence[Sequence[Value]]) -> Floats:
        """The model's input for n customers, of ``columns`` as `many` has them; (n, width)."""
        rows = self._rows(columns)
        return rows.astype(np.float32).astype(np.float64) if self._plan.single_precision else rows

    def score(self, inputs: Floats) -> Floats:
        """The probability of each input, the same one alone or among others; shape (n,)."""
        return self._scorer.many(inputs)

    def _row(self, values: Sequence[Any]) -> list[float]:
        row = [0.0] * self._plan.width
        for (at, codes, missing, missing_at, unseen), value in zip(
            self._steps, values, strict=True
        ):
            if codes is not None:
                row[at] = codes.get(value, unseen)
            elif value is None:
                row[at] = missing
                if missing_at is not None:
                    row[missing_at] = 1.0
            else:
                row[at] = value
        return row

    def _rows(self, columns: Sequence[Sequence[Value]]) -> Floats:
        rows = np.zeros((len(columns[0]), self._plan.width))
        for column, codes, values in zip(self.columns, self._codes, columns, strict=True):
            if codes is not None:
                unseen = column.unseen
                rows[:, column.at] = [codes.get(value, unseen) for value in values]
                continue
            numbers = np.asarray(values, dtype=np.float64)  # None becomes NaN
            gone = np.isnan(numbers)
            rows[:, column.at] = np.where(gone, column.missing, numbers)
            if column.missing_at is not None:
                rows[:, column.missing_at] = gone
        return rows


def assemble(plan: Plan, trees: bytes | None) -> Servable:
    """The model of a plan and, for one of trees, of the trees as ONNX."""
    if plan.coefficients is not None:
        return Servable(plan, Linear(plan.coefficients, plan.intercept))
    if trees is None:
        raise ValueError("it has neither coefficients nor trees")
    return Servable(plan, Trees(trees, logistic=plan.logistic))


def check(found: Mapping[str, bytes], expected: Mapping[str, str], names: Sequence[str]) -> None:
    """Refuse files that are not as they were put there.

    Args:
        found: the files' bytes, by name.
        expected: their SHA-256, as `hashes` gave them.
        names: which of them to look at; a file that neither knows is fine.

    Raises:
        UserError: names the first.
    """
    for name in names:
        now = hashlib.sha256(found[name]).hexdigest() if name in found else None
        if now != expected.get(name):
            raise UserError(f"{name} is missing, or not as it was put there")


def check_golden(served: Servable, golden: Mapping[str, Any]) -> None:
    """Refuse a servable that answers otherwise than the model did in training.

    Args:
        served: the model's servable.
        golden: ``rows``, and the ``probabilities`` that the model gave them.

    Raises:
        UserError: a row has another probability.
    """
    columns = [[row[column.name] for row in golden["rows"]] for column in served.columns]
    off = float(np.abs(served.many(columns) - golden["probabilities"]).max(initial=0))
    if not off <= TOLERANCE:  # NaN is no answer either
        raise UserError(f"its golden rows have other probabilities here, by up to {off:.2g}")


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a servable that is there, by its name."""
    return {n: files.sha256(folder / n) for n in FILES if (folder / n).is_file()}


def load(folder: Path, expected: Mapping[str, str] | None = None) -> Servable:
    """Read a servable.

    Args:
        folder: where its files are.
        expected: the files' SHA-256, by name, as `hashes` gave them; None does not look.

    Raises:
        UserError: a file is missing or damaged.
    """
    try:
        found = {n: (folder / n).read_bytes() for n in (PLAN, TREES) if (folder / n).is_file()}
        if expected is not None:
            check(found, expected, (PLAN, TREES))
        return assemble(from_json(json.loads(found[PLAN])), found.get(TREES))
    except UserError:
        raise
    except Exception as error:  # json, numpy and ONNX Runtime each have their own
        what = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the servable in {folder} cannot be loaded: {what}") from error
