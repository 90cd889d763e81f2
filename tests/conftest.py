"""What all tests share."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker ends with one of them alone."""
    slowest = ("test_story.py", "test_experiments.py", "test_kill.py", "test_adopt.py")
    names = {name: place for place, name in enumerate(slowest)}
    items.sort(key=lambda item: names.get(item.path.name, len(slowest)))
