"""Forked processes that run our code in a clone, and are killed at the write that a test names.

One process imports MLflow (seconds) and forks for every job, so a test can kill a command at each
of its writes. A write is a file under the clone opened for writing or renamed, a folder removed, or
a commit that changes the database; the kill is a SIGKILL just before it. A job that is killed at
write k has therefore done all the writes before k, and none after. Where the disk is full at write
k, the job goes on, but no write succeeds from there on.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Done:
    """What became of a job; ``writes`` names the writes that it did."""

    status: int  # negative for a signal
    said: str
    writes: list[str]

    @property
    def killed(self) -> bool:
        """Whether it was killed before its end."""
        return self.status == -signal.SIGKILL


@dataclass(frozen=True)
class Job:
    """A job under way."""

    process: Worker

    def result(self) -> Done:
        """Wait for it."""
        return self.process._answer()


class Worker:
    """The process that forks; a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
            # Threads of a numerical library would not survive the fork.
            env={**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}", "OMP_NUM_THREADS": "1"},
        )
        return self

    def warm_up(self, root: Path, code: str) -> None:
        """Run ``code`` in the process itself: what it imports, its children need not."""
        self._send({"root": str(root), "code": code, "env": {}, "here": True})
        done = self._answer()
        assert done.status == 0, done.said

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its pipes: it ends
            pass

    def start(
        self,
        root: Path,
        code: str,
        kill_at: int | None = None,
        full_at: int | None = None,
        **env: str,
    ) -> Job:
        """Run ``code`` in the clone at ``root``; it finds `clone`, and `run(main, *arguments)`."""
        job = {"root": str(root), "code": code, "kill_at": kill_at, "full_at": full_at, "env": env}
        self._send(job)
        return Job(self)

    def do(
        self,
        root: Path,
        code: str,
        kill_at: int | None = None,
        full_at: int | None = None,
        **env: str,
    ) -> Done:
        """The same, and wait for it."""
        return self.start(root, code, kill_at, full_at, **env).result()

    def _send(self, job: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{json.dumps(job)}\n")
        self._process.stdin.flush()

    def _answer(self) -> Done:
        assert self._process.stdout
        return Done(**json.loads(self._process.stdout.readline()))


def serve() -> None:
    """Do the jobs that come in, each in a child."""
    for line in sys.stdin:
        job = json.loads(line)
        scratch = Path(job["root"]).with_suffix(".job")
        scratch.mkdir(exist_ok=True)
        said, writes = scratch / "said", scratch / "writes"
        writes.touch()
        if job.get("here"):
            with redirect_stdout(StringIO()) as words:
                answer = {"status": _work(job), "said": words.getvalue(), "writes": []}
        else:
            status = _forked(job, said, writes)
            lines = writes.read_text().splitlines()
            answer = {"status": status, "said": said.read_text(), "writes": lines}
        print(json.dumps(answer), flush=True)


def _forked(job: dict[str, Any], said: Path, writes: Path) -> int:
    child = get_context("fork").Process(target=_child, args=(job, said, writes))
    child.start()
    child.join()
    return child.exitcode or 0


def _child(job: dict[str, Any], said: Path, writes: Path) -> None:
    """Do a job; what it raises, `multiprocessing` prints, and ends the process with status 1."""
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    _watch(Path(job["root"]), writes, job["kill_at"], job["full_at"])
    sys.exit(_work(job))


def _work(job: dict[str, Any]) -> int:
    import pytest
    import registry_fixtures

    from stages.shared import errors

    os.environ.update(job["env"])
    clone = registry_fixtures.Clone(Path(job["root"]))
    registry_fixtures.enter(clone, pytest.MonkeyPatch(), keep=job["env"])
    os.chdir(clone.root)

    def run(main: Any, *arguments: str) -> int:
        sys.argv = ["command", *arguments]
        try:
            errors.run(main)
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    scope: dict[str, Any] = {"clone": clone, "run": run, "status": 0}
    exec(job["code"], scope)  # noqa: S102 - a test's own words
    return int(scope["status"] or 0)


def _watch(root: Path, writes: Path, kill_at: int | None, full_at: int | None) -> None:
    """Count every write from here on, and end this process, or its disk's room, just before one."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.exc import OperationalError

    note = writes.open("w", buffering=1)
    count = 0
    pending: list[str] = []

    def before_write(what: str) -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if full_at and count >= full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), what.split(" ", 1)[1])
        note.write(f"{what}\n")

    def commit(_connection: Any) -> None:
        if pending:
            tables = " ".join(pending)
            pending.clear()
            try:
                before_write(f"commit {tables}")
            except OSError:
                full = sqlite3.OperationalError("database or disk is full")
                raise OperationalError("COMMIT", None, full) from None

    def audit(name: str, args: tuple[Any, ...]) -> None:
        what = _file_write(name, args)
        if what and what.split(" ", 1)[1].startswith(str(root)):
            before_write(what)

    event.listen(Engine, "before_cursor_execute", lambda *a: pending.extend(_table(a[2])))
    event.listen(Engine, "commit", commit)
    sys.addaudithook(audit)


def _file_write(name: str, args: tuple[Any, ...]) -> str | None:
    """What an audit event writes to, None if it does not."""
    if name == "os.rename":
        return f"rename {args[1]}"
    if name == "shutil.rmtree":
        return f"remove {args[0]}"
    writing = name == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    return f"write {args[0]}" if writing else None


def _table(statement: str) -> list[str]:
    """The table that an SQL statement changes, if it changes one."""
    words = statement.split()
    verb = words[0].upper()
    if verb == "UPDATE":
        return [words[1]]
    return [words[2]] if verb in ("INSERT", "DELETE") else []


if __name__ == "__main__":
    serve()
