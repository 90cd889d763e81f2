"""The plain case of a prediction, answered before Flask: its body as JSON, its size known.

Flask's part of such a request (contexts, routing, signals, a response object) takes as long as
all of the model's. Whatever is not plain goes to Flask, which has views at the same addresses and
answers alike, errors too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from serve.problems import MIMETYPE, Problem, defect
from serve.protect import HEADERS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from serve.metrics import Metrics

JSON = "application/json"
_OK = "200 OK"
_HEADERS = list(HEADERS.items())


class Shortcut:
    """A WSGI application in front of another."""

    def __init__(
        self,
        behind: WSGIApplication,
        answers: Mapping[str, Callable[[bytes], Any]],
        most: int,
        metrics: Metrics,
    ) -> None:
        """Put it in front.

        Args:
            behind: what answers all that is not plain.
            answers: by address, what answers a body.
            most: bytes of a body.
            metrics: where requests are counted.
        """
        self._behind, self._answers, self._most, self._metrics = behind, answers, most, metrics

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer a request, or pass it on."""
        begun, path = time.perf_counter(), environ["PATH_INFO"]
        answer = self._answers.get(path)
        size = environ.get("CONTENT_LENGTH", "")
        if (
            answer is None
            or environ["REQUEST_METHOD"] != "POST"
            or environ.get("CONTENT_TYPE") != JSON
            or not size.isdecimal()
            or int(size) > self._most
        ):
            return self._behind(environ, start)
        try:
            sent = environ["wsgi.input"].read(int(size))
            status, kind, found, headers = 200, JSON, orjson.dumps(answer(sent)), []
        except Exception as error:
            problem = error if isinstance(error, Problem) else defect()
            status, kind, found = problem.status, MIMETYPE, problem.json()
            headers = list(problem.headers.items())
        self._metrics.count(path, status, time.perf_counter() - begun)
        line = _OK if status == 200 else f"{status} {HTTPStatus(status).phrase}"
        size = str(len(found))
        start(line, [("Content-Type", kind), ("Content-Length", size), *_HEADERS, *headers])
        return [found]
