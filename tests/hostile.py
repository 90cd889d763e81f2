"""What somebody outside may write where a name or a value belongs, and a tree that must stay.

The strategies never give a path of this machine's: what would begin at the root begins in the
canary, and steps up are fewer than its folders. So a defect deletes what a test made, and no more.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from test_evidently_page import HOSTILE as MARKUP
from test_identifiers import HOSTILE as PATHS
from test_terminal import HOSTILE as STEERING

from bench import page as made_up

if TYPE_CHECKING:
    from page.facts import Facts

DEPTH = 12  # folders of the canary above the root
CANARY = "{canary}"  # stands in a text for the canary's own path

# Each breaks out of what it was put into, where that takes it for more than a text.
PIECES = (
    *PATHS, *MARKUP, STEERING.replace("\ud800", ""),
    # paths and addresses
    "../" * 9, f"{CANARY}/beside", f"file://{CANARY}/beside", "file:..", "file://x/y", "..%2f..",
    "%00", "CON", "-rf", "--force", "a/./b//c", "\\\\host\\share", "$HOME", "~root", "a:b", "//a",
    # shells and make
    "'", '"', "`touch broken`", "$(touch broken)", "; touch broken #", "| touch broken", "&& false",
    "$$", "$(shell touch broken)", "${PATH}", "'\"'\"'", "!!", "*", "{a,b}", "\\", "#", "-",
    "--help",
    # SQL and search filters
    "' OR '1'='1", "'; DROP TABLE experiments; --", "%", "_", "x') --", "\\'", '"; --',
    # HTML, scripts, templates
    "<script>broken</script>", "</script>", "</title>", "<!--", "]]>", "javascript:broken",
    "' onload='broken", '" autofocus onfocus="broken', "{{ 7*7 }}", "{% raw %}", "${7*7}", "&lt;",
    "<svg/onload=broken>", "\u2028", "</style>", "data:text/html,<script>",
    # headers
    "\r\nSet-Cookie: broken=1", "\nX: y", "localhost\r\n\r\n<html>", "a\tb", "é", "[::1", "@evil",
    # YAML, JSON, TOML, numbers
    "!!python/object/apply:os.system [broken]", "*a", "&a [*a]", "<<: *a", "? [a]: b", "%YAML 9.9",
    "---\n...", "!!timestamp 2020-99-99", "!!binary \u00e9", "!!int x", "- - -", "[" * 500,
    "{" * 500,
    "1" * 5000, "1e999", "-0", "0x", "0o9", "1_0", ".nan", "NaN", "Infinity", "null", "~", "yes",
    "2020-13-45", "2020-02-30T99:99:99Z", "12:99:99", "0" * 64, "\\ud800", "=", "<<", "! a", "@",
    "<<<<<<< a\n=======\n>>>>>>> b\n", "\ufeff", "\u0085", "\x00", "\x1b]0;t\x07", "\u202e", "٣",
    "ß", "%s%n", "{0.__class__}", "constructor", "__proto__", "inf", "١٢", "\U0001d7d9",
    "ﬀ", "I\u0307",
)  # fmt: skip

pieces = st.sampled_from(PIECES)
characters = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
texts: st.SearchStrategy[str] = (
    pieces
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.lists(pieces | characters, min_size=2, max_size=4).map("".join)
)
# Halves of characters: JSON and YAML write them as escapes; no UTF-8, no database has them.
halves = st.sampled_from([STEERING, "\ud800", "a\udfff"])
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.integers(-2, 400)
    | texts
    | halves
)
values: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def near(*valid: str) -> st.SearchStrategy[str]:
    """Texts that are one change away from a valid one."""
    return st.builds(
        _changed,
        st.sampled_from(valid),
        st.sampled_from(["insert", "replace", "delete", "cut", "twice", "upper", "before"]),
        st.integers(0, 10**6),
        pieces | characters,
    )


def _changed(text: str, how: str, place: int, piece: str) -> str:
    at = place % (len(text) + 1)
    return {
        "insert": text[:at] + piece + text[at:],
        "replace": text[:at] + piece + text[at + 1 :],
        "delete": text[:at] + text[at + 1 :],
        "cut": text[:at],
        "twice": text + text[at:],
        "upper": text[:at] + text[at:].upper(),
        "before": piece + text,
    }[how]


def without(text: str, *unwanted: str) -> str:
    """A text that can stand where some characters cannot."""
    for one in unwanted:
        text = text.replace(one, "")
    return text


class Canary:
    """A folder ``root`` far down in a tree of which nothing else may change."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.root = top.joinpath(*(f"in-{n}" for n in range(DEPTH)), "root")
        self.root.mkdir(parents=True)
        for folder in self.root.parents[: DEPTH + 1]:
            (folder / "kept.txt").write_text(folder.name)
            for name in ("beside", "models", "data", "a", "etc"):
                (folder / name).mkdir()
                (folder / name / "kept.txt").write_text(name)
        (self.root / "out").symlink_to(self.root.parent / "beside")
        self.accept()

    def accept(self) -> None:
        """Take the tree as it is now for the one that must stay."""
        self._before = self._outside()

    def grounded(self, text: str) -> str:
        """The text, leading nowhere but into the canary."""
        text = text.replace(CANARY, str(self.top))
        if text.startswith("/") and not text.startswith(str(self.top)):
            text = f"{self.top}{text}"
        while text.count("..") >= DEPTH:
            text = text.replace("..", "", 1)
        return text

    def all_grounded(self, value: Any) -> Any:
        """The same for every text in a value."""
        if isinstance(value, str):
            return self.grounded(value)
        if isinstance(value, dict):
            return {self.grounded(k): self.all_grounded(v) for k, v in value.items()}
        return [self.all_grounded(v) for v in value] if isinstance(value, list) else value

    def is_whole(self) -> bool:
        """Whether all but what is in the root is as it was."""
        return self.root.is_dir() and self._outside() == self._before

    def _outside(self) -> dict[str, str]:
        found = {}
        for folder, names, files in os.walk(self.top):
            here = Path(folder)
            if here == self.root:
                names.clear()
                continue
            for name in files:
                found[str(here / name)] = hashlib.sha256((here / name).read_bytes()).hexdigest()
            found[folder] = oct(here.stat().st_mode)
        return found


def named(found: Facts, text: str) -> Facts:
    """The page's facts with a column, categories, people, reasons, months and models of a name."""
    said = made_up.with_column(found, text)
    said.events[-1] |= {"who": text, "why": text, "month": text}
    said.events[0] |= {"why": text}
    said.compare["reasons"] = [text]
    for column in said.columns.values():
        column["bins"] = [text for _ in column["bins"]]
    for run in said.runs:
        run |= {"month": text, "verdict": text}
    candidate = {**(said.candidate or {}), "estimator": text}
    return replace(said, candidate=candidate, next_step=f"{text}: {text}", trouble=text)


def form(text: str) -> dict[str, Any]:
    """The page's form for a model whose column, category and id have such a name."""
    features = {text: {"type": "category", "values": [text]}}
    return {"version": 1, "id": text, "features": features, "example": {text: text}}
