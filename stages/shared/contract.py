"""The one contract of the columns: what ingest, drift, training and serving agree on.

It is written in the ``data`` section of params.yaml, and travels inside every Parquet file and
every model, so that whoever reads either needs no params.yaml to know what a value means.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stages.shared.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

METADATA = b"churn"


class Feature(BaseModel):
    """One column that a model may use. Missing values are allowed in every feature."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["number", "category", "boolean"]
    min: float | None = Field(None, allow_inf_nan=False)
    max: float | None = Field(None, allow_inf_nan=False)
    values: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if self.type != "number" and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max belong to a number, not to a {self.type}")
        if self.type != "category" and self.values is not None:
            raise ValueError(f"values belong to a category, not to a {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if self.values is not None and not self.values:
            raise ValueError("values is empty: list the allowed values, or leave it out")
        return self


@dataclass(frozen=True)
class Names:
    """What the columns of a month are: the contract without where its files lie."""

    id: str
    label: str
    features: dict[str, Feature]


def to_dict(features: dict[str, Feature]) -> dict[str, Any]:
    """The contract as plain values, without the keys that say nothing."""
    return {name: f.model_dump(mode="json", exclude_none=True) for name, f in features.items()}


def from_dict(values: dict[str, Any]) -> dict[str, Feature]:
    """The contract from plain values, as `to_dict` gave them."""
    return {name: Feature.model_validate(value) for name, value in values.items()}


def stamp(table: pa.Table, facts: dict[str, Any]) -> pa.Table:
    """Put ``facts`` (plain values) into the metadata that travel with a Parquet file."""
    text = json.dumps(facts, ensure_ascii=False)  # unsorted: the order of the features counts
    return table.replace_schema_metadata({METADATA: text.encode()})


def facts(schema: pa.Schema) -> dict[str, Any]:
    """Read what `stamp` put there; empty if the file is none of ours."""
    text = (schema.metadata or {}).get(METADATA)
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def to_table(rows: list[dict[str, Any]], features: dict[str, Feature]) -> pa.Table:
    """Rows of plain values, as JSON has them, as a table of the contract's types."""
    import pyarrow as pa

    types = arrow_types(features)
    return pa.table({n: pa.array([row[n] for row in rows], types[n]) for n in features})


def arrow_types(features: dict[str, Feature]) -> dict[str, pa.DataType]:
    """The type of each column in a table of the contract's."""
    import pyarrow as pa

    kinds = {"number": pa.float64(), "category": pa.string(), "boolean": pa.bool_()}
    return {name: kinds[feature.type] for name, feature in features.items()}


def to_frame(table: pa.Table, features: dict[str, Feature]) -> pd.DataFrame:
    """The features as every model sees them, in training, comparison and serving alike.

    Args:
        table: has at least the columns of ``features``.
        features: the contract.

    Returns:
        One row for each row of ``table``, columns in the contract's order: numbers as float64
        with NaN for missing; categories as objects, texts and NaN; booleans as objects True,
        False, None (what MLflow's boolean columns hold where a value is missing).

    Raises:
        UserError: a column is missing.
    """
    import pandas as pd

    columns = {}
    for name, feature in features.items():
        if name not in table.column_names:
            raise UserError(f"column {name!r} is missing: the data and the model do not fit")
        column = table.column(name)
        if feature.type == "number":
            columns[name] = column.to_pandas().astype("float64")
        elif feature.type == "boolean":
            columns[name] = pd.Series(column.to_pylist(), dtype=object)
        else:
            # Through a dictionary, so that equal texts are one object: eight bytes a row.
            columns[name] = column.dictionary_encode().to_pandas().astype(object)
    return pd.DataFrame(columns, copy=False)
