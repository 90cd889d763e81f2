"""params.yaml with another ``data`` section; what people wrote elsewhere in it stays."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from stages.shared import contract, params
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Words that some version of YAML takes for a boolean or for nothing.
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}

OTHER_MODEL = (
    "if a model of other data is in production, the first model of these cannot be compared to it: "
    "`make promote REASON=…` puts it there all the same"
)
ADOPTED = "the customers' table, as `make adopt` found it"
_COMMENTS = {
    "snapshots": "YYYY-MM.csv or YYYY-MM.parquet, one a month",
    "label": "0/1, true/false; or name the positive value; empty where not known yet",
    "positive": "the label of those who left",
    "label_delay": "months until a month's labels are known",
    "features": "number (min, max), category (values), boolean: narrow them as you like",
}


def rewrite(text: str, data: params.Data, gate_f1: float, about: str = ADOPTED) -> str:
    """Give params.yaml another ``data`` section and gate.

    Args:
        text: the file as it is.
        data: the new section.
        gate_f1: the new ``evaluate.gate_f1``.
        about: the comment that stands beside ``data:``.

    Returns:
        The new text; ``drift.columns`` is without columns that ``data`` does not have,
        and ``drift.max_age_months`` above the label delay.
    """
    yaml = _yaml()
    whole = yaml.load(_replace_section(text, _section(data, about)))
    whole["evaluate"]["gate_f1"] = gate_f1
    if whole["drift"]["max_age_months"] <= data.label_delay:  # drift refuses that
        whole["drift"]["max_age_months"] = data.label_delay + _SIX_MONTHS
    overrides = whole["drift"].get("columns") or {}
    for name in unknown_overrides(overrides, data):
        del overrides[name]
    written = _dump(yaml, whole)
    _check(text, written, data)
    return written


def read(text: str) -> dict[str, Any]:
    """The sections as plain values, as the pipeline and DVC read them."""
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return found


def _check(before: str, after: str, data: params.Data) -> None:
    """Make sure that the new text says what it should, and all else what it said before."""
    old, new = read(before), read(after)
    for each in (old, new):
        each["evaluate"].pop("gate_f1", None)
        each["drift"].pop("columns", None)
        each["drift"].pop("max_age_months", None)
    found = params.parse(params.Data, "data", new.pop("data"))
    old.pop("data", None)
    if new != old or found != data or list(found.features) != list(data.features):
        raise UserError("params.yaml is written in a way that cannot be edited: take it from git")


def unknown_overrides(overrides: Iterable[str], data: params.Data) -> list[str]:
    """The columns of ``drift.columns`` that ``data`` does not have."""
    return [name for name in overrides if name not in data.features]


_SIX_MONTHS = 6


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # lines stay as long as they are
    return yaml


def _dump(yaml: YAML, value: object) -> str:
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()


def _replace_section(text: str, section: str) -> str:
    """Exchange the section's lines: comments between it and the next section belong to that one."""
    lines = text.splitlines(keepends=True)
    whole = _yaml().load(text)
    starts = sorted(whole.lc.key(name)[0] for name in whole)
    if "data" not in whole:
        return f"{section}\n{text}" if not starts else _insert(lines, starts[0], section)
    first = whole.lc.key("data")[0]
    after = [line for line in starts if line > first]
    end = after[0] if after else len(lines)
    while end > first + 1 and lines[end - 1].startswith(("#", "\n")):
        end -= 1
    return "".join([*lines[:first], section, *lines[end:]])


def _insert(lines: list[str], at: int, section: str) -> str:
    return "".join([*lines[:at], section, "\n", *lines[at:]])


def _section(data: params.Data, about: str) -> str:
    found = CommentedMap(
        snapshots=data.snapshots, id=_quoted(data.id), label=_quoted(data.label)
    )  # fmt: skip
    if data.positive is not None:
        found["positive"] = DoubleQuotedScalarString(data.positive)
    found["label_delay"] = data.label_delay
    found["features"] = CommentedMap()
    for name, feature in contract.to_dict(data.features).items():
        found["features"][_quoted(name)] = _in_one_line(feature)
    for key, comment in _COMMENTS.items():
        if key in found:
            found.yaml_add_eol_comment(comment, key, column=0)
    body = _dump(_yaml(), found)
    return "\n".join([f"data: # {about}", *(f"  {line}" for line in body.splitlines())]) + "\n"


def _in_one_line(values: dict[str, Any]) -> CommentedMap:
    line = CommentedMap(values)
    line.fa.set_flow_style()
    return line


def _quoted(name: str) -> str:
    """In quotes unless every version of YAML reads it as this very text."""
    if _PLAIN.fullmatch(name) and name.lower() not in _WORDS:
        return name
    quoted: str = DoubleQuotedScalarString(name)
    return quoted
