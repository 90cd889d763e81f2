"""What all tests share."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile

import pytest

# Of the shell that `make test` was typed in: no test may reach a registry, or a store, of its.
for name in [n for n in os.environ if n == "MLFLOW_TRACKING_URI" or n.startswith("SERVE_")]:
    del os.environ[name]
# Where the server's workers count; Prometheus' client reads the name when it is imported.
COUNTS = os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="churn-tests-")
atexit.register(shutil.rmtree, COUNTS, ignore_errors=True)


@atexit.register
def close_counts() -> None:
    """Prometheus' client keeps its files open to the end; here an open file is an error."""
    from prometheus_client.mmap_dict import MmapedDict

    for one in gc.get_objects():
        if isinstance(one, MmapedDict):
            one.close()  # type: ignore[no-untyped-call]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker ends with one of them alone."""
    slowest = ("test_story.py", "test_experiments.py", "test_kill.py", "test_adopt.py")
    names = {name: place for place, name in enumerate(slowest)}
    items.sort(key=lambda item: names.get(item.path.name, len(slowest)))
