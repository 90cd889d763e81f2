"""dvc.yaml against the code: what a stage imports and reads is what it declares."""

from __future__ import annotations

import ast
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from stages import ingest
from stages.commands.repro import STAGES
from stages.shared import dvc_files, files, params
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = ("stages/shared", "stages/registry")
WIRING: dict[str, Any] = YAML(typ="safe").load((files.ROOT / "dvc.yaml").read_text())["stages"]


def source(module: str) -> Path:
    return files.ROOT / f"{module.replace('.', '/')}.py"


def imports(path: Path) -> set[str]:
    """Our modules that a file imports, at its top or inside a function, not for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {
        name for name in found if name.startswith(("stages.", "data.")) and source(name).is_file()
    }


def reached(path: Path) -> set[Path]:
    """The file and all our files that it imports, directly or not."""
    found: set[Path] = set()
    todo = [path]
    while todo:
        here = todo.pop()
        if here not in found:
            found.add(here)
            todo += [source(name) for name in imports(here)]
    return found


def sections_read(path: Path) -> set[str]:
    """The sections that a file asks `params` for."""
    return {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "params"
        and node.func.attr in params.SECTIONS
    }


def test_the_stages_are_the_six_of_the_design_in_their_order() -> None:
    assert tuple(WIRING) == STAGES


def declared_as(path: str) -> str:
    """A folder of modules is one input: see docs/why.md."""
    return next((folder for folder in FOLDERS if path.startswith(f"{folder}/")), path)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_every_module_that_it_imports_and_no_other(stage: str) -> None:
    imported = {str(p.relative_to(files.ROOT)) for p in reached(files.ROOT / f"stages/{stage}.py")}
    declared = {dep for dep in WIRING[stage]["deps"] if dep.startswith("stages/")}
    assert declared == {declared_as(path) for path in imported}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_every_section_that_it_reads_and_no_other(stage: str) -> None:
    read = sections_read(files.ROOT / f"stages/{stage}.py")
    assert set(WIRING[stage]["params"]) == read


@pytest.mark.parametrize("stage", STAGES)
def test_no_module_behind_a_stage_reads_parameters_in_secret(stage: str) -> None:
    behind = reached(files.ROOT / f"stages/{stage}.py") - {files.ROOT / f"stages/{stage}.py"}
    assert {p.name: sections_read(p) for p in behind if sections_read(p)} == {}


@pytest.mark.parametrize("stage", STAGES)
def test_another_version_of_a_library_is_another_program(stage: str) -> None:
    assert "requirements.txt" in WIRING[stage]["deps"]


def test_ingest_watches_the_folder_that_it_reads() -> None:
    assert WIRING["ingest"]["deps"][0] == params.data().snapshots
    with pytest.raises(UserError, match="names 'data/raw' as input of the stage ingest"):
        ingest.watched("elsewhere", dvc_files.wiring())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_run_by_its_own_name(stage: str) -> None:
    assert WIRING[stage]["cmd"] == f"python -m stages.{stage}"


@pytest.mark.parametrize("stage", ["compare", "promote"])
def test_what_reads_the_registry_is_never_restored_from_the_run_cache(stage: str) -> None:
    outputs = [*WIRING[stage].get("outs", []), *WIRING[stage].get("metrics", [])]
    options = [next(iter(output.values())) for output in outputs]
    assert all(o.get("persist") or o.get("cache") is False for o in options)


def test_importing_the_packages_does_nothing() -> None:
    for path in files.ROOT.glob("stages/**/__init__.py"):
        body = ast.parse(path.read_text()).body
        assert [type(node) for node in body] == [ast.Expr], path


RENEW = "type `make repro`, or here `make relock`, and commit dvc.lock with the change"


def md5(content: bytes) -> str:
    """As DVC names what it keeps; a folder by the JSON list of its files."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((files.ROOT / "dvc.lock").read_text())["stages"]
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_the_committed_lock_is_that_of_the_committed_code(stage: str, lock: dict[str, Any]) -> None:
    for dep in lock[stage]["deps"]:
        path = files.ROOT / dep["path"]
        if path.suffix in {".py", ".txt"}:
            now = md5(path.read_bytes())
        elif dep["path"] in FOLDERS:
            modules = sorted(path.glob("*.py"))
            listed = [{"md5": md5(m.read_bytes()), "relpath": m.name} for m in modules]
            now = md5(json.dumps(listed, sort_keys=True).encode()) + ".dir"
        else:
            continue  # data, or what another stage makes
        assert now == dep["md5"], f"{dep['path']} is newer than dvc.lock: {RENEW}"


@pytest.mark.parametrize("stage", STAGES)
def test_the_committed_lock_is_that_of_the_committed_parameters(
    stage: str, lock: dict[str, Any]
) -> None:
    values = params.read()
    for section, locked in lock[stage]["params"]["params.yaml"].items():
        assert locked == values[section], f"{section} is newer than dvc.lock: {RENEW}"
