"""What goes wrong, in one shape: RFC 9457, problem details for HTTP APIs."""

from __future__ import annotations

import logging
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from flask import Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MIMETYPE = "application/problem+json"
FAULTS_SHOWN = 100
LONGEST = 300  # characters of a text in an answer: a client's key may have millions


class Fault(NamedTuple):
    """One thing that is wrong with a request: where, and why."""

    field: str  # a path as people write it: ``instances[3].spend``; empty for the body as a whole
    reason: str


class Problem(Exception):  # noqa: N818 - the RFC's own word
    """A request that cannot be answered; turned into a response at one place.

    However much is wrong with a request, its answer is short: `FAULTS_SHOWN` faults at most are
    looked for and named.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        found = tuple(islice(faults, FAULTS_SHOWN + 1))
        if len(found) > FAULTS_SHOWN:
            detail = f"{detail}; the first {FAULTS_SHOWN} are named"
        super().__init__(detail)
        self.status, self.detail, self.faults = status, detail, found[:FAULTS_SHOWN]
        self.headers = dict(headers or {})

    def json(self) -> bytes:
        """The problem's body."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": short(self.detail),
        }
        if self.faults:
            body["errors"] = [
                {"field": short(fault.field), "reason": short(fault.reason)}
                for fault in self.faults
            ]
        return orjson.dumps(body)

    def response(self) -> Response:
        """The problem as Flask answers it."""
        return Response(self.json(), self.status, self.headers, mimetype=MIMETYPE)


def short(text: str, longest: int = LONGEST) -> str:
    """A text as it is shown."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def defect() -> Problem:
    """What is said of an error that is ours; call it where the error is being handled."""
    logging.getLogger(__name__).exception("a defect of the server's")
    return Problem(500, "a defect of the server's: its log says more")
