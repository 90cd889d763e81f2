"""DVC's command line, for the few things that only DVC knows how to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stages.shared.errors import UserError


def run(where: Path, *arguments: str) -> str:
    """Run ``dvc`` in a folder and return what it prints.

    Raises:
        UserError: DVC's own error, in one line.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(
        command, cwd=where, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        # What DVC did not expect it ends with a traceback, whose last line says what it was.
        named = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        why = next(iter([*named, *reversed(lines)]), f"exit status {done.returncode}")
        raise UserError(f"`dvc {' '.join(arguments)}` failed: {why}")
    return done.stdout
