"""`make test-hostile`: a hundred thousand hostile values at every edge of the product.

An edge is where something from outside becomes a path, a word of a shell, SQL, HTML or a header.
There a value is taken as what it should be, or refused in one line; nothing outside of the root
changes. CASES in the environment says how many there are, and SEED which.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import shutil
import socket
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from functools import cache, wraps
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import hostile
import orjson
import pytest
import registry_fixtures
import serve_fixtures
import test_access
import test_evidently_page
import test_trust
from hostile import Canary, halves, near, texts, values
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from sqlalchemy.exc import SQLAlchemyError

from bench import page as made_up
from data.adoption import section
from page import render
from serve import access, features, online, watch
from serve.problems import Problem
from stages import ingest
from stages.commands import history, restore
from stages.registry import birthplace, evidence, ledger, ledger_copy, moves, store
from stages.shared import (
    dvc_files,
    errors,
    evidently_page,
    files,
    identifiers,
    months,
    params,
    policy,
    snapshots,
    terminal,
    words,
)
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and scikit-learn warn about their own

CASES = int(os.environ.get("CASES") or 100_000)
SEED = int(os.environ.get("SEED") or 1)
COUNTED: Counter[str] = Counter()
T = TypeVar("T")


def cases(edge: str, of_100_000: int, **given_: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Let a test have its share of the cases, and count them."""

    def decorate(test: Callable[..., None]) -> Any:
        @wraps(test)
        def counted(*arguments: Any, **named: Any) -> None:
            test(*arguments, **named)
            COUNTED[edge] += 1

        number = math.ceil(CASES * of_100_000 / 100_000)
        rules = settings(
            max_examples=number, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
        )  # fmt: skip
        return seed(SEED)(rules(given(**given_)(counted)))

    return decorate


@pytest.fixture(scope="module", autouse=True)
def told() -> Iterator[None]:
    """Print how many cases there were; the last test looks at their sum."""
    yield
    print(*(f"{number:>8,}  {edge}" for edge, number in COUNTED.items()), sep="\n")
    print(f"{COUNTED.total():>8,}  hostile values, seed {SEED}")


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canary]:
    """A clone's root in a tree that has to stay as it is."""
    made = Canary(tmp_path / "canary")
    registry_fixtures.enter(registry_fixtures.Clone(made.root), monkeypatch)
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("HOME", str(made.root))
    assert made.is_whole()
    yield made
    assert made.is_whole()


def said(error: UserError | OSError) -> str:
    """What the command line prints of an error: one line."""
    shown = StringIO()

    def main() -> None:
        raise error

    with redirect_stderr(shown), redirect_stdout(StringIO()), suppress(SystemExit):
        errors.run(main)
    text = shown.getvalue()
    assert text.startswith("error: ")
    assert text.endswith("\n")
    assert text[:-1].isprintable(), ascii(text)
    return text


def taken(read: Callable[..., T], *arguments: Any) -> T | None:
    """What a reader makes of a value; None where it refuses it in one line."""
    try:
        return read(*arguments)
    except UserError as error:
        said(error)
    return None


def parsed(read: Callable[..., T], *arguments: Any) -> T | None:
    """The same of a pure parser, whose caller makes the line of it."""
    try:
        return read(*arguments)
    except ValueError as error:
        refused = str(error)
    assert refused.isprintable(), ascii(refused)
    return None


# --- identifiers and paths ----------------------------------------------------------------------

DIGEST, ADDRESS = "0123456789abcdef" * 4, "0123456789abcdef" * 2
IDENTIFIERS = near(DIGEST, ADDRESS, f"{ADDRESS}.dir", "17", "2024-01", "models/candidate")


@cases("identifiers", 8_400, value=values | IDENTIFIERS)
def test_an_identifier_is_of_its_form_or_refused(value: Any) -> None:
    digest, address = parsed(identifiers.digest, value), parsed(identifiers.address, value)
    assert digest is None or re.fullmatch("[0-9a-f]{64}", digest)
    assert address is None or re.fullmatch(r"[0-9a-f]{32}(\.dir)?", address)
    version, inner = parsed(identifiers.version, value), parsed(dvc_files.inner_path, value)
    assert version is None or 0 < version < 2**31
    assert inner is None or (".." not in Path(inner).parts and not Path(inner).is_absolute())
    if isinstance(value, str):
        if months.is_month(value):
            assert months.year_before(value) < value
        place = birthplace.path_of(value)
        assert place is None or (place.is_absolute() and ".." not in place.parts)
    assert identifiers.shown(value).isprintable()


