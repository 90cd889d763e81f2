"""The charts as Vega-Lite specifications, and their SVG; colours are those of the page's CSS.

Vega passes on a colour that it does not know, so ``var(--ink)`` comes through to the SVG: one
rendering does in light, in dark and on paper.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INK, MUTED, LINE = "var(--ink)", "var(--muted)", "var(--line)"
BLUE, ORANGE, PALE = "var(--blue)", "var(--orange)", "var(--pale)"
_SAID = {"type": "text", "align": "left", "dx": 9, "color": INK, "fontSize": 12}
KINDS = {  # of marks: each with its shape and colour
    "feed broken": ("square", ORANGE),
    "trained": ("triangle-up", MUTED),
    "promoted": ("circle", BLUE),
    "undecided": ("diamond", MUTED),
    "rejected": ("cross", ORANGE),
    "rolled back": ("triangle-left", ORANGE),
    "put back": ("triangle-right", BLUE),
}
_CONFIG: dict[str, Any] = {
    "background": None,
    "padding": 2,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED, "titleColor": MUTED, "gridColor": LINE, "domainColor": LINE,
        "tickColor": LINE, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
    },
    "title": {
        "color": INK, "fontSize": 13, "fontWeight": 600, "anchor": "start", "offset": 10,
        "subtitleColor": MUTED, "subtitleFontSize": 12,
    },
    "legend": {"labelColor": INK, "titleColor": MUTED, "labelFontSize": 12},
    "concat": {"spacing": 26},
}  # fmt: skip


_TAG, _DIGITS = re.compile(r"<[^>]*>"), re.compile(r"(?<=\d\.\d\d)\d+")  # of a pixel


def svg(spec: Mapping[str, Any]) -> Markup:
    """A chart as SVG for the middle of a page."""
    import vl_convert

    drawn = vl_convert.vegalite_to_svg({**spec, "config": _CONFIG})
    # What it shows is beside it in words and in a table: a reader is not told it mark by mark.
    plain = re.sub(r' (role|aria-roledescription|aria-hidden)="[^"]*"', "", drawn)
    plain = _TAG.sub(lambda tag: _DIGITS.sub("", tag[0]), plain)
    return Markup(plain.replace("<svg ", '<svg role="presentation" aria-hidden="true" ', 1))  # noqa: S704 - Vega escapes what it writes


def time_line(
    months: Sequence[Mapping[str, Any]],
    marks: Sequence[Mapping[str, Any]],
    quality: Sequence[Mapping[str, Any]],
    windows: Sequence[Mapping[str, Any]],
    width: int,
) -> dict[str, Any]:
    """All that happened, along one axis of months.

    Args:
        months: ``month``, ``share``, ``threshold``, ``drifted``; every calendar month, in order.
        marks: ``month``, ``kind`` (one of `KINDS`), ``label``.
        quality: ``month``, ``auc``, ``low``, ``high``, ``label`` where another version begins.
        windows: ``month``, ``version``, ``what`` (trained on, in production).
        width: of the panels, in pixels.
    """
    names = [month["month"] for month in months]
    labels = 84 if width > 500 else 74
    panels = [_drift(months, names, labels)]
    if marks:
        panels.append(_marks(marks, names, labels))
    if quality:
        panels.append(_quality(quality, names, labels))
    if windows:
        panels.append(_windows(windows, names, labels))
    return {
        "vconcat": [{"width": width, **panel} for panel in panels],
        "resolve": {"scale": {"color": "independent", "shape": "independent"}},
    }


def _x(names: Sequence[str], *, labels: bool = True) -> dict[str, Any]:
    axis = {"title": None, "labelAngle": 0, "labelOverlap": "greedy", "labelSeparation": 16}
    if not labels:
        axis |= {"labels": False, "ticks": False}
    return {
        "field": "month", "type": "ordinal", "scale": {"domain": list(names), "paddingInner": 0.25},
        "axis": axis,
    }  # fmt: skip


def _y(field: str, labels: int, **axis: Any) -> dict[str, Any]:
    extents = {"minExtent": labels, "maxExtent": labels}
    return {"field": field, "type": "quantitative", "axis": {"title": None, **extents, **axis}}


def _drift(
    months: Sequence[Mapping[str, Any]], names: Sequence[str], labels: int
) -> dict[str, Any]:
    x, y = _x(names), _y("share", labels, format="%", tickCount=4)
    y["scale"] = {"domain": [0, max([0.5, *(m["share"] or 0 for m in months)])], "nice": True}
    measured = [month for month in months if month["share"] is not None]
    drifted = [month for month in measured if month["drifted"]]
    limits = [month for month in months if month["threshold"] is not None]
    told = "▼ drifted: past the limit, which is the line" if limits else "▼ drifted, by evidence"
    colour = {"field": "drifted", "scale": {"domain": [False, True], "range": [PALE, ORANGE]}}
    return {
        "title": {"text": "Share of drifted columns", "subtitle": told},
        "height": 110,
        "layer": [
            {
                "data": {"values": list(measured)}, "mark": "bar",
                "encoding": {"x": x, "y": y, "color": {**colour, "legend": None}},
            },
            {
                "data": {"values": list(drifted)},
                "mark": {"type": "text", "text": "▼", "dy": -7, "color": INK, "fontSize": 10},
                "encoding": {"x": x, "y": y},
            },
            {
                "data": {"values": list(limits)},
                "mark": {"type": "tick", "color": INK, "thickness": 1.5, "bandSize": 0},
                "encoding": {"x": x, "y": {**y, "field": "threshold"}},
            },
        ],
    }  # fmt: skip


def _marks(marks: Sequence[Mapping[str, Any]], names: Sequence[str], labels: int) -> dict[str, Any]:
    there = {mark["kind"] for mark in marks}
    kinds = [kind for kind in KINDS if kind in there]
    y = {
        "field": "kind", "type": "ordinal", "scale": {"domain": kinds},
        "axis": {
            "title": None, "minExtent": labels, "maxExtent": labels, "grid": True, "ticks": False,
            "domain": False, "labelPadding": 8,
        },
    }  # fmt: skip
    shape, colour = (
        {"field": "kind", "legend": None, "scale": {"domain": list(KINDS), "range": list(of)}}
        for of in zip(*KINDS.values(), strict=True)
    )
    return {
        "title": "What was decided",
        "height": 26 * len(kinds),
        "data": {"values": list(marks)},
        "encoding": {"x": _x(names, labels=False), "y": y},
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                "encoding": {"shape": shape, "color": colour},
            },
            {"mark": _SAID, "encoding": {"text": {"field": "label"}}},
        ],
    }  # fmt: skip


def _quality(
    quality: Sequence[Mapping[str, Any]], names: Sequence[str], labels: int
) -> dict[str, Any]:
    x = _x(names, labels=False)
    y = _y("auc", labels, format=".2f", tickCount=4)
    y["scale"] = {"zero": False, "nice": True}
    return {
        "title": {
            "text": "AUC of what was in production", "subtitle": "as each month's labels came in",
        },
        "height": 110,
        "data": {"values": list(quality)},
        "encoding": {"x": x},
        "layer": [
            {
                "mark": {"type": "rule", "color": BLUE, "strokeWidth": 1.5},
                "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "color": BLUE, "size": 45, "opacity": 1},
                "encoding": {"y": y},
            },
            {
                "mark": {**_SAID, "dx": 7, "dy": -7},
                "encoding": {"y": y, "text": {"field": "label"}},
            },
        ],
    }  # fmt: skip


def _windows(
    windows: Sequence[Mapping[str, Any]], names: Sequence[str], labels: int
) -> dict[str, Any]:
    versions = list(dict.fromkeys(one["version"] for one in windows))
    y = {
        "field": "version", "type": "ordinal", "scale": {"domain": versions},
        "axis": {
            "title": None, "minExtent": labels, "maxExtent": labels, "grid": True, "ticks": False,
            "domain": False, "labelPadding": 8,
        },
    }  # fmt: skip
    by = {t: [w for w in windows if w["what"] == t] for t in ("trained on", "in production")}
    return {
        "title": {
            "text": "Which months made which version",
            "subtitle": "■ trained on   ○ in production",
        },
        "height": 24 * len(versions),
        "encoding": {"x": _x(names), "y": y},
        "layer": [
            {
                "data": {"values": by["trained on"]},
                "mark": {"type": "square", "size": 110, "color": BLUE, "opacity": 1},
            },
            {
                "data": {"values": by["in production"]},
                "mark": {
                    "type": "point", "shape": "circle", "size": 50, "color": INK, "filled": False,
                    "opacity": 1, "strokeWidth": 1.5,
                },
            },
        ],
    }  # fmt: skip


def gain(
    compare: Mapping[str, Any], delta: float, least_bound: float, width: int
) -> dict[str, Any]:
    """The gain with its interval, and the gate: what the gain and the interval's low end must pass.

    Args:
        compare: reports/compare.json, with an interval.
        delta: the least gain that counts; section ``compare`` of params.yaml.
        least_bound: ``min_lower_bound`` there, which the whole interval must be above.
        width: in pixels.
    """
    low, high = compare["interval"]
    reach = 1.15 * max(abs(low), abs(high), 2 * delta, 2 * abs(least_bound), 1e-6)
    x = {
        "type": "quantitative", "scale": {"domain": [-reach, reach], "nice": False},
        "axis": {"title": "gain in AUC", "format": "+.3f", "tickCount": 5, "grid": False},
    }  # fmt: skip
    lines = _line(x, 0.0, "no gain", {"align": "right", "dx": -6})
    if delta > 0:
        lines += _line(x, delta, f"gate {delta:+g}", {"dx": 6})
    if least_bound:
        said = f"the interval: above {least_bound:+g}"
        lines += _line(x, least_bound, said, {"dx": 6}, height=64, dash=(1, 3))
    middle = {"value": 42}
    found = [{"gain": compare["gain"], "low": low, "high": high}]
    return {
        "width": width, "height": 70,
        "layer": [
            *lines,
            {
                "data": {"values": found},
                "mark": {"type": "rule", "color": BLUE, "strokeWidth": 3},
                "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": middle},
            },
            {
                "data": {"values": found},
                "mark": {"type": "point", "filled": True, "color": BLUE, "size": 110, "opacity": 1},
                "encoding": {"x": {**x, "field": "gain"}, "y": middle},
            },
        ],
    }  # fmt: skip


def _line(
    x: Mapping[str, Any],
    at: float,
    what: str,
    said: Mapping[str, Any],
    *,
    height: int = 8,
    dash: tuple[int, int] = (4, 3),
) -> list[dict[str, Any]]:
    """A dashed line across the chart of the gain, and what it is: two layers."""
    data = {"data": {"values": [{"at": at, "what": what}]}}
    place = {"x": {**x, "field": "at"}}
    text = {**place, "y": {"value": height}, "text": {"field": "what"}}
    return [
        {**data, "mark": {"type": "rule", "strokeDash": dash, "color": MUTED}, "encoding": place},
        {**data, "mark": {**_SAID, **said}, "encoding": text},
    ]


def curves(
    of: Mapping[str, Mapping[str, Any]], what: str, axes: tuple[str, str], size: int
) -> dict[str, Any]:
    """One curve of each model over the other; the second is dashed, and each is named.

    Args:
        of: model -> curve -> points.
        what: which curve: roc or calibration.
        axes: titles of x and y.
        size: of the chart, in pixels.
    """
    points = [
        {"x": x, "y": y, "model": model, "order": i}
        for model, curves in of.items()
        for i, (x, y) in enumerate(curves[what])
    ]
    models = list(of)
    scale = {"domain": models, "range": [BLUE, ORANGE][: len(models)]}
    dash = {"domain": models, "range": [[1, 0], [5, 3]][: len(models)]}
    legend = {"orient": "top", "title": None, "symbolType": "stroke", "symbolSize": 300}
    rate = {"type": "quantitative", "scale": {"domain": [0, 1]}}
    encoding = {
        channel: {**rate, "field": channel, "axis": {"title": title, "tickCount": 5}}
        for channel, title in zip("xy", axes, strict=True)
    }
    named = {"field": "model", "type": "nominal", "legend": legend}
    line = {"type": "line", "strokeWidth": 2, "point": what == "calibration"}
    return {
        "width": size, "height": size,
        "layer": [
            {
                "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
                "mark": {"type": "line", "color": MUTED, "strokeDash": [2, 3], "strokeWidth": 1},
                "encoding": encoding,
            },
            {
                "data": {"values": points},
                "mark": line,
                "encoding": {
                    **encoding,
                    "order": {"field": "order"},
                    "color": {**named, "scale": scale},
                    "strokeDash": {**named, "scale": dash},
                },
            },
        ],
    }  # fmt: skip
