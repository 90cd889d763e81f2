"""The contract of the default data, frozen, and this clone's own: `make adopt` writes another."""

from __future__ import annotations

from pathlib import Path

from stages.shared import params

CDNOW = params.parse(
    params.Data, "data", params.read(Path(__file__).with_name("cdnow.yaml"))["data"]
)
OWN = params.data()
