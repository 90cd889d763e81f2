"""Evidently's page with hostile names in it: they stay text, and its own scripts alone may run."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.shared import distances, evidently_page, params, policy
from stages.shared.contract import Feature

HOSTILE = (
    "</script><script>window.broken=1</script>",
    "<!--<script>",
    "<img src=x onerror='window.broken=1'>",
    "</SCRIPT ><svg onload=window.broken=1>",
    "&lt;/script&gt;\u2028\u2029]]>\"'`\\",
    "${window.broken=1}",
    "é\x00\x1b[2J\udcff".encode("utf-8", "replace").decode(),
)


def write(path: Path, names: tuple[str, ...] = HOSTILE) -> str:
    """Evidently's page of columns and categories with such names."""
    rng, features = np.random.default_rng(1), {}
    columns: dict[str, Any] = {}
    for n, name in enumerate(names):
        kind: Any = "number" if n % 2 else "category"
        features[name] = Feature(type=kind)
        columns[name] = rng.normal(size=200) if n % 2 else rng.choice(names, 200)
    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    p = params.parse(params.Drift, "drift", params.read()["drift"])
    distances.write_page(table, table, features, p, path)
    return path.read_text()


class Scripts(HTMLParser):
    """The scripts of a page, and the attributes that would be some."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.handlers: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        if tag == "script":
            self._inside = True
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"


def test_names_stay_text_and_only_evidentlys_own_scripts_are_allowed(tmp_path: Path) -> None:
    page = write(tmp_path / "drift.html")
    scripts = Scripts()
    scripts.feed(page)
    assert len(scripts.found) == 4
    assert scripts.handlers == []
    said = policy.of(page[: policy.LONGEST])
    assert said
    allowed = re.findall(r"'sha256-[^']+'", said)
    assert allowed == [policy.source(script) for script in scripts.found]
    assert re.search("script-src ([^;]*)", said)[1].split() == allowed  # type: ignore[index]
    data = scripts.found[0]
    assert not set("<>&\u2028\u2029") & set(data)
    shown = json.loads(re.search(r"var metric_\w+ = (.*);\n", data)[1])  # type: ignore[index]
    assert {f"Drift in column '{name}'" for name in HOSTILE} <= set(texts(shown))


def texts(value: Any) -> list[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in texts(one)]


@given(value=st.recursive(st.text() | st.floats(allow_nan=False) | st.none(),
                          lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
       ascii_only=st.booleans())  # fmt: skip
def test_escaped_json_is_the_same_value_and_ends_no_script(value: Any, ascii_only: bool) -> None:
    written = evidently_page._escaped(json.dumps(value, ensure_ascii=ascii_only))
    assert json.loads(written) == value
    assert not set("<>&\u2028\u2029") & set(written)


@pytest.mark.parametrize(
    "change",
    [
        lambda page: page.replace("<body>", "<body><script>window.broken=1</script>"),
        lambda page: page.replace("var additional_graphs_", "var others_", 1),
        lambda page: page.replace("    var metric_", "    var a=1;\n    var metric_", 1),
        lambda page: page.replace("<style>", "<script>1</script><style>", 1),
        lambda page: page[:0],
    ],
)
def test_a_page_that_is_written_in_another_way_is_not_called_safe(change: Any) -> None:
    evidently = (
        '\n<!DOCTYPE html>\n<html lang="en">\n<head>\n<style>a {}</style>\n<script>\n'
        '    var metric_0a = {"a": "</script>"};\n    var additional_graphs_metric_0a = {};\n'
        "</script>\n</head>\n<body>\n<script>1</script><script>2</script><script>3</script>\n"
        "</body>\n</html>\n"
    )
    assert policy.of(evidently_page.safe(evidently))
    with pytest.raises(ValueError, match="Evidently's page"):
        evidently_page.safe(change(evidently))


def test_a_policy_is_read_only_where_it_stands_at_the_very_start() -> None:
    said = policy.policy([policy.source("1")], [], "img-src data:")
    assert policy.of(policy.HEAD + policy.meta(said)) == said
    for page in (
        policy.meta(said),
        policy.HEAD + "<title></title>" + policy.meta(said),
        " " + policy.HEAD + policy.meta(said),
        policy.HEAD + policy.meta(said + "\r\nSet-Cookie: a"),
        policy.HEAD + policy.meta(said + '"'),
        policy.HEAD + policy.meta(""),
    ):
        assert policy.of(page) is None, page
