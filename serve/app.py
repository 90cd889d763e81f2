"""The Flask application: parse, ask the model, answer. What can go wrong is a `Problem`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException

from serve import access, document, mlflow_protocol, page, place, protect
from serve.current import Current, Model
from serve.predictions import RETRY, Predictions
from serve.problems import Problem, defect
from serve.shortcut import JSON, Shortcut
from stages.shared import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from serve.metrics import Metrics
    from serve.online import Online
    from stages.shared.params import Serve

EXTENSION = "churn.current"  # where an application keeps its `Current`
SILENCE = 15.0  # seconds after which the watcher should have said something, at the least
_KEPT = {"Allow", "Retry-After"}


def create_app(settings: Serve, metrics: Metrics, online: Online) -> Flask:
    """Make the application; no model is read before the first request.

    Args:
        settings: section ``serve`` of params.yaml.
        metrics: where requests and predictions are counted.
        online: the store that answers by id.

    Raises:
        UserError: see `access.rules`.
    """
    rules = access.rules(settings)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.most_bytes
    folder = files.home() / settings.folder
    current = Current(folder, metrics.swapped)
    app.extensions[EXTENSION] = current
    predictions = Predictions(folder, current, metrics, online, settings.max_rows)
    silence = max(SILENCE, 3 * settings.interval_seconds)
    views = Views(folder, current, predictions, silence, needs_token=rules.token is not None)
    for rule, method, view in (
        ("/", "GET", lambda: page.page(folder)),
        ("/drift.html", "GET", page.drift),
        ("/predict", "POST", views.predict),
        ("/explain", "POST", views.explain),
        ("/invocations", "POST", views.invocations),
        ("/ping", "GET", views.ping),
        ("/version", "GET", views.version),
        ("/health", "GET", views.health),
        ("/ready", "GET", views.ready),
        ("/model", "GET", views.model),
        ("/metrics", "GET", lambda: _measured(metrics, folder)),
        ("/openapi.json", "GET", views.openapi),
        ("/docs", "GET", views.docs),
    ):
        app.add_url_rule(rule, view_func=view, endpoint=rule, methods=[method])
    app.register_error_handler(Problem, Problem.response)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _defect)
    metrics.watch(app)
    protect.watch(app)
    plain = {"/predict": predictions.predict, "/invocations": predictions.invocations}
    most = app.config["MAX_CONTENT_LENGTH"]
    shortcut = Shortcut(app.wsgi_app, plain, most, metrics)
    app.wsgi_app = access.Access(shortcut, rules, metrics)  # type: ignore[assignment, method-assign]
    return app


class Views:
    """What each address answers."""

    def __init__(
        self,
        folder: Path,
        current: Current,
        predictions: Predictions,
        silence: float,
        *,
        needs_token: bool,
    ) -> None:
        self._folder, self._current, self._predictions = folder, current, predictions
        self._silence, self._needs_token = silence, needs_token

    def predict(self) -> Response:
        """Probabilities of one customer, or of many."""
        return _answer(self._predictions.predict(_sent()))

    def explain(self) -> Response:
        """What moves the probability of one customer."""
        return _answer(self._predictions.explain(_sent()))

    def invocations(self) -> Response:
        """Labels, as MLflow's own server answers."""
        return _answer(self._predictions.invocations(_sent()))

    def ping(self) -> Response:
        """MLflow's health check."""
        self._predictions.model()
        return Response("\n", mimetype=JSON)

    def version(self) -> Response:
        """MLflow's version."""
        return Response(mlflow_protocol.version(), mimetype=JSON)  # MLflow says so too

    def health(self) -> Response:
        """The process is alive."""
        return _answer({"status": "alive"})

    def ready(self) -> Response:
        """Whether there is a model, and which."""
        current = self._current
        found = readiness(current.model(), self._watcher(), current.trouble, self._silence)
        return _answer(found) if found["ready"] else _answer(found, 503, RETRY)

    def model(self) -> Response:
        """What the model in place says of itself."""
        facts = self._predictions.model().facts
        return _answer(
            {name: value for name, value in facts.items() if name not in {"folder", "files"}}
        )

    def openapi(self) -> Response:
        """The OpenAPI document."""
        return _answer(self._document())

    def docs(self) -> Response:
        """The same, as a page."""
        return document.page(self._document())

    def _document(self) -> dict[str, Any]:
        return document.openapi(self._current.model(), needs_token=self._needs_token)

    def _watcher(self) -> dict[str, Any] | None:
        return place.read(self._folder, place.WATCHER)


def _measured(metrics: Metrics, folder: Path) -> Response:
    text, kind = metrics.page(place.read(folder, place.WATCHER))
    return Response(text, content_type=kind)


def _http(error: HTTPException) -> Response:
    kept = {name: value for name, value in error.get_headers() if name in _KEPT}
    return Problem(error.code or 500, error.description or error.name, (), kept).response()


def _defect(_error: Exception) -> Response:
    return defect().response()


def _sent() -> bytes:
    """The body, whole; the application's limit on its size is looked at here."""
    if request.mimetype != JSON:
        raise Problem(415, f"the body is {request.mimetype or 'of no type'}: send {JSON}")
    if request.content_length is None and request.environ.get("wsgi.input_terminated"):
        # In chunks: Werkzeug would cut what is too long, and say nothing.
        most = current_app.config["MAX_CONTENT_LENGTH"]
        sent: bytes = request.environ["wsgi.input"].read(most + 1)
        if len(sent) > most:
            raise Problem(413, f"the body is larger than {most:,} bytes")
        return sent
    return request.get_data(cache=False)


def _answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, mimetype=JSON)


def readiness(
    model: Model | None, watcher: dict[str, Any] | None, trouble: str | None, patience: float
) -> dict[str, Any]:
    """What `GET /ready` says: whether there is a model, which, and whether it is kept up to date.

    Args:
        model: the one that this worker answers with.
        watcher: what the watcher last noted.
        trouble: why this worker could not take the newest model, if it could not.
        patience: seconds after which the watcher should have said something.
    """
    seen = watcher or {}
    reached, silent = seen.get("reached"), time.time() - seen.get("at", 0)
    absent = "the watcher is not there"
    if watcher and silent > patience:
        absent = f"the watcher has said nothing for {silent:.0f} s"
    return {
        "ready": model is not None,
        "model_version": model.version if model else None,
        "digest": model.digest if model else None,
        "since": model.since if model else None,
        "registry_names": seen.get("names"),
        "seconds_since_registry": round(time.time() - reached, 1) if reached else None,
        "problem": trouble or seen.get("error") or (absent if silent > patience else None),
        "code": _code(trouble, seen, is_silent=silent > patience),
    }


def _code(trouble: str | None, seen: Mapping[str, Any], *, is_silent: bool) -> str | None:
    """Of the problem, for programs."""
    if trouble:
        return "not_loaded"
    code: str | None = seen.get("code")
    return code or ("no_watcher" if is_silent else None)
