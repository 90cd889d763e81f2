"""The watcher against a real registry: what it puts in place, and what it refuses to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import registry_fixtures
from registry_fixtures import FEATURES, Shop
from ruamel.yaml import YAML

from serve import current, place, watch
from stages.commands import rollback
from stages.registry import connection, store
from stages.shared import candidate, contract, files, servable
from stages.shared.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow warns about its own code

ROW: list[Any] = [5.0, "NA", True]


class Watched(Shop):
    """A clone with a watcher on its registry."""

    def __init__(self, *fixtures: Any) -> None:
        super().__init__(*fixtures)
        self.columns(FEATURES)
        self.folder = self.clone.root / "models" / "serving"
        self.folder.mkdir(parents=True)
        self.watcher = watch.Watcher(self.folder)

    def columns(self, features: dict[str, Any]) -> None:
        """Set the contract that clients were told of."""
        yaml, path = YAML(), self.clone.root / "params.yaml"
        values = yaml.load(path)
        data = {"id": "customer_id", "label": "churned", "label_delay": 3, "features": features}
        values["data"] = data
        yaml.dump(values, path)

    def step(self) -> tuple[int | None, str | None]:
        """Let the watcher look once: the version in place, and what the watcher says is wrong."""
        self.watcher.step()
        seen, there = place.read(self.folder, place.WATCHER), self.current()
        assert seen is not None
        return (there["version"] if there else None), seen["error"]

    def code(self) -> str | None:
        """What the watcher notes for programs."""
        found: str | None = (place.read(self.folder, place.WATCHER) or {}).get("code")
        return found

    def current(self) -> dict[str, Any] | None:
        return place.read(self.folder, place.CURRENT)

    def probability(self) -> float:
        facts = self.current()
        assert facts is not None
        return current.load(self.folder, facts).servable.one(ROW)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Watched:
    clone = registry_fixtures.make(tmp_path / "clone")
    registry_fixtures.enter(clone, monkeypatch)
    return Watched(clone, monkeypatch, capsys)


def test_what_production_names_is_put_in_place_with_all_that_is_known_of_it(shop: Watched) -> None:
    nothing = "the registry names no production model: type `make run` or `make promote`"
    assert shop.step() == (None, nothing)
    digest = shop.promoted(1.0)
    assert shop.step() == (1, None)
    facts = shop.current()
    assert facts is not None
    assert (facts["digest"], facts["folder"], facts["id"]) == (digest, digest, "customer_id")
    assert facts["promoted"]["kind"] == "promote"
    assert facts["promoted"]["why"] == registry_fixtures.REASONS[0]
    assert facts["metrics"]["auc"] == 0.7
    loaded = candidate.load(shop.clone.root / "models" / "candidate")
    row = [dict(zip(FEATURES, ROW, strict=True))]
    expected = loaded.probabilities(contract.to_table(row, loaded.features))[0]
    assert shop.probability() == pytest.approx(expected, abs=1e-9)


def test_nothing_is_written_while_nothing_moves(shop: Watched) -> None:
    shop.promoted(1.0)
    shop.step()
    before = (shop.folder / place.CURRENT).stat()
    assert shop.step() == (1, None)
    assert (shop.folder / place.CURRENT).stat().st_ino == before.st_ino


def test_it_follows_promotions_and_a_rollback_to_a_lower_version(shop: Watched) -> None:
    shop.promoted(1.0)
    first = (shop.step(), shop.probability())
    shop.promoted(2.0)
    shop.promoted(3.0)  # before anybody looked
    assert shop.step() == (3, None)
    assert shop.probability() != first[1]
    assert shop.call(rollback.main, "--version=1").status == 0
    assert (shop.step(), shop.probability()) == first


def test_a_deleted_alias_and_a_lost_registry_leave_the_model_in_place(shop: Watched) -> None:
    shop.promoted(1.0)
    shop.step()
    with connection.asking() as client:
        client.delete_registered_model_alias(store.MODEL, store.ALIAS)
    version, error = shop.step()
    assert (version, str(error)[:35]) == (1, "the registry names no production mo")
    store.point(1)
    assert shop.step() == (1, None)
    shop.forget_registry()
    version, error = shop.step()
    assert (version, str(error)[:35]) == (1, "the registry names no production mo")
    shutil.rmtree(shop.clone.root / "new")
    version, error = shop.step()
    assert (version, str(error)[:30]) == (1, "the registry cannot be asked: ")
    seen = place.read(shop.folder, place.WATCHER)
    assert seen is not None
    assert seen["failures"] == 1


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"recency": {"type": "number"}}, "it takes 'plan' as category, which is not there"),
        (FEATURES | {"plan": {"type": "number"}}, "'plan' as category, which is number"),
    ],
)
def test_a_model_of_another_contract_is_refused_until_clients_know_it(
    shop: Watched, now: dict[str, Any], said: str
) -> None:
    shop.promoted(1.0)
    shop.step()
    shop.promoted(2.0)
    shop.columns(now)
    version, error = shop.step()
    assert version == 1
    assert said in str(error)
    shop.columns(FEATURES)
    assert shop.step() == (1, error)  # it is not tried again at once
    time.sleep(1.1)
    assert shop.step() == (2, None)


def spoil_golden(folder: Path) -> None:
    golden = files.read_json(folder / candidate.GOLDEN)
    golden["probabilities"][2] += 1e-6
    files.write_json(folder / candidate.GOLDEN, golden)


def without_servable(folder: Path) -> None:
    (folder / "servable.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_golden, "its golden rows have other probabilities here, by up to 1e-06"),
        (without_servable, "it has no form for the server: train again"),
    ],
)
def test_a_model_that_answers_otherwise_than_in_training_is_refused(
    shop: Watched, spoil: Any, said: str
) -> None:
    shop.promoted(1.0)
    shop.step()
    shop.clone.candidate(2.0)
    folder = shop.clone.root / "models" / "candidate"
    spoil(folder)
    shop.clone.reports(candidate.digest(folder), 1)
    # Such a one does not come through the pipeline: somebody registers it and moves the alias.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servable, "TOLERANCE", 1.0)
        assert shop.stage().status == 0
    assert shop.step() == (1, f"version 2 is not taken: {said}")
    assert shop.step() == (1, f"version 2 is not taken: {said}")


def test_a_truncated_artifact_is_refused(shop: Watched) -> None:
    shop.promoted(1.0)
    shop.step()
    shop.promoted(2.0)
    shutil.rmtree(files.MEMORY, ignore_errors=True)
    kept = list((shop.clone.root / "mlflow").rglob("candidate/servable.json"))
    newest = max(kept, key=lambda path: path.stat().st_mtime_ns)
    os.truncate(newest, 10)
    version, error = shop.step()
    assert version == 1
    assert "the files of version 2 are gone or damaged" in str(error)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this account may not mount a file system of its own")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_model_and_says_so(shop: Watched, small_disk: Path) -> None:
    shop.folder = small_disk
    shop.watcher = watch.Watcher(small_disk)
    shop.promoted(1.0)
    assert shop.step() == (1, None)
    answer = shop.probability()
    room = os.statvfs(small_disk)
    (small_disk / "other").write_bytes(b"x" * room.f_bavail * room.f_frsize)
    shop.promoted(2.0)
    version, error = shop.step()
    assert (version, shop.probability()) == (1, answer)
    assert "No space left on device" in str(error)
    assert not [path for path in small_disk.iterdir() if path.name.startswith(".")]
    (small_disk / "other").unlink()
    time.sleep(1.1)
    assert shop.step() == (2, None)


@pytest.mark.parametrize(
    "damage",
    [
        "a file is cut", "a file is as long", "a file cannot be read", "the folder is gone",
        "a key is missing",
    ],
)  # fmt: skip
def test_what_is_damaged_in_its_place_is_put_there_once_more(shop: Watched, damage: str) -> None:
    shop.promoted(1.0)
    shop.step()
    answer, facts = shop.probability(), shop.current()
    assert facts is not None
    folder = shop.folder / facts["folder"]
    if damage == "a file is cut":
        os.truncate(folder / "servable.json", 10)
    elif damage == "a file is as long":
        text = (folder / "servable.json").read_text()
        (folder / "servable.json").write_text(text.replace("0.", "1.", 1))
        with pytest.raises(UserError, match=r"servable.json is missing, or not as"):
            current.load(shop.folder, facts)  # no worker takes it
    elif damage == "a file cannot be read":  # one that the disk fails on
        (folder / "servable.json").unlink()
        (folder / "servable.json").symlink_to("/proc/self/mem")
    elif damage == "the folder is gone":
        shutil.rmtree(folder)
    else:
        place.replace_current(shop.folder, {n: v for n, v in facts.items() if n != "digest"})
    before = (shop.folder / place.CURRENT).stat().st_ino
    assert shop.step() == (1, None)
    assert shop.probability() == answer
    assert (shop.folder / place.CURRENT).stat().st_ino != before  # so that every worker looks


def test_the_watcher_goes_on_where_it_cannot_write_its_notes(shop: Watched, capsys: Any) -> None:
    shop.promoted(1.0)
    (shop.folder / place.WATCHER).mkdir()
    shop.watcher.step()
    assert (shop.current() or {})["version"] == 1
    assert "watcher.json cannot be written" in capsys.readouterr().err


def test_all_files_of_a_candidate_are_kept_and_no_others(tmp_path: Path) -> None:
    names = {
        "model.json", "golden.json", "model.skops",
        "servable.json", "servable.onnx", "treeshap.txt",
    }  # fmt: skip
    for name in (*names, "another"):
        files.write_bytes(tmp_path / "from" / name, name.encode())
    digest = candidate.digest(tmp_path / "from")
    kept = candidate.keep(tmp_path / "from", tmp_path / "to", digest)
    assert {path.name: path.read_text() for path in kept.iterdir()} == {
        name: name for name in names
    }
    assert set(servable.hashes(kept)) == set(servable.FILES)


def test_a_candidate_of_another_digest_is_not_kept(tmp_path: Path) -> None:
    for name in candidate.ALWAYS:
        files.write_bytes(tmp_path / "from" / name, name.encode())
    with pytest.raises(UserError, match="holds candidate"):
        candidate.keep(tmp_path / "from", tmp_path / "to", "0" * 64)
    assert list((tmp_path / "to").iterdir()) == []


def test_old_models_are_swept_but_not_the_newest(shop: Watched) -> None:
    for c in (1.0, 2.0, 3.0, 4.0, 5.0):
        shop.promoted(c)
        assert shop.step()[1] is None
    kept = {path.name for path in shop.folder.iterdir() if path.is_dir()}
    assert kept == {event.candidate for event in store.read().events[-3:]}


def test_a_registry_in_another_file_needs_another_process(shop: Watched) -> None:
    shop.promoted(1.0)
    watcher = watch.Watcher(shop.folder)
    assert not watcher.is_outdated()
    path = shop.clone.root / "mlflow" / "mlflow.db"
    shutil.copy(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
    assert watcher.is_outdated()


def test_what_the_watcher_notes_has_one_size_whatever_it_says(tmp_path: Path) -> None:
    for error in (None, "short", "🙂" * 100_000, 'with "quotes" \\ and\nlines'):
        place.note(tmp_path, {"error": error, "failures": 3})
        assert (tmp_path / place.WATCHER).stat().st_size == 4096
        seen = place.read(tmp_path, place.WATCHER)
        assert seen is not None
        assert seen["failures"] == 3
        assert seen["error"] == (error and error[: len(seen["error"])])
        json.loads((tmp_path / place.WATCHER).read_text())
