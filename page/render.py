"""The view as one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from page import charts
from page.view import view
from stages.shared import policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from page.facts import Facts

TEMPLATES = Path(__file__).parent / "templates"
WIDE, NARROW = 960, 250  # of the time line's panels, in pixels; their labels come on top
SMALL = 320


def page(facts: Facts, *, live: bool = False) -> str:
    """The page as HTML.

    Args:
        facts: see `page.facts`.
        live: for the server, with a form that asks the model.
    """
    return pages(facts, live)[0]


def pages(facts: Facts, *lives: bool) -> list[str]:
    """The page of the same facts for each of ``lives``: see `page`."""
    shown = view(facts)
    charts_ = drawn(shown)
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    css = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    head = policy.HEAD + policy.meta(allowed(script, css))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template("page.html")
    return [
        template.render(
            **shown,
            live=live,
            charts=charts_,
            head=Markup(head),  # noqa: S704 - ours
            css=Markup(css),  # noqa: S704 - ours
            script=Markup(script),  # noqa: S704 - ours
        )
        for live in lives
    ]


def allowed(script: str, css: str) -> str:
    """What a browser may do with the page: run its own script, ask its own server, no more."""
    more = "connect-src 'self'", "img-src data:"
    return policy.policy([policy.source(script)], [policy.source(css)], *more)


def drawn(shown: Mapping[str, Any]) -> dict[str, Markup | None]:
    """The charts that there is something to draw for."""
    found: dict[str, Markup | None] = dict.fromkeys(
        ("time_wide", "time_narrow", "gain", "roc", "calibration")
    )
    line, one = shown["time_line"], shown["candidate"]
    if not line["empty"] and len(line["months"]) > 1:
        parts = {name: line[name] for name in ("months", "marks", "quality", "windows")}
        found["time_wide"] = charts.svg(charts.time_line(**parts, width=WIDE))
        found["time_narrow"] = charts.svg(charts.time_line(**parts, width=NARROW))
    if not one["empty"] and one["compare"].get("interval"):
        gate = one["delta"], one["least_bound"]
        found["gain"] = charts.svg(charts.gain(one["compare"], *gate, SMALL + 60))
    if not one["empty"] and one["curves"]:
        rates = ("false positive rate", "true positive rate")
        found["roc"] = charts.svg(charts.curves(one["curves"], "roc", rates, SMALL))
        rates = ("predicted churn probability", "share that churned")
        found["calibration"] = charts.svg(charts.curves(one["curves"], "calibration", rates, SMALL))
    return found
