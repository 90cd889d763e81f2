"""Headers that every answer has: what a browser may do with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Response, render_template
from markupsafe import Markup

from stages.shared import policy

if TYPE_CHECKING:
    from flask import Flask

HTML = "text/html"
POLICY = "Content-Security-Policy"
UNFRAMED = "frame-ancestors 'none'"  # heard in a header alone, not in a page
# Of answers to programs, which are no pages: what is refused, too.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # there may be customers in it
    "Referrer-Policy": "no-referrer",
    POLICY: f"{policy.NOTHING}; {UNFRAMED}",
}
_STYLE = (Path(__file__).parent / "templates" / "plain.css").read_text(encoding="utf-8")
_OURS = policy.policy([], [policy.source(_STYLE)], "img-src data:")


def watch(app: Flask) -> None:
    """Give every answer of an application its headers, but those that it has already."""

    @app.after_request
    def protect(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def page(template: str, **values: Any) -> Response:
    """A page of one of our templates, which run no script."""
    text = render_template(
        template,
        head=Markup(policy.HEAD + policy.meta(_OURS)),  # noqa: S704 - ours
        style=Markup(_STYLE),  # noqa: S704 - ours
        **values,
    )
    return html(text, _OURS)


def html(content: str | bytes, *directives: str) -> Response:
    """An answer with a page in it, which no other page can show as a part of itself."""
    headers = {POLICY: "; ".join([*directives, UNFRAMED])}
    return Response(content, headers=headers, mimetype=HTML)
