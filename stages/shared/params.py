"""params.yaml, one section a stage; unknown keys and bad values are refused by name.

A stage asks for its sections by calling the function of that name; a test holds these calls
against what dvc.yaml declares, so that no parameter is read in secret.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from stages.shared import dvc_files, files
from stages.shared.contract import Feature
from stages.shared.errors import UserError

MAX_BODY = 20_000_000  # bytes of a request, unless params.yaml has another number
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(Section):
    """The customers' table: where its months lie and what the columns mean."""

    snapshots: str = "data/raw"
    source: Literal["cdnow"] | None = None
    id: str
    label: str
    positive: str | None = None
    label_delay: int = Field(ge=0, le=120)
    features: dict[str, Feature] = Field(min_length=1)

    @field_validator("positive", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        return value if value is None or isinstance(value, str) else str(value)

    @field_validator("features")
    @classmethod
    def _own_names(cls, value: dict[str, Feature], info: Any) -> dict[str, Feature]:
        for key in ("id", "label"):
            if info.data.get(key) in value:
                raise ValueError(f"{info.data[key]!r} is the {key}, and cannot be a feature too")
        return dict(sorted(value.items()))  # DVC does not see another order: nor may an output


class Ingest(Section):
    """Which months are fit to use."""

    max_rejected_share: Share


class Override(Section):
    """Another test or threshold for one column."""

    method: str | None = None
    threshold: float | None = Field(None, ge=0)


class Drift(Section):
    """When the world has left the window, and what the window is."""

    window_months: int = Field(ge=1)
    max_age_months: int = Field(ge=1)
    growth: float = Field(gt=1)
    trigger: Literal["evidence", "share"]
    false_alarm_rate: float = Field(ge=0.0005, lt=1)  # `movement.DRAWS` prove no smaller ones
    label_false_alarm_rate: float = Field(ge=0.0005, lt=1)
    label_effect: float = Field(ge=0)
    min_importance: float = Field(ge=0, le=1)
    threshold: float = Field(gt=0, le=1)
    number_method: str
    number_threshold: float = Field(gt=0)
    category_method: str
    category_threshold: float = Field(gt=0)
    columns: dict[str, Override] = {}
    accepted: dict[str, tuple[str, ...]] = {}
    min_rows: int = Field(ge=1)
    sample_rows: int = Field(ge=100)
    holdout: Literal["world", "newest", "after"]
    holdout_share: float = Field(gt=0, lt=1)
    salt: str = Field(min_length=1)
    seed: int = Field(ge=0)

    @field_validator("accepted", mode="before")
    @classmethod
    def _lists(cls, value: object) -> object:
        """YAML has lists, and a month without quotes is a text to it."""
        if not isinstance(value, dict):
            return value
        return {str(k): tuple(v) if isinstance(v, list) else v for k, v in value.items()}


class Train(Section):
    """The estimator, by name, and its hyper-parameters."""

    estimator: Literal["hist_gradient_boosting", "logistic_regression", "random_forest"]
    seed: int = Field(ge=0)
    hist_gradient_boosting: dict[str, Any] = {}
    logistic_regression: dict[str, Any] = {}
    random_forest: dict[str, Any] = {}

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Those of the estimator that is named."""
        found: dict[str, Any] = getattr(self, self.estimator)
        return found


class Evaluate(Section):
    """The absolute gate."""

    gate_f1: Share
    confidence: float = Field(gt=0, lt=1)


class Compare(Section):
    """What counts as better."""

    delta: float = Field(ge=0, le=1)
    confidence: float = Field(gt=0, lt=1)
    min_lower_bound: float = Field(ge=-1, le=1)


class Promote(Section):
    """Who says yes."""

    approval: Literal["auto", "manual"]


def _network(value: str) -> str:
    """An IP address, or a network of them.

    Raises:
        ValueError: it is none.
    """
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("not an IP address or a network such as 10.0.0.0/8") from None
    return value


def _host(value: str) -> str:
    """A name or an IP address that a server is asked under.

    Raises:
        ValueError: it is none.
    """
    if _NAME.fullmatch(value):
        return value
    try:
        return str(ipaddress.ip_address(value.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise ValueError("not a host's name: write it as churn.example.org, no port") from None


_NAME = re.compile(r"[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*", re.ASCII)


class Serve(Section):
    """The server."""

    host: str
    workers: int = Field(ge=1, le=64)
    folder: str = Field(min_length=1)
    interval_seconds: float = Field(gt=0, le=3600)
    max_body: int | None = Field(None, ge=1, le=2**30)
    max_body_megabytes: float | None = Field(None, gt=0, le=1024)  # the name of `max_body` before
    max_rows: int = Field(100_000, ge=1)
    patience: float = Field(30, gt=0, le=3600)
    online_store: str = Field(min_length=1)
    token_file: str = ""
    allowed_hosts: list[Annotated[str, AfterValidator(_host)]] = []
    trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = []

    @field_validator("max_body_megabytes")
    @classmethod
    def _one_of_them(cls, value: float | None, info: Any) -> float | None:
        if value is not None and info.data.get("max_body") is not None:
            raise ValueError("serve.max_body is there too, which is its new name: take it out")
        return value

    @property
    def most_bytes(self) -> int:
        """Bytes that a request may have."""
        if self.max_body_megabytes is not None:
            return int(self.max_body_megabytes * 2**20)
        return self.max_body or MAX_BODY


SECTIONS: dict[str, type[Section]] = {
    "data": Data,
    "ingest": Ingest,
    "drift": Drift,
    "train": Train,
    "evaluate": Evaluate,
    "compare": Compare,
    "promote": Promote,
    "serve": Serve,
}

S = TypeVar("S", bound=Section)


def read(path: Path | None = None) -> dict[str, Any]:
    """The whole of params.yaml as plain values, by YAML 1.2 as DVC reads it (`no` is a text).

    Raises:
        UserError: missing, no YAML, or a section that nobody knows.
    """
    path = path or files.PARAMS
    try:
        text = path.read_text(encoding="utf-8")
        if dvc_files.has_markers(text):
            raise dvc_files.DamagedError(path, "conflict", dvc_files.remedy(path, "conflict"))
        found = dvc_files.yaml(text)
    except FileNotFoundError:
        raise UserError(f"{files.relative(path)} is missing: take it back from git") from None
    except ValueError as error:
        raise UserError(f"{files.relative(path)} is no valid YAML: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{files.relative(path)} has no sections: take it back from git")
    for name in found:
        if name not in SECTIONS:
            known = ", ".join(SECTIONS)
            raise UserError(f"params.yaml: unknown section {name!r}; known are {known}")
    return found


def parse(kind: type[S], name: str, value: object) -> S:
    """Check one section.

    Raises:
        UserError: names key, value and remedy, for every key that is wrong, in one line.
    """
    if value is None:
        raise UserError(f"params.yaml: section {name!r} is missing: take it back from git")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UserError("params.yaml: " + "; ".join(_sentences(kind, name, error))) from None


def _sentences(kind: type[Section], name: str, error: ValidationError) -> list[str]:
    sentences = []
    for problem in error.errors():
        key = ".".join([name, *(str(part) for part in problem["loc"])])
        if problem["type"] == "extra_forbidden":
            known = (
                ", ".join(kind.model_fields)
                if len(problem["loc"]) == 1
                else "type, min, max, values"
            )
            sentences.append(f"{key} is no key that anything reads: take it out (known: {known})")
        elif problem["type"] == "missing":
            sentences.append(f"{key} is missing: write it")
        else:
            what = problem["msg"].removeprefix("Value error, ")
            what = what[0].lower() + what[1:]
            sentences.append(f"{key} is {problem['input']!r}: {what}")
    return sentences


def serve() -> Serve:
    """Section ``serve``; ``SERVE_HOST`` and so on in the environment go before params.yaml.

    A container listens elsewhere than a clone, and an address with a password stands in no file.
    """
    return parse(Serve, "serve", from_environment(Serve, read().get("serve")))


def from_environment(kind: type[Section], value: Any) -> Any:
    """A section with the keys that the environment gives; an empty variable gives none."""
    name = kind.__name__.upper()
    found = {key: os.environ.get(f"{name}_{key.upper()}") for key in kind.model_fields}
    given = {key: _value(kind, key, text) for key, text in found.items() if text}
    return {**value, **given} if given and isinstance(value, dict) else value


def _value(kind: type[Section], key: str, text: str) -> Any:
    annotation = kind.model_fields[key].annotation
    if annotation is str:
        return text  # a password may look like YAML
    if get_origin(annotation) is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return dvc_files.yaml(text)
    except ValueError:
        return text  # which is refused by its key


def data() -> Data:
    """Section ``data``."""
    return parse(Data, "data", read().get("data"))


def ingest() -> Ingest:
    """Section ``ingest``."""
    return parse(Ingest, "ingest", read().get("ingest"))


def drift() -> Drift:
    """Section ``drift``."""
    return parse(Drift, "drift", read().get("drift"))


def train() -> Train:
    """Section ``train``."""
    return parse(Train, "train", read().get("train"))


def evaluate() -> Evaluate:
    """Section ``evaluate``."""
    return parse(Evaluate, "evaluate", read().get("evaluate"))


def compare() -> Compare:
    """Section ``compare``."""
    return parse(Compare, "compare", read().get("compare"))


def promote() -> Promote:
    """Section ``promote``."""
    return parse(Promote, "promote", read().get("promote"))
