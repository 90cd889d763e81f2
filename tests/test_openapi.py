"""The OpenAPI document against the server: what it promises is what is answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
import serve_fixtures
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi import checks
from serve_fixtures import FEATURES, GOOD

from serve import access, online

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")  # of the tool's own dependencies


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    serve_fixtures.put(folder, 1)
    return folder


@pytest.fixture(scope="module")
def document(folder: Path) -> Any:
    url = f"sqlite:///{folder}/online.db"
    row = {"customer": "00123", "month": "2026-01", "features": json.dumps(GOOD)}
    online.replace(online.engine(url), [row], "key")
    client = serve_fixtures.client(folder, online_store=url)
    return schemathesis.openapi.from_wsgi("/openapi.json", client.application)


ADDRESSES = (
    ("/predict", "POST"), ("/invocations", "POST"), ("/explain", "POST"), ("/", "GET"),
    ("/drift.html", "GET"), ("/ping", "GET"), ("/version", "GET"),
    ("/health", "GET"), ("/ready", "GET"), ("/model", "GET"), ("/metrics", "GET"),
    ("/docs", "GET"),
)  # fmt: skip
# What a schema cannot say, or MLflow has in its own way.
EXCEPT: dict[str, list[Any]] = {
    # Rows as long as columns are, with all of the model's; but texts that read as numbers, too.
    "/invocations": [checks.positive_data_acceptance, checks.negative_data_rejection],
    "/ping": [checks.response_schema_conformance],  # an empty line that calls itself JSON
    "/version": [checks.response_schema_conformance],  # so does a version
}


@pytest.mark.parametrize(("path", "method"), ADDRESSES)
def test_every_answer_is_as_the_document_says(document: Any, path: str, method: str) -> None:
    good, bad = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    for mode in (good, bad) if method == "POST" else (good,):

        @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=document[path][method].as_strategy(generation_mode=mode))
        def holds(case: Any) -> None:
            case.call_and_validate(excluded_checks=EXCEPT.get(path, []))

        holds()


def test_the_document_has_every_address(document: Any) -> None:
    found = {(op.ok().path, op.ok().method.upper()) for op in document.get_all_operations()}
    assert found == set(ADDRESSES)


def test_the_document_is_made_of_the_contract(folder: Path) -> None:
    client = serve_fixtures.client(folder)
    said = client.get("/openapi.json").json["components"]["schemas"]["Customer"]
    assert said["required"] == list(FEATURES)
    assert list(said["properties"]) == ["customer", *FEATURES]
    assert said["additionalProperties"] is False
    assert said["properties"]["calls"] == {
        "type": ["number", "null"], "minimum": 0.0, "maximum": 1000.0,
    }  # fmt: skip
    assert said["properties"]["plan"]["enum"] == ["NA", "basic", "", None]


def test_the_page_names_every_address_and_every_column(folder: Path) -> None:
    client = serve_fixtures.client(folder)
    page = client.get("/docs").text
    for path in client.get("/openapi.json").json["paths"]:
        assert f"<code>{path}</code>" in page
    for name in FEATURES:
        assert f"<code>{name}</code>" in page


@pytest.mark.parametrize("path", [path for path, _ in ADDRESSES])
def test_where_a_token_is_needed_the_document_says_so_and_it_is_so(
    folder: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(access.TOKEN, "correct-horse-battery")
    client = serve_fixtures.client(folder)
    shown = {"Authorization": "Bearer correct-horse-battery"}
    said = client.get("/openapi.json", headers=shown).json
    ((method, operation),) = said["paths"][path].items()
    asked = client.open(path, method=method.upper(), json={})
    assert ("security" in operation) == (asked.status_code == 401) == (path not in access.OPEN)
    ways = {way for one in operation.get("security", []) for way in one}
    assert ways <= said["components"]["securitySchemes"].keys()
    elsewhere = client.open(path, method=method.upper(), json={}, headers={"Host": "other"})
    assert ("421" in operation["responses"]) == (elsewhere.status_code == 421)
    assert ("401" in operation["responses"]) == (asked.status_code == 401)
    assert client.open(path, method=method.upper(), json={}, headers=shown).status_code != 401
