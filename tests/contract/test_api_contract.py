"""API contract: the OpenAPI document against the last released one, docs/openapi.json.

That file names the data that it speaks of, and two questions stay apart: does our code still make
of these data what clients were promised, and does this clone's params.yaml still keep to it. After
`make adopt` nobody was promised anything yet: the second is asked after `make release-api` there.

A release that breaks clients on purpose writes that file anew: `make release-api`, and a line in
the changelog.
"""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from breaking import breaking
from contracts import CDNOW, OWN

from serve import document
from stages.shared import contract, files, params

if TYPE_CHECKING:
    from collections.abc import Callable

    from serve.current import Model

RELEASED = files.ROOT / "docs" / "openapi.json"
DATA = "x-data"  # of the released document alone: section data of params.yaml, as it was then


def described(data: params.Data) -> dict[str, Any]:
    """The document of a contract, as it goes through JSON."""
    facts = {"id": data.id, "features": contract.to_dict(data.features)}
    model = cast("Model", SimpleNamespace(version=1, facts=facts))
    found: dict[str, Any] = json.loads(json.dumps(document.openapi(model)))
    return found


def release(data: params.Data) -> dict[str, Any]:
    """The document that promises the API of these data."""
    return described(data) | {DATA: data.model_dump(mode="json", exclude_none=True)}


def promised_to(found: dict[str, Any]) -> params.Data:
    """The data that a released document speaks of."""
    return params.parse(params.Data, "data", found[DATA])


def are_the_same(one: params.Data, other: params.Data) -> bool:
    """Whether two contracts are of the same data, be their columns as they may."""
    return (one.source, one.id, one.label) == (other.source, other.id, other.label)


@pytest.fixture
def released() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RELEASED.read_text())
    return found


def test_the_code_breaks_no_client_of_the_last_release(released: dict[str, Any]) -> None:
    assert breaking(released, described(promised_to(released))) == []


def test_the_contract_breaks_no_client_of_the_last_release(released: dict[str, Any]) -> None:
    if not are_the_same(promised_to(released), OWN):
        pytest.skip(
            "docs/openapi.json is of other data: `make release-api` promises the API of these"
        )
    assert breaking(released, described(OWN)) == []


def test_a_release_says_of_which_data_it_is() -> None:
    for data in (CDNOW, OWN):
        assert promised_to(json.loads(json.dumps(release(data)))) == data
    assert are_the_same(CDNOW, CDNOW.model_copy(update={"features": {}}))
    for change in ({"source": None}, {"id": "customer"}, {"label": "left"}):
        assert not are_the_same(CDNOW, CDNOW.model_copy(update=change))


# --- planted changes: in the document of the default data, which has columns of every kind -----


@pytest.fixture
def default() -> dict[str, Any]:
    return described(CDNOW)


def schemas(document: Any) -> Any:
    return document["components"]["schemas"]


def predict(document: Any) -> Any:
    return document["paths"]["/predict"]["post"]


def without(mapping: Any, key: str) -> Any:
    return mapping.pop(key)


def parameter(name: str, place: str = "query", *, required: bool = True) -> dict[str, Any]:
    return {"in": place, "name": name, "required": required, "schema": {"type": "string"}}


KEY: dict[str, Any] = {"security": [{"key": []}]}
SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
    "token": {"type": "http", "scheme": "bearer"},
}

