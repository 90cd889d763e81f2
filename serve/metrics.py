"""What is counted, for Prometheus; right over several workers, each of which writes its own files.

https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flask import g, request

if TYPE_CHECKING:
    from flask import Flask, Response
    from prometheus_client import Metric

    from serve.current import Model

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the client's own name; read when it is imported
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
ELSEWHERE = "elsewhere"  # one label for all addresses that are no route: they are without end


def mark_dead(pid: int) -> None:
    """Forget the gauges of a worker that is gone; its counts stay."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


class Metrics:
    """Counts of one worker, and the page of all."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        own = CollectorRegistry()  # none is shared: an application that is made twice counts twice
        self._requests = Counter(
            "churn_requests", "Requests answered.", ["route", "status"], registry=own
        )
        self._seconds = Histogram(
            "churn_request_seconds",
            "Seconds from a request's headers to its answer.",
            ["route"],
            buckets=BUCKETS,
            registry=own,
        )
        predictions = Counter("churn_predictions", "Customers scored.", ["outcome"], registry=own)
        self._churns, self._stays = predictions.labels("churns"), predictions.labels("stays")
        self._swaps = Counter("churn_swaps", "Models taken, by each worker.", registry=own)
        self._own = own
        self._version: Any = None  # made by who has a version: the process that forks has none
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}

    def watch(self, app: Flask) -> None:
        """Count every request of an application."""

        @app.before_request
        def begin() -> None:
            g.begun = time.perf_counter()

        @app.after_request
        def end(response: Response) -> Response:
            rule = request.url_rule
            route = rule.rule if rule else ELSEWHERE
            self.count(route, response.status_code, time.perf_counter() - g.begun)
            return response

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (route, status)
        with suppress(OSError):  # of the folder: to count is not worth an answer
            requests, took = self._children.get(key) or self._child(key)
            requests.inc()
            took.observe(seconds)

    def predicted(self, churns: int, stays: int) -> None:
        """Count customers by what was said of them."""
        with suppress(OSError):
            if churns:
                self._churns.inc(churns)
            if stays:
                self._stays.inc(stays)

    def swapped(self, model: Model) -> None:
        """Note that this worker answers with another model."""
        with suppress(OSError):
            self._swaps.inc()
            if self._version is None:
                self._version = self._gauge()
            self._version.set(model.version)

    def _gauge(self) -> Any:
        from prometheus_client import Gauge

        return Gauge(
            "churn_model_version",
            "Version that a worker answers with.",
            multiprocess_mode="liveall",
            registry=self._own,
        )

    def page(self, watcher: dict[str, Any] | None) -> tuple[bytes, str]:
        """All workers' figures and the watcher's, with their content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        everything = CollectorRegistry()
        MultiProcessCollector(everything)  # type: ignore[no-untyped-call]
        everything.register(_Watcher(watcher or {}))
        return generate_latest(everything), CONTENT_TYPE_LATEST

    def _child(self, key: tuple[str, int]) -> tuple[Any, Any]:
        route, status = key
        self._children[key] = (
            self._requests.labels(route, str(status)),
            self._seconds.labels(route),
        )
        return self._children[key]


class _Watcher:
    """What the watcher noted, as metrics."""

    def __init__(self, seen: dict[str, Any]) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        seen = self._seen
        yield CounterMetricFamily(
            "churn_registry_failures", "Looks at the registry that failed.", seen.get("failures", 0)
        )
        if seen.get("reached"):
            yield GaugeMetricFamily(
                "churn_registry_reached_seconds", "When it was last reached.", seen["reached"]
            )
        if seen.get("names") is not None:
            yield GaugeMetricFamily(
                "churn_registry_version", "Version that production names.", seen["names"]
            )
        yield GaugeMetricFamily(
            "churn_watcher_trouble",
            "1 while the watcher cannot reach the registry, or not take what production names.",
            float(bool(seen.get("error"))),
        )
        if seen.get("code"):
            refused = GaugeMetricFamily(
                "churn_watcher_problem", "1 for the code of the watcher's problem.", labels=["code"]
            )
            refused.add_metric([str(seen["code"])], 1.0)
            yield refused