@cases("paths that are written and removed", 5_000, parts=st.lists(
    texts | st.sampled_from(["..", ".", "out", "below", "", "below/x"]), min_size=1, max_size=4,
))  # fmt: skip
def test_what_is_removed_lies_below_its_root(canary: Canary, parts: list[str]) -> None:
    parts = [canary.grounded(part) for part in parts]
    (canary.root / "below").mkdir(exist_ok=True)
    path = taken(files.inside, canary.root, *parts)
    if path is not None:
        assert path.parent.resolve().is_relative_to(canary.root)
        with suppress(OSError):
            files.remove(canary.root, *parts)
    if not (canary.root / "out").is_symlink():
        (canary.root / "out").symlink_to(canary.root.parent / "beside")


# --- the registry -------------------------------------------------------------------------------

# What a registry says that becomes a path, a number or an address of ours.
SAYS = {
    "digest": "UPDATE model_version_tags SET value = ? WHERE key = 'digest' AND version = 2",
    "placeholder": "UPDATE model_version_tags SET key = ? WHERE key = 'digest' AND version = 2",
    "run": "UPDATE model_versions SET run_id = ? WHERE version = 2",
    "source": "UPDATE model_versions SET source = ?",
    "location": "UPDATE model_versions SET storage_location = ?",
    "stage": "UPDATE model_versions SET current_stage = ? WHERE version = 2",
    "status": "UPDATE model_versions SET status = ? WHERE version = 2",
    "alias": "UPDATE registered_model_aliases SET version = ?",
    "alias's name": "UPDATE registered_model_aliases SET alias = ?",
    "files of a run": "UPDATE runs SET artifact_uri = ?",
    "status of a run": "UPDATE runs SET status = ?",
    "files of experiments": "UPDATE experiments SET artifact_location = ?",
    "place of an event": "UPDATE experiments SET name = 'churn_model/ledger/' || ? "
    "WHERE name = 'churn_model/ledger/000002'",
    "event": "UPDATE experiment_tags SET value = ? WHERE key = 'event.0'",
    "part of an event": "UPDATE experiment_tags SET key = ? WHERE key = 'event.0'",
    "digest of a run": "UPDATE tags SET value = ? WHERE key = 'digest'",
    "version's number": "UPDATE model_versions SET version = ? WHERE version = 2",
}