PLANTED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "an address is gone": (lambda d: without(d["paths"], "/ready"), "GET /ready is gone"),
    "another method": (
        lambda d: d["paths"].update({"/model": {"put": d["paths"]["/model"]["get"]}}),
        "GET /model is gone",
    ),
    "another media type": (
        lambda d: predict(d)["requestBody"].update(content={"text/csv": {"schema": {}}}),
        "takes no application/json any more",
    ),
    "an answer is gone": (lambda d: without(predict(d)["responses"], "200"), "never answers 200"),
    "a field of the answer is gone": (
        lambda d: (
            without(schemas(d)["Prediction"]["properties"], "churn_probability"),
            schemas(d)["Prediction"]["required"].remove("churn_probability"),
        ),
        "may lack 'churn_probability'",
    ),
    "a field of the answer has another type": (
        lambda d: schemas(d)["Prediction"]["properties"]["churn"].update(type="string"),
        "churn may be string",
    ),
    "a probability may be a percentage": (
        lambda d: schemas(d)["Prediction"]["properties"]["churn_probability"].update(maximum=100),
        "maximum of 100",
    ),
    "a new field is required": (
        lambda d: (
            schemas(d)["Customer"]["properties"].update(age={"type": "number"}),
            schemas(d)["Customer"]["required"].append("age"),
        ),
        "may lack 'age'",
    ),
    "a field of the request is refused": (
        lambda d: (
            without(schemas(d)["Customer"]["properties"], "basket"),
            schemas(d)["Customer"]["required"].remove("basket"),
        ),
        "may have 'basket', which is refused",
    ),
    "a range is narrower": (
        lambda d: schemas(d)["Customer"]["properties"]["recency_days"].update(maximum=90),
        "where 90 was agreed",
    ),
    "a value is not allowed any more": (
        lambda d: schemas(d)["Customer"]["properties"]["basket"]["enum"].remove("many"),
        "may be ['many']",
    ),
    "null is not allowed any more": (
        lambda d: schemas(d)["Customer"]["properties"]["recency_days"].update(type="number"),
        "may be null or number",
    ),
    "a customer by id alone is refused": (
        lambda d: predict(d)["requestBody"]["content"]["application/json"]["schema"]["anyOf"].pop(
            1
        ),
        "the request",
    ),
    "a query parameter is required": (
        lambda d: predict(d).update(parameters=[parameter("tenant")]),
        "the query parameter 'tenant' is required now",
    ),
    "a header is required": (
        lambda d: predict(d).update(parameters=[parameter("X-Tenant", place="header")]),
        "the header parameter 'X-Tenant' is required now",
    ),
    "a client has to say who it is": (
        lambda d: (d["components"].update(securitySchemes=SCHEMES), predict(d).update(KEY)),
        "POST /predict: asks for more than before",
    ),
    "every address asks who it is": (
        lambda d: (d["components"].update(securitySchemes=SCHEMES), d.update(KEY)),
        "GET /health: asks for more than before",
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_change_that_breaks_clients_is_found_and_named(
    default: dict[str, Any], fault: str
) -> None:
    change, named = PLANTED[fault]
    broken = copy.deepcopy(default)
    change(broken)
    found = breaking(default, broken)
    assert any(named in reason for reason in found), found


# The same, where the release had parameters and asked who a client is.
WITH_PARAMETERS: dict[str, tuple[Callable[[Any], Any], str | None]] = {
    "nothing": (lambda _: None, None),
    "another parameter that need not be sent": (
        lambda d: predict(d)["parameters"].append(parameter("more", required=False)),
        None,
    ),
    "one need not be sent any more": (
        lambda d: predict(d)["parameters"][0].update(required=False),
        None,
    ),
    "one has to be sent that need not": (
        lambda d: predict(d)["parameters"][1].update(required=True),
        "the query parameter 'top' is required now",
    ),
    "one is gone": (
        lambda d: predict(d)["parameters"].pop(),
        "takes no query parameter 'top' any more",
    ),
    "one is a header now": (
        lambda d: predict(d)["parameters"][0].update({"in": "header"}),
        "takes no query parameter 'tenant' any more",
    ),
    "one has a narrower range": (
        lambda d: predict(d)["parameters"][1]["schema"].update(maximum=10),
        "top has a maximum of 100, where 10 was agreed",
    ),
    "one more way to be let in": (lambda d: predict(d)["security"].append({"token": []}), None),
    "nobody is asked any more": (lambda d: predict(d).update(security=[]), None),
    "another way to be let in": (
        lambda d: predict(d).update(security=[{"token": []}]),
        "asks for more than before",
    ),
    "two things to be shown": (
        lambda d: predict(d)["security"][0].update({"token": []}),
        "asks for more than before",
    ),
    "another right": (
        lambda d: predict(d)["security"][0].update({"key": ["write"]}),
        "asks for more than before",
    ),
    "the key in another place": (
        lambda d: d["components"]["securitySchemes"]["key"].update(name="X-Other"),
        "asks for more than before",
    ),
}


@pytest.mark.parametrize("change", WITH_PARAMETERS)
def test_parameters_and_rights_are_judged_too(default: dict[str, Any], change: str) -> None:
    top = parameter("top", required=False) | {"schema": {"type": "integer", "maximum": 100}}
    predict(default).update(parameters=[parameter("tenant"), top], **copy.deepcopy(KEY))
    default["components"]["securitySchemes"] = copy.deepcopy(SCHEMES)
    changed = copy.deepcopy(default)
    planted, named = WITH_PARAMETERS[change]
    planted(changed)
    found = breaking(default, changed)
    assert any(named in reason for reason in found) if named else found == [], found


HARMLESS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda _: None,
    "a new address": lambda d: d["paths"].update({"/new": d["paths"]["/model"]}),
    "a new field of the answer": lambda d: schemas(d)["Prediction"]["properties"].update(
        why={"type": "string"}
    ),
    "a new field that need not be sent": lambda d: schemas(d)["Customer"]["properties"].update(
        age={"type": "number"}
    ),
    "a wider range": lambda d: schemas(d)["Customer"]["properties"]["recency_days"].update(
        maximum=365
    ),
    "one more value": lambda d: schemas(d)["Customer"]["properties"]["basket"]["enum"].append("x"),
    "a new error": lambda d: predict(d)["responses"].update({"429": {"description": "later"}}),
    "other words": lambda d: predict(d).update(summary="Otherwise."),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_a_client_does_not_notice_breaks_nothing(default: dict[str, Any], change: str) -> None:
    changed = copy.deepcopy(default)
    HARMLESS[change](changed)
    assert breaking(default, changed) == []


UNKNOWN: dict[str, Callable[[Any], Any]] = {
    "'not'": lambda d: schemas(d)["Prediction"]["properties"]["churn"].update({"not": {}}),
    "additionalProperties": lambda d: schemas(d)["Prediction"].update(
        additionalProperties={"type": "number"}
    ),
    "'minimum'": lambda d: schemas(d)["Instances"]["properties"]["instances"]["items"].update(
        minimum=1
    ),
    "'callbacks'": lambda d: predict(d).update(callbacks={}),
    "'parameters'": lambda d: d["paths"]["/predict"].update(parameters=[parameter("tenant")]),
    "'style'": lambda d: predict(d).update(parameters=[{**parameter("x"), "style": "form"}]),
    "'x-body'": lambda d: predict(d)["requestBody"].update({"x-body": True}),
    "'headers'": lambda d: predict(d)["responses"]["200"].update(headers={}),
    "'encoding'": lambda d: predict(d)["requestBody"]["content"]["application/json"].update(
        encoding={}
    ),
}


@pytest.mark.parametrize("key", UNKNOWN)
def test_what_is_not_understood_is_not_judged(default: dict[str, Any], key: str) -> None:
    changed = copy.deepcopy(default)
    UNKNOWN[key](changed)
    for pair in ((default, changed), (changed, default)):
        with pytest.raises(ValueError, match=f"{key}.*: teach tests/contract/breaking.py first"):
            breaking(*pair)


if __name__ == "__main__":
    files.write_json(RELEASED, release(OWN))
