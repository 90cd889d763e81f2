"""What goes wrong, in one shape: RFC 9457, problem details for HTTP APIs."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from flask import Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIMETYPE = "application/problem+json"


class Fault(NamedTuple):
    """One thing that is wrong with a request: where, and why."""

    field: str  # a path as people write it: ``instances[3].spend``; empty for the body as a whole
    reason: str


class Problem(Exception):  # noqa: N818 - the RFC's own word
    """A request that cannot be answered; turned into a response at one place."""

    def __init__(
        self,
        status: int,
        detail: str,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.faults = status, detail, tuple(faults)
        self.headers = dict(headers or {})

    def json(self) -> bytes:
        """The problem's body."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.faults:
            body["errors"] = [fault._asdict() for fault in self.faults]
        return orjson.dumps(body)

    def response(self) -> Response:
        """The problem as Flask answers it."""
        return Response(self.json(), self.status, self.headers, mimetype=MIMETYPE)


def defect() -> Problem:
    """What is said of an error that is ours; call it where the error is being handled."""
    logging.getLogger(__name__).exception("a defect of the server's")
    return Problem(500, "a defect of the server's: its log says more")
