"""`make audit`: known vulnerabilities of the locked packages, secrets in the tree, the images.

What could not be looked at is a finding like any other: an audit that saw nothing says so.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from packaging.markers import Marker
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from stages.shared import errors, files
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LOCK = files.ROOT / "requirements.txt"  # those of the images are a part of it: a test says so
IMAGES = {
    "churn-api": files.ROOT / "serve" / "requirements.txt",
    "churn-mlflow": files.ROOT / "ops" / "mlflow" / "requirements.txt",
}
ACCEPTED = files.ROOT / "ops" / "accepted.yaml"
SOURCES = ("pypi", "osv")
# Digests, which look like keys: of packages, of DVC's files, of the data.
NO_SECRETS = r"(requirements\.txt|dvc\.lock|\.dvc)$"
_INSTALLED = (
    "import importlib.metadata as m;"
    "print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
)
_UPGRADES = "apt-get update -qq && apt-get --simulate --quiet=2 upgrade"


def locked(text: str, *, everywhere: bool = False) -> dict[str, str]:
    """Package -> version, of a lock or of a list of what is installed.

    Args:
        text: its lines.
        everywhere: with the packages that are for other machines than this one.
    """
    lines = re.findall(r"^([\w.-]+)==([^\s;]+)(?:\s*;\s*([^\\\n]+))?", text, re.MULTILINE)
    return {
        canonicalize_name(name): version
        for name, version, marker in lines
        if everywhere or not marker or Marker(marker).evaluate()
    }


def judge(
    report: Mapping[str, Any], expected: Iterable[str], accepted: Mapping[str, str]
) -> list[str]:
    """What an advisory source's report amounts to; empty if all was looked at and nothing found.

    Args:
        report: pip-audit's JSON.
        expected: the packages that should have been looked at.
        accepted: advisory -> why it cannot be mended.
    """
    looked_at = {one["name"]: one["vulns"] for one in report["dependencies"] if "vulns" in one}
    found, seen = [], set()
    for package, advisories in looked_at.items():
        for advisory in advisories:
            names = {advisory["id"], *advisory.get("aliases", [])}
            seen |= names
            if not any(accepted.get(name) for name in names):
                fix = ", ".join(advisory.get("fix_versions", [])) or "none yet"
                found.append(f"{package} has {advisory['id']}; mended in: {fix}")
    unseen = sorted(set(expected) - {canonicalize_name(name) for name in looked_at})
    if unseen:
        found.append(
            f"nothing is known of {len(unseen)} packages ({', '.join(unseen[:3])}, …): the source "
            "of advisories has not answered for them"
        )
    elif stale := sorted(set(accepted) - seen):
        found.append(f"ops/accepted.yaml: no package has {', '.join(stale)} any more: take it out")
    return found


def advisories() -> list[str]:
    """Known vulnerabilities of the locked packages."""
    expected = locked(LOCK.read_text())
    accepted = YAML(typ="safe").load(ACCEPTED.read_text()) or {}
    found: list[str] = []
    for source in SOURCES:
        found = judge(_pip_audit(LOCK, source), expected, accepted)
        if not any(one.startswith("nothing is known") for one in found):
            break
    return found


def _pip_audit(lock: Path, source: str) -> dict[str, Any]:
    options = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
    command = [sys.executable, "-m", "pip_audit", *options, f"--vulnerability-service={source}"]
    done = _run(*command, f"--requirement={lock}")
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:  # it has not even begun: its traceback says no more than that
        return {"dependencies": []}
    return found


def secrets() -> list[str]:
    """Texts in the tree that look like secrets, and bear no `pragma: allowlist secret`."""
    listed = _run("git", "ls-files", "-z")  # by zeros: names as they are, without quotes
    if listed.returncode or not listed.stdout:
        return [f"git lists no file here: {_last(listed.stderr)}"]  # nothing would be looked at
    tracked = listed.stdout.split("\0")
    looked_at = [path for path in tracked if path and not re.search(NO_SECRETS, path)]
    done = _run(sys.executable, "-m", "detect_secrets", "scan", "--no-verify", *looked_at)
    if done.returncode:
        raise UserError(f"detect-secrets failed: {_last(done.stderr)}")
    results = json.loads(done.stdout)["results"]
    return [
        f"{path}, line {one['line_number']}: {one['type']}"
        for path, ones in results.items()
        for one in ones
    ]


def image(name: str, lock: Path) -> list[str]:
    """What an image has beside its locked packages, and which of Debian's have an update."""
    listed = _run("docker", "run", "--rm", name, "python", "-c", _INSTALLED)
    if listed.returncode:
        return [f"it could not be looked at: {_last(listed.stderr)}"]
    here, wanted = locked(listed.stdout), locked(lock.read_text(), everywhere=True)
    found = [f"{p} {v} is none of its lock" for p, v in here.items() if wanted.get(p) != v]
    asked = _run("docker", "run", "--rm", "--user=0", name, "sh", "-c", _UPGRADES)
    if asked.returncode:
        return [*found, f"Debian could not be asked for updates: {_last(asked.stderr)}"]
    due = re.findall(r"^Inst (\S+)", asked.stdout, re.MULTILINE)
    if due:
        found.append(f"Debian has updates of {', '.join(due)}: pull the base image, make images")
    return found


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=files.ROOT, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _last(text: str) -> str:
    return next(iter(text.strip().splitlines()[-1:]), "it gave no reason")


def main() -> None:
    """Look at everything, and say of each what was found."""
    looks: list[tuple[str, list[str]]] = [
        ("advisories", advisories()),
        ("secrets", secrets()),
        *((name, image(name, lock)) for name, lock in IMAGES.items()),
    ]
    for what, found in looks:
        for line in found or ["nothing found"]:
            print(f"audit: {what}: {line}")
    if number := sum(len(found) for _, found in looks):
        raise UserError(f"the audit has {number} finding{'s' * (number != 1)}: see above")


if __name__ == "__main__":
    errors.run(main)
