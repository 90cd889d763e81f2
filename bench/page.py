"""The page of 36 months by 200 columns: seconds to make it, its size, its first paint."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from page.facts import Facts, to_json
from stages.registry import ledger
from stages.shared import files

MONTHS, COLUMNS, RUNS = 36, 200, 7
LIMIT = 0.1
_LABELS = {
    "what": "the label rate", "p_value": 0.2, "effect": 0.01, "auc_window": 0.73,
    "auc_month": 0.72, "rate_window": 0.2, "rate_month": 0.21, "alarm": False,
}  # fmt: skip
# Resolves when it has been painted, whether or not that was before.
PAINT = """new Promise(done => new PerformanceObserver(list => done(list.getEntries()[0].startTime))
    .observe({type: "paint", buffered: true}))"""
BROWSERS = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")


def names(count: int) -> list[str]:
    """So many months, from 2021-01 on."""
    return [f"{2021 + n // 12}-{n % 12 + 1:02d}" for n in range(count)]


def facts(months: int = MONTHS, columns: int = COLUMNS, *, drifted: bool = True) -> Facts:
    """Made-up facts of a loop that has run for so many months.

    Args:
        months: how many; the first three have no share.
        columns: how many; one in ten is a category.
        drifted: whether months ever leave their window.
    """
    rng = np.random.default_rng(1)
    named = names(months)
    steps = [_step(named, n, columns, rng, drifted=drifted) for n in range(months)]
    renewed = [n for n in range(months) if steps[n]["renewed"]]
    events = _events(named, renewed)
    found = {
        f"column_{i:03d}": {
            "bins": [f"{b} to {b + 1}" for b in range(10)] + ["(missing)"],
            "months": {m: rng.multinomial(1000, [1 / 11] * 11).tolist() for m in named},
        }
        for i in range(columns)
    }
    version = events[-1]["to_version"] if events else None
    return Facts(
        as_of="2024-01-31T08:00:00+00:00",
        next_step="make month && make repro",
        outcome="undecided" if events else None,
        drift={"trigger": "evidence", "window": named[-6:], "pending": None, "months": steps},
        candidate={"digest": "f" * 64, "estimator": "hist_gradient_boosting", "window": named[-6:]},
        evaluate={"auc": 0.73, "auc_interval": [0.71, 0.75], "log_loss": 0.55, "n": 2000},
        compare=_compare(version),
        events=events,
        runs=_runs(named, renewed),
        quality=_quality(named, events, rng),
        curves={name: _curve(bend) for name, bend in (("candidate", 2.4), ("production", 2.1))},
        columns=found,
        form=_form(columns, version) if version else None,
        settings={"delta": 0.005, "min_lower_bound": 0.0, "confidence": 0.95, "approval": "auto"},
    )


def with_column(found: Facts, name: str) -> Facts:
    """The same facts, with their first column called otherwise."""
    text = json.dumps(to_json(found)).replace('"column_000"', json.dumps(name))
    return replace(found, **json.loads(text))


def _step(
    named: list[str], n: int, columns: int, rng: np.random.Generator, *, drifted: bool
) -> dict[str, Any]:
    judged = n >= 3
    wild = drifted and judged and n % 7 in (4, 5)
    measured = {}
    for i in range(columns * judged):
        value = float(rng.gamma(2.0, 0.12 if wild else 0.015))
        if not drifted:
            value = min(value, 0.099)
        measured[f"column_{i:03d}"] = {
            "method": "jensenshannon" if i % 10 == 9 else "wasserstein",
            "value": round(value, 6),
            "threshold": LIMIT,
            "drifted": value >= LIMIT,
            "importance": round(0.02 / (i + 1), 6),
            "matters": i < 20,
            "p_value": (0.0001 if value >= LIMIT else 0.3) if i < 20 else None,
            "alarm": value >= LIMIT and wild and i < 20,
        }
    moved = [name for name, column in measured.items() if column["drifted"]]
    share = len(moved) / columns if judged else None
    alarmed = any(column["alarm"] for column in measured.values())
    return {
        "month": named[n],
        "rows": 10_000,
        "window": named[max(0, n - 8) : max(1, n - 2)] if judged else None,
        "share": share,
        "threshold": 0.3,
        "triggered": alarmed,
        "renewed": n % 7 == 6,
        "reason": "made up",
        "columns": measured,
        "label_tests": {named[n - 3]: _LABELS} if judged else {},
        "broken": {},
        "labels": "known" if n < len(named) - 3 else "not due yet",
    }


def _events(named: list[str], renewed: list[int]) -> list[dict[str, Any]]:
    events: list[ledger.Event] = []
    placed = [3, *renewed[::2]] if len(named) > 3 else []
    for version, n in enumerate(placed, start=1):
        move = ledger.Move(
            kind="promote",
            from_version=version - 1 or None,
            to_version=version,
            candidate=f"{version:064x}",
            who="maintainer",
            why="gain in AUC +0.0121 [+0.0056, +0.0184]: at least compare.delta 0.005",
            when=f"{named[n]}-15T08:00:00Z",
            by_hand=False,
            evidence={
                "month": named[n],
                "window": named[max(0, n - 8) : n - 2] or named[:1],
                "auc": 0.731,
                "gain": 0.0121 if version > 1 else None,
                "interval": [0.0056, 0.0184] if version > 1 else None,
                "production_version": version - 1 or None,
                "verdict": "promote",
            },
        )
        events.append(ledger.append(events, move))
    return [{**vars(event), "month": event.evidence["month"]} for event in events]


def _compare(version: int | None) -> dict[str, Any]:
    if version is None:
        return {}
    return {
        "verdict": "undecided",
        "gain": 0.0057,
        "interval": [-0.003, 0.0131],
        "reasons": ["gain in AUC +0.0057 [-0.0030, +0.0131]: may be no more than 0"],
        "least_gain_shown": 0.0087,
        "production_version": version,
        "measured": {"production_auc": 0.727, "log_loss_gain": 0.035, "rows": 2000},
    }


def _runs(named: list[str], renewed: list[int]) -> list[dict[str, Any]]:
    """A run for each window: every other one was promoted, as version 2 and so on."""
    return [
        {
            "digest": f"{900 + n if place % 2 else 2 + place // 2:064x}",
            "window": named[max(0, n - 8) : n - 2],
            "month": named[n],
            "verdict": ("promote", "reject", "promote", "undecided")[place % 4],
            "url": "http://127.0.0.1:5000/#/experiments/1/runs/0",
            "auc": 0.72,
            "gain": -0.004,
            "low": -0.012,
            "high": 0.003,
        }
        for place, n in enumerate(renewed)
    ]


def _quality(
    named: list[str], events: list[dict[str, Any]], rng: np.random.Generator
) -> list[dict[str, Any]]:
    found = []
    for name in named[:-3]:
        before = [event for event in events if event["month"] <= name]
        if before:
            auc = float(0.72 + rng.normal() / 90)
            version = before[-1]["to_version"]
            low, high = auc - 0.022, auc + 0.022
            one = {"month": name, "version": version, "n": 2000}
            found.append({**one, "auc": auc, "low": low, "high": high})
    return found


def _curve(bend: float) -> dict[str, Any]:
    at = np.linspace(0, 1, 60)
    tenths = np.linspace(0.05, 0.95, 10)
    return {
        "roc": np.stack([at, 1 - (1 - at) ** bend], 1).round(4).tolist(),
        "calibration": np.stack([tenths, tenths ** (bend / 2.2)], 1).round(4).tolist(),
    }


def _form(columns: int, version: int) -> dict[str, Any]:
    named = [f"column_{i:03d}" for i in range(columns)]
    return {
        "version": version,
        "id": "customer",
        "features": {name: {"type": "number", "min": 0, "max": 100} for name in named},
        "example": dict.fromkeys(named, 1.5),
    }


def browser() -> str | None:
    """Chromium, where this machine has it."""
    return next((path for path in BROWSERS if Path(path).is_file()), None)


def paints(page: Path, runs: int = RUNS) -> list[float]:
    """Milliseconds to the first paint in headless Chromium; the first start is not counted."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=browser())
        for _ in range(runs + 1):
            tab = chromium.new_page(viewport={"width": 1440, "height": 900})
            tab.goto(page.as_uri())
            found.append(tab.evaluate(PAINT))
            tab.close()
        chromium.close()
    return found[1:]


