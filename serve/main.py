"""The application with its parts, as gunicorn asks for it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from serve.app import create_app
from serve.metrics import Metrics
from serve.online import Online
from stages.shared import params

if TYPE_CHECKING:
    from flask import Flask


def application() -> Flask:
    """Make the application; called once, before the workers are made."""
    import onnxruntime  # noqa: F401 - here, so that the workers share it

    settings = params.serve()
    app = create_app(settings, Metrics(), Online(settings.online_store))
    gc.collect()
    gc.freeze()  # the collector then leaves the shared pages alone
    # A request of many rows makes many objects and no cycles: looking for some at each 700th takes
    # a tenth of its time.
    gc.set_threshold(100_000)
    return app