class Registry:
    """A registry of two versions in a canary, which anybody writes into and which is put back."""

    def __init__(self, canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
        root = canary.root
        made = registry_fixtures.promoted(2)
        clone = registry_fixtures.make(root)
        for name in ("models", "mlflow", "reports"):
            shutil.copytree(made / name, root / name, dirs_exist_ok=True)
        registry_fixtures.enter(clone, monkeypatch)
        self.canary, self.root, self.file = canary, root, root / "mlflow" / "mlflow.db"
        self.serving = root / "models" / "serving"
        self.serving.mkdir()
        moves.gather()  # its addresses are put right
        with closing(sqlite3.connect(self.file)) as database:
            tables = {sql.split()[1] for sql in SAYS.values()}
            self._kept = {
                table: database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
                for table in tables
            }

    def write(self, what: str, value: Any) -> bool:
        """Write a value over what the registry says; False if SQLite does not take it."""
        with closing(sqlite3.connect(self.file)) as database, database:
            try:
                database.execute(SAYS[what], (value,))
            except (sqlite3.Error, OverflowError):
                database.rollback()
                return False
        return True

    def put_back(self) -> None:
        """Let it say again what it said at first."""
        with closing(sqlite3.connect(self.file)) as database, database:
            for table, rows in self._kept.items():
                database.execute(f"DELETE FROM {table}")  # noqa: S608
                marks = ", ".join("?" * len(rows[0]))
                database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608

    def ask(self) -> None:
        """Ask it all that the commands and the watcher ask."""
        for read in (store.read, moves.gather, store.production, store.named):
            taken(read)
        known = taken(store.versions) or {}
        for version in known.values():
            shutil.rmtree(files.MEMORY, ignore_errors=True)
            assert version.digest is None or re.fullmatch("[0-9a-f]{64}", version.digest)
            folder = taken(store.fetch, version)
            assert folder is None or folder.parent == store.candidates()
            taken(watch.take, version, self.serving)
        below = {path.name for path in self.serving.iterdir()} - {"current.json"}
        assert all(re.fullmatch("[0-9a-f]{64}", name) for name in below), below


@pytest.fixture
def registry(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> Registry:
    return Registry(canary, monkeypatch)


@cases("values of the registry", 400, what=st.sampled_from(sorted(SAYS)),
       value=texts | st.integers()
       | near(DIGEST, "2", "000002", "file:///x/mlflow/artifacts"))  # fmt: skip
def test_a_registry_may_say_anything(registry: Registry, what: str, value: Any) -> None:
    value = registry.canary.all_grounded(value)
    assume(registry.write(what, value))
    try:
        registry.ask()
    finally:
        registry.put_back()


# --- the ledger ---------------------------------------------------------------------------------


@cases("events of the ledger: a field", 7_000,
       field=st.sampled_from(sorted(test_trust.PLAIN)) | texts,
       value=values | test_trust.JSON | IDENTIFIERS | near("2026-11-20T10:00:00Z"))  # fmt: skip
def test_an_event_with_any_value_is_read_or_refused(field: str, value: Any) -> None:
    refuse_or_read({**test_trust.PLAIN, field: value})


@cases("events of the ledger: the evidence", 6_000, known=st.dictionaries(
    st.sampled_from(test_trust.KNOWN) | texts,
    values | IDENTIFIERS | st.lists(IDENTIFIERS, max_size=2)
    | st.dictionaries(texts, IDENTIFIERS, max_size=2), max_size=4,
))  # fmt: skip
def test_evidence_of_any_kind_is_read_or_refused(known: dict[str, Any]) -> None:
    refuse_or_read({**test_trust.PLAIN, "evidence": known})


def refuse_or_read(content: Any) -> None:
    with suppress(UnicodeEncodeError):  # half a character: no database and no file holds it
        json.dumps(content, ensure_ascii=False).encode()
        test_trust.refused_or_read(content)


def chain() -> str:
    """Three events as the copy has them."""
    events: list[ledger.Event] = []
    for n in range(1, 4):
        move = {k: v for k, v in test_trust.PLAIN.items() if k not in {"n", "prev", "hash"}}
        move |= {"to_version": n, "from_version": n - 1 or None, "candidate": f"{n:064x}"}
        events.append(ledger.append(events, ledger.Move(**move)))
    return "".join(f"{ledger.to_text(event)}\n" for event in events)


CHAIN = chain()


@cases("copies of the ledger", 4_000, text=near(CHAIN, *CHAIN.splitlines()) | texts)
def test_a_copy_of_the_ledger_is_read_or_refused(canary: Canary, text: str) -> None:
    ledger_copy.path().parent.mkdir(exist_ok=True)
    ledger_copy.path().write_bytes(text.encode("utf-8", "surrogatepass"))
    events = taken(ledger_copy.read)
    if events is None:
        return
    assert ledger.broken_at(events) is None
    written = "".join(f"{ledger.to_text(event)}\n" for event in events)
    assert "".join(f"{line}\n" for line in text.split("\n") if line) == written
    ledger.state(events)
    history.rows(events)


# --- DVC's files --------------------------------------------------------------------------------

LOCK: dict[str, Any] = {
    "schema": "2.0",
    "stages": {
        "train": {
            "cmd": "python -m stages.train",
            "deps": [{"path": "data/train.parquet", "hash": "md5", "md5": ADDRESS, "size": 1}],
            "params": {"params.yaml": {"train": {"seed": 1}}},
            "outs": [{"path": "models/candidate", "md5": f"{ADDRESS}.dir", "nfiles": 3}],
        },
    },
}
POINTER: dict[str, Any] = {"outs": [{"md5": f"{ADDRESS}.dir", "hash": "md5", "path": "raw"}]}


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values in a value."""
    inner: list[tuple[Any, Any]] = list(value.items()) if isinstance(value, dict) else []
    inner += enumerate(value) if isinstance(value, list) else []
    return [at, *(place for key, one in inner for place in places(one, (*at, key)))]


def put(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """The value with another one at a place."""
    if not at:
        return new
    key, *rest = at
    if isinstance(value, dict):
        return {k: put(v, tuple(rest), new) if k == key else v for k, v in value.items()}
    return [put(v, tuple(rest), new) if n == key else v for n, v in enumerate(value)]


def one_place(whole: Any, new: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(lambda at, one: put(whole, at, one), st.sampled_from(places(whole)), new)


def document(value: Any) -> str:
    """JSON is YAML."""
    return json.dumps(value, ensure_ascii=False, default=str)


DVC_PATHS = near("models/candidate", "raw", ADDRESS, f"{ADDRESS}.dir")


@cases("values in DVC's files", 5_000,
       lock=one_place(LOCK, values | DVC_PATHS),
       pointer=one_place(POINTER, values | DVC_PATHS))  # fmt: skip
def test_dvcs_files_with_any_value_are_read_or_refused(lock: Any, pointer: Any) -> None:
    for entry in (parsed(dvc_files.lock_entries, document(lock)) or {}).values():
        assert all(re.fullmatch(r"[0-9a-f]{32}(\.dir)?", md5) for md5 in entry.writes.values())
        assert all(".." not in Path(path).parts for path in entry.writes)
    found = parsed(dvc_files.pointer_outputs, document(pointer)) or {}
    assert not any(Path(path).is_absolute() or ".." in Path(path).parts for path in found)


def yaml(value: Any) -> str:
    stream = StringIO()
    YAML().dump(value, stream)
    return stream.getvalue()


LOCK_TEXT, POINTER_TEXT = yaml(LOCK), yaml(POINTER)
WIRING_TEXT = "stages: {train: {}, evaluate: {}, compare: {}, promote: {}}\n"


@cases("texts of DVC's files", 5_000,
       text=texts | near(LOCK_TEXT, POINTER_TEXT, WIRING_TEXT),
       encoding=st.sampled_from(["utf-8", "utf-16"]))  # fmt: skip
def test_dvcs_files_with_any_text_are_read_or_refused(
    canary: Canary, text: str, encoding: str
) -> None:
    content = text.encode(encoding, "surrogatepass")
    (canary.root / "dvc.yaml").write_text(WIRING_TEXT)
    (canary.root / "data").mkdir(exist_ok=True)
    for path, read in (
        (files.LOCK, dvc_files.lock),
        (
            canary.root / "data" / "raw.dvc",
            lambda: [dvc_files.pointer(one) for one in dvc_files.pointers()],
        ),
        (canary.root / "dvc.yaml", dvc_files.wiring),
    ):  # fmt: skip
        path.write_bytes(content)
        taken(read)
        taken(dvc_files.check)
        taken(evidence.addresses)
        path.unlink()


@cases("what DVC's cache says", 3_000,
       named=st.dictionaries(
           texts | DVC_PATHS, values | st.just(f"{ADDRESS}.dir") | DVC_PATHS, max_size=3),
       listed=values | st.lists(max_size=3, elements=st.fixed_dictionaries(
           {"relpath": texts | near("model.json"), "md5": st.just(ADDRESS) | texts})))  # fmt: skip
def test_what_is_copied_from_dvcs_cache_stays_below_its_root(
    canary: Canary, monkeypatch: pytest.MonkeyPatch, named: dict[str, Any], listed: Any
) -> None:
    cache = canary.root / "cache"
    for md5, content in ((ADDRESS, "x"), (f"{ADDRESS}.dir", document(canary.all_grounded(listed)))):
        place = restore.address(cache, identifiers.address(md5))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8", errors="replace")
    monkeypatch.setattr(restore, "cache_folder", lambda: cache)  # DVC takes a second to say it
    into = canary.root / "into"
    with suppress(OSError):  # a name too long, a file where a folder is
        taken(restore._fill, into, canary.all_grounded(named))
    if into.exists():
        assert all(path.resolve().is_relative_to(into) for path in into.rglob("*"))
        shutil.rmtree(into)
    left = {path.name for path in canary.root.iterdir()}
    assert left <= {"cache", "out", "kept.txt", "beside", "models", "data", "a", "etc"}, left


# --- names of files, and what is in them --------------------------------------------------------

FILE_NAMES = (near("2024-01.csv", "2024-12.parquet", "README.md") | texts).map(
    lambda text: os.fsdecode(hostile.without(text, "/", "\0").encode("utf-8", "replace")[:250])
)


@cases("names of months' files", 4_000, name=FILE_NAMES)
def test_a_folder_of_months_takes_months_alone(canary: Canary, name: str) -> None:
    folder = canary.root / "raw"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "2023-01.csv").write_text("a\n1\n")
    try:
        (folder / name).write_text("a\n1\n")
    except OSError:
        assume(False)
    found = taken(snapshots.find, folder) or {}
    assert all(re.fullmatch(r"\d{4}-\d\d", month, re.ASCII) for month in found)
    assert all(path.parent == folder for path in found.values())


CUSTOMERS = params.Data.model_validate(
    {"id": "customer", "label": "left", "label_delay": 1, "features": {
        "spend": {"type": "number", "min": 0}, "plan": {"type": "category", "values": ("a", "b")},
        "paperless": {"type": "boolean"}}}
)  # fmt: skip
MONTH = "customer,spend,plan,paperless,left\n1,2.5,a,true,0\n2,3,b,false,1\n3,,a,,\n4,1,a,no,0\n"


@cases("months' files", 2_000, text=near(MONTH) | texts, share=st.sampled_from([0.3, 1.0]))
def test_a_month_is_read_or_refused(canary: Canary, text: str, share: float) -> None:
    path = canary.root / "2024-01.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    judged = taken(ingest.judge, path, CUSTOMERS, share)
    if judged and not judged.refusal:
        table = judged.table.to_pydict()
        assert set(table["plan"]) <= {"a", "b", None}
        assert all(value is None or 0 <= value <= 1e30 for value in table["spend"])
        assert set(table["paperless"]) <= {True, False, None}
    if judged:
        ingest._write_rejected(canary.root / "rejected.csv", path.name, judged.rejected)


# --- params.yaml and the environment ------------------------------------------------------------

SECTIONS = params.read()
SETTINGS = [
    *(near("127.0.0.1", "10.0.0.0/8", "churn.example.org", "[::1]", "sqlite:///data/online.db"),),
    values,
]
PARAMETERS = st.sampled_from(sorted(SECTIONS)).flatmap(
    lambda name: st.tuples(st.just(name), one_place(SECTIONS[name], st.one_of(SETTINGS)))
)


@cases("values of params.yaml", 7_000, given_=PARAMETERS)
def test_a_section_with_any_value_is_read_or_refused(given_: tuple[str, Any]) -> None:
    name, value = given_
    kind = params.SECTIONS[name]
    found = taken(params.parse, kind, name, value)
    assert found is None or isinstance(found, kind)


@cases(
    "keys of params.yaml", 3_000, name=st.sampled_from(sorted(SECTIONS)), key=texts, value=values
)
def test_a_section_with_any_key_is_read_or_refused(name: str, key: str, value: Any) -> None:
    taken(params.parse, params.SECTIONS[name], name, {**SECTIONS[name], key: value})
    if name == "data":
        columns = {**SECTIONS[name]["features"], key: value}
        taken(params.parse, params.Data, name, {**SECTIONS[name], "features": columns})


SMALL = "serve:\n  host: 127.0.0.1\n  allowed_hosts: [api]\n  folder: models/serving\n"


@cases("texts of params.yaml", 4_000, text=near(SMALL) | texts)
def test_a_file_of_parameters_is_read_or_refused(canary: Canary, text: str) -> None:
    files.PARAMS.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = taken(params.read)
    assert found is None or set(found) <= set(params.SECTIONS)


ENVIRONMENT = sorted(f"SERVE_{key.upper()}" for key in params.Serve.model_fields)


@cases("the environment", 3_000, name=st.sampled_from(ENVIRONMENT),
       value=texts | near("127.0.0.1", "10.0.0.0/8,::1", "a.example, b", "1e3"))  # fmt: skip
def test_a_variable_of_the_environment_is_read_or_refused(name: str, value: str) -> None:
    given_ = hostile.without(value, "\0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, given_)
        merged = params.from_environment(params.Serve, SECTIONS["serve"])
        found = taken(params.parse, params.Serve, "serve", merged)
    if found:
        assert all(re.fullmatch(r"[\w.:-]+", host, re.ASCII) for host in found.allowed_hosts)
        names = access.hosts(found) - {found.host.lower(), f"[{found.host}]"}
        assert all(access.name_of(name) == name for name in names)


@cases("addresses of the online store", 1_000,
       url=texts
       | near("sqlite:///data/online.db", "sqlite://", "sqlite:///x?mode=ro&uri=true"))  # fmt: skip
def test_an_address_of_the_online_store_is_taken_or_refused(canary: Canary, url: str) -> None:
    url = hostile.without(canary.grounded(url), "..")
    (canary.root / "data").mkdir(exist_ok=True)
    taken(features.fill, url, iter([]), "key")
    store_ = online.Online(url)
    with suppress(Problem), redirect_stderr(StringIO()):  # gevent tells what a thread raised
        store_.features("1", frozenset())


# --- make ---------------------------------------------------------------------------------------

# Writes down what it was called with, byte for byte.
RECORDER = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word"; done > "$RECORDED"
"""
VARIABLES = {
    "promote": ["REASON"], "rollback": ["VERSION", "REASON"], "history": ["AS_OF"],
    "adopt": ["DATA", "ID", "LABEL", "KEEP"], "serve": ["PORT"],
    "simulate": ["SCENARIO", "MONTHS", "ROWS", "SEED", "ONSET", "KIND"],
}  # fmt: skip


@pytest.fixture
def typed(canary: Canary) -> Canary:
    """A clone of the Makefile alone, in which python notes its arguments."""
    root = canary.root
    shutil.copy(registry_fixtures.ROOT / "Makefile", root)
    (root / "requirements.txt").touch()
    environment = root.parent / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").write_text(RECORDER)
    (environment / "bin" / "python").chmod(0o755)
    (environment / "installed").touch()
    (root / ".venv").symlink_to(environment)
    canary.accept()
    return canary


@cases("variables of make", 1_500, target=st.sampled_from(sorted(VARIABLES)), value=texts,
       number=st.integers(0, 5), exported=st.booleans())  # fmt: skip
def test_what_is_typed_reaches_the_command_to_the_letter(
    typed: Canary, target: str, value: str, number: int, exported: bool
) -> None:
    name = VARIABLES[target][number % len(VARIABLES[target])]
    value = hostile.without(value, "\0")
    recorded = typed.root / "recorded"
    recorded.unlink(missing_ok=True)
    given_ = f"{name}={value}".encode("utf-8", "replace")
    environment = {"PATH": os.environ["PATH"], "RECORDED": str(recorded), "HOME": str(typed.root)}
    command: list[Any] = ["make", "--no-print-directory", target]
    if exported:
        environment[name] = value.encode("utf-8", "replace").decode()
    else:
        command.append(given_)
    done = subprocess.run(
        command, cwd=typed.root, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    option = name.lower().replace("_", "-")
    words_ = recorded.read_bytes().split(b"\0")[:-1]
    expected = given_.partition(b"=")[2].replace(b"\n", b" ").lstrip()  # make cuts blanks off
    start = f"--{option}=".encode()
    found = [word.removeprefix(start).lstrip() for word in words_ if word.startswith(start)]
    assert found == ([expected] if expected else []), (words_, expected)
    assert not [path for path in typed.root.iterdir() if path.name == "broken"]


# --- requests -----------------------------------------------------------------------------------

GOOD = serve_fixtures.GOOD
BODIES = (
    one_place(GOOD, values),
    st.dictionaries(st.sampled_from([*GOOD, "customer", "instances"]) | texts, values, max_size=4),
    one_place({"instances": [GOOD, {**GOOD, "customer": "1"}]}, values),
    one_place({"dataframe_records": [GOOD]}, values),
    one_place({"dataframe_split": {"columns": list(GOOD), "data": [list(GOOD.values())]}}, values),
)
HEADERS = st.sampled_from(
    ["Content-Type", "Accept", "Authorization", "X-Forwarded-For", "Cookie", "If-None-Match",
     "If-Modified-Since", "Range", "Accept-Encoding", "Content-Encoding", "Expect", "Origin"]
)  # fmt: skip
ALLOWED = {200, 304, 400, 404, 405, 411, 412, 413, 414, 415, 416, 421, 422, 503}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("served")
    serve_fixtures.put(folder, 1)
    url = f"sqlite:///{folder}/online.db"
    rows = [{"customer": "1", "month": "2024-01", "features": json.dumps(GOOD)}]
    online.replace(online.engine(url), rows, "key")
    return serve_fixtures.client(folder, online_store=url)


def answered(response: Any) -> None:
    """Assert that an answer is one of ours, and has nothing of the client's in its headers."""
    assert response.status_code in ALLOWED, (response.status_code, response.data)
    names = [name.lower() for name, _ in response.headers]
    assert len(names) == len(set(names))
    for _, value in response.headers:
        assert value.isprintable()
        assert "broken" not in value
    assert "location" not in names
    if response.mimetype.endswith("json") and response.data:
        found = json.loads(response.data)
        assert response.status_code in {200, 503} or found["status"] == response.status_code
    elif response.mimetype == "text/html":
        assert b"<script>broken" not in response.data


@cases("bodies of requests: values", 6_000, value=st.one_of(BODIES) | values,
       path=st.sampled_from(["/predict", "/explain", "/invocations"]),
       kind=st.sampled_from(["application/json", "application/json; charset=utf-8"]))  # fmt: skip
def test_a_body_with_any_value_is_answered(client: Any, value: Any, path: str, kind: str) -> None:
    body = document(value).encode("utf-8", "surrogatepass")
    answered(client.post(path, data=body, content_type=kind))


@cases("bodies of requests: texts", 3_000,
       text=texts | near(json.dumps(GOOD), '{"instances": [{}]}') | st.binary(max_size=40),
       path=st.sampled_from(["/predict", "/explain", "/invocations"]),
       kind=st.just("application/json") | texts)  # fmt: skip
def test_a_body_of_any_bytes_is_answered(client: Any, text: Any, path: str, kind: str) -> None:
    body = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    with suppress(ValueError):  # a line end in a header: Werkzeug's client does not send it
        answered(client.post(path, data=body, content_type=kind))


@cases("customers by id", 3_000, customer=texts | near("1"))
def test_a_customer_is_found_by_its_own_id_alone(client: Any, customer: str) -> None:
    body = json.dumps({"customer": customer}).encode()
    response = client.post("/predict", data=body, content_type="application/json")
    answered(response)
    assert response.status_code == (200 if customer == "1" else 404)


@cases("addresses, queries and headers", 4_000,
       path=st.sampled_from(["/", "/docs", "/model", "/predict", "/drift.html", "/metrics"]),
       rest=texts, query=texts, header=HEADERS, value=texts)  # fmt: skip
def test_an_address_and_a_header_of_any_kind_are_answered(
    client: Any, path: str, rest: str, query: str, header: str, value: str
) -> None:
    value = hostile.without(value, "\r", "\n").encode("utf-8", "replace").decode("latin-1")
    environ = {
        "PATH_INFO": (path + rest).encode("utf-8", "replace").decode("latin-1"),
        "QUERY_STRING": query.encode("utf-8", "replace").decode("latin-1"),
    }
    answered(client.get(path, headers={header: value}, environ_overrides=environ))


RULES = access.Rules(frozenset({"localhost", "127.0.0.1", "[::1]"}), test_access.TOKEN.encode())
NEARLY = near(
    "localhost:8000", "127.0.0.1", "[::1]:80", f"Bearer {test_access.TOKEN}",
    test_access.basic("me", test_access.TOKEN),
)  # fmt: skip


@cases("Host and Authorization", 4_000, host=texts | NEARLY, authorization=texts | NEARLY)
def test_no_other_name_and_no_other_token_is_let_in(host: str, authorization: str) -> None:
    own = access.decide(RULES, "/", host, f"Bearer {test_access.TOKEN}")
    name = re.sub(r"\.?(:[0-9]*)?$", "", host, flags=re.ASCII).lower()
    assert (own is None) == (name in RULES.hosts), own
    problem = access.decide(RULES, "/", "localhost", authorization)
    scheme, _, rest = authorization.partition(" ")
    if problem is None:
        shown = rest.strip().encode()
        if scheme.lower() == "basic":
            shown = base64.b64decode(shown).partition(b":")[2]
        assert shown == test_access.TOKEN.encode()
    for one in filter(None, (own, problem)):
        assert orjson.loads(one.json())["status"] in {401, 421}


WIRE = (
    b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[test_access.Server]:
    folder = tmp_path_factory.mktemp("wire")
    serve_fixtures.put(folder, 1)
    with test_access.running(folder, SERVE_PATIENCE="1") as server:
        yield server


@cases("bytes on the wire", 1_500, text=near(*(sent.decode() for sent in WIRE)) | texts)
def test_any_bytes_on_the_wire_are_answered_or_refused(wire: test_access.Server, text: str) -> None:
    with closing(socket.create_connection(("127.0.0.1", wire.port), timeout=30)) as connection:
        connection.sendall(text.encode("utf-8", "surrogatepass"))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    if answer:
        status_ = int(re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)[1])  # type: ignore[index]
        assert status_ < 500 or status_ in {501, 505}, answer
        head = answer.partition(b"\r\n\r\n")[0]
        assert b"broken" not in head, answer
    assert wire.ask("/health").status == 200


# --- what is shown ------------------------------------------------------------------------------


class Skeleton(HTMLParser):
    """The elements of a page with the names of their attributes, and its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: Counter[tuple[str, ...]] = Counter()
        self.scripts: list[str] = []
        self._is_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":  # a name may be broken at its underscores
            self.found[(tag, *sorted(name for name, _ in attributes))] += 1
        self._is_script = tag == "script" and ("type", "application/json") not in attributes
        if self._is_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_script = self._is_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._is_script:
            self.scripts[-1] += data


FACTS = made_up.facts(5, 3)
# As a month a name may stand before all months or behind them, which makes another drawing.
PLAIN_NAMES = ("0 a plain name", "a plain name")


def shown(text: str) -> str:
    named = hostile.named(FACTS, text)  # the next step is ours, and is parted into commands
    facts = replace(named, form=hostile.form(text), next_step="make run")
    return render.page(facts, live=True)


@cache
def plain(name: str) -> Skeleton:
    return Skeleton(shown(name))


@cases("names on the page", 1_000, text=texts.filter(str.strip))
def test_a_name_on_the_page_is_text_and_nothing_else(text: str) -> None:
    html = shown(text)
    page = Skeleton(html)
    assert page.found in [plain(name).found for name in PLAIN_NAMES]
    assert page.scripts == plain(PLAIN_NAMES[0]).scripts
    allowed = policy.of(html)
    assert allowed
    assert all(policy.source(script) in allowed for script in page.scripts)


@cases("names on Evidently's page", 2_500, value=values, name=texts)
def test_a_name_on_evidentlys_page_ends_no_script(value: Any, name: str) -> None:
    data = document({name: value}).encode("utf-8", "replace").decode()
    html = (
        '\n<!DOCTYPE html>\n<html lang="en">\n<head>\n<style>a {}</style>\n<script>\n'
        f"    var metric_0a = {data};\n    var additional_graphs_metric_0a = {data};\n"
        "</script>\n</head>\n<body>\n<script>1</script><script>2</script><script>3</script>\n"
        "</body>\n</html>\n"
    )
    safe = evidently_page.safe(html)
    scripts = test_evidently_page.Scripts()
    scripts.feed(safe)
    assert len(scripts.found) == 4
    assert scripts.handlers == []
    allowed = policy.of(safe)
    assert all(policy.source(script) in str(allowed) for script in scripts.found)


@cases("lines and tables on a terminal", 2_700, text=texts | halves)
def test_what_is_printed_steers_no_terminal(text: str) -> None:
    out = StringIO()
    with redirect_stdout(out):
        words.table(text, (text, "b"), [(text, 1)])
        terminal.say(text)
    assert hostile.without(out.getvalue(), "\n").isprintable()
    said(UserError(text or "empty"))
    said(OSError(28, "No space left on device", text))


# --- names of columns ---------------------------------------------------------------------------

BEFORE = "evaluate:\n  gate_f1: 0.5\ndrift:\n  columns: {}\n  max_age_months: 9\n"


@cases(
    "names of columns in params.yaml",
    1_500,
    names=st.lists(texts, min_size=3, max_size=5, unique=True),
)
def test_adopted_names_are_read_as_they_were_written(names: list[str]) -> None:
    customer, label, *columns = names
    found = {name: {"type": "category", "values": (name, customer)} for name in columns}
    data = params.Data.model_validate(
        {"id": customer, "label": label, "label_delay": 1, "features": found}
    )
    written = taken(section.rewrite, BEFORE, data, 0.25)
    if written is not None:
        again = params.parse(params.Data, "data", section.read(written)["data"])
        assert again == data


@cases("ids in the online store", 1_500, ids=st.lists(texts, min_size=1, max_size=4, unique=True))
def test_ids_are_stored_and_found_to_the_letter(canary: Canary, ids: list[str]) -> None:
    url = f"sqlite:///{canary.root}/online.db"
    rows = [
        {"customer": one, "month": "2024-01", "features": json.dumps({"a": one})} for one in ids
    ]
    engine = online.engine(url)
    with suppress(SQLAlchemyError):
        online.replace(engine, rows, "key")
        reader = online.Online(url)
        for one in ids:
            if len(one) <= 255:
                assert reader.features(one, frozenset({"a"})) == {"a": one}
    engine.dispose()


# ------------------------------------------------------------------------------------------------


def test_there_were_as_many_cases_as_asked_for() -> None:
    assert COUNTED.total() >= CASES, COUNTED