def main() -> list[tuple[str, str, str]]:
    """Rows of the table: what, reached, asked."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "facts.json", Path(folder) / "page.html"
        files.write_json(given, to_json(facts()))
        command = [sys.executable, "-m", "page", "--facts", str(given), "--out", str(out)]
        seconds, worked = [], []
        for _ in range(RUNS):
            begun, before = time.perf_counter(), _processor_seconds()
            subprocess.run(command, cwd=files.ROOT, check=True, capture_output=True)
            seconds.append(time.perf_counter() - begun)
            worked.append(_processor_seconds() - before)
        size = out.stat().st_size / 1e6
        what = f"the page of {MONTHS} months by {COLUMNS} columns"
        rows = [
            (f"{what}: made from its facts, imports included", _range(seconds, "s"), "2 s"),
            (f"{what}: the same, processor time", _range(worked, "s"), ""),
            (f"{what}: its size", f"{size:.2f} MB", "1.5 MB"),
        ]
        if browser():
            painted = paints(out)
            rows.append((f"{what}: first paint in Chromium", _range(painted, "ms"), "200 ms"))
    return rows


def _processor_seconds() -> float:
    """What the processes took that this one has waited for: a busy machine adds little to it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _range(values: list[float], unit: str) -> str:
    digits = 0 if unit == "ms" else 2
    middle = float(np.median(values))
    return f"{middle:.{digits}f} {unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"
