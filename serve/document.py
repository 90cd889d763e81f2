"""The OpenAPI document, made of the contract of the model in place, and a page to read it on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from serve import protect
from serve.access import OPEN
from serve.problems import MIMETYPE
from serve.rows import LARGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Response

    from serve.current import Model

_TYPES = {"number": "number", "category": "string", "boolean": "boolean"}
_PROBLEMS = {
    "400": "The body is no valid JSON.",
    "401": "The server's token is needed.",
    "404": "No month has this customer, or there is no such report.",
    "408": "The request did not come whole in time.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "421": "The server does not answer to this name.",
    "422": "The request does not fit the contract; every field that is wrong is named.",
    "503": "There is no model yet, or the online store cannot be asked.",
}


def openapi(model: Model | None, *, needs_token: bool = False) -> dict[str, Any]:
    """The document; without a model, that of any contract.

    Args:
        model: the one in place.
        needs_token: whether this server asks for one.
    """
    features = model.facts["features"] if model else {}
    customer = model.facts["id"] if model else "id"
    found = {
        "openapi": "3.1.0",
        "info": {
            "title": "churn",
            "version": str(model.version if model else 0),
            "description": "Answers with the model that the alias production of churn_model names.",
        },
        "paths": {
            "/predict": {"post": _predict()},
            "/explain": {"post": _explain()},
            "/invocations": {"post": _invocations()},
            **{path: {"get": _get(*what)} for path, what in _PAGES.items()},
        },
        "components": {"schemas": _schemas(customer, features)},
    }
    return _guarded(found, needs_token=needs_token)


def _guarded(document: dict[str, Any], *, needs_token: bool) -> dict[str, Any]:
    """Add what `access` refuses, and the two ways to show the token where it is asked for."""
    if needs_token:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "basic": {"type": "http", "scheme": "basic"},  # the token is the password
        }
    for path, methods in document["paths"].items():
        for operation in () if path in OPEN else methods.values():
            operation["responses"] |= _problems("401", "421") if needs_token else _problems("421")
            if needs_token:
                operation["security"] = [{"bearer": []}, {"basic": []}]
    return document


_ANY = {"type": "object"}
# Path: what it tells, its media type, the schema of the answer, problems beside it.
_PAGES: dict[str, tuple[str, str, dict[str, Any], tuple[str, ...]]] = {
    "/": ("The page: what is in production, and why.", "text/html", {"type": "string"}, ()),
    "/drift.html": ("Evidently's report.", "text/html", {"type": "string"}, ("404",)),
    "/ping": ("MLflow's health check.", "application/json", {}, ("503",)),
    "/version": ("MLflow's version.", "application/json", {}, ()),
    "/health": ("The process is alive.", "application/json", _ANY, ()),
    "/ready": ("Whether there is a model, and which.", "application/json", _ANY, ()),
    "/model": ("The model: version, window, metrics.", "application/json", _ANY, ("503",)),
    "/metrics": ("Figures for Prometheus.", "text/plain", {"type": "string"}, ()),
    "/openapi.json": ("This document.", "application/json", _ANY, ()),
    "/docs": ("This document, to read.", "text/html", {"type": "string"}, ()),
}


def _get(what: str, media: str, schema: dict[str, Any], problems: tuple[str, ...]) -> Any:
    answers = {"200": {"description": what, "content": {media: {"schema": schema}}}}
    if what.startswith("Whether"):
        answers["503"] = {"description": "No model yet.", "content": answers["200"]["content"]}
    return {"summary": what, "responses": answers | _problems(*problems)}


def _predict() -> dict[str, Any]:
    one, many = _ref("Prediction"), _ref("Predictions")
    return {
        "summary": "The churn probability of one customer, or of many.",
        "description": "An object with nothing but the id is answered from the online store.",
        "requestBody": _body(
            {"anyOf": [_ref("Customer"), _ref("CustomerById"), _ref("Instances")]}
        ),
        "responses": {
            "200": {
                "description": "What the model says, and which model it was.",
                "content": {"application/json": {"schema": {"anyOf": [one, many]}}},
            },
            **_problems("400", "404", "408", "413", "415", "422", "503"),
        },
    }


def _explain() -> dict[str, Any]:
    return {
        "summary": "What moves the churn probability of one customer.",
        "description": "Contributions of the columns' values, the largest first: of trees by "
        "TreeSHAP, in log-odds or, of a forest, in probability.",
        "requestBody": _body({"anyOf": [_ref("Customer"), _ref("CustomerById")]}),
        "responses": {
            "200": {
                "description": "The probability, which model it was, and what moves it.",
                "content": {"application/json": {"schema": _ref("Explanation")}},
            },
            **_problems("400", "404", "408", "413", "415", "422", "503"),
        },
    }


def _invocations() -> dict[str, Any]:
    return {
        "summary": "MLflow's scoring protocol: 1 for a customer who churns, 0 for one who stays.",
        "requestBody": _body({"anyOf": [_ref("DataframeSplit"), _ref("DataframeRecords")]}),
        "responses": {
            "200": {
                "description": "A label for each row.",
                "content": {"application/json": {"schema": _ref("Invocations")}},
            },
            **_problems("400", "408", "413", "415", "503"),
        },
    }


def _schemas(customer: str, features: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    columns = {name: _column(feature) for name, feature in features.items()}
    text = {"type": ["string", "null"]}
    scored = {
        "id": text,
        "churn_probability": {"type": "number", "minimum": 0, "maximum": 1},
        "churn": {"type": "boolean"},
    }
    version = {"type": "integer", "minimum": 1}
    rows = {"type": "array", "items": _object(columns)}
    return {
        "Customer": _object({customer: text} | columns, list(columns)) | _CLOSED,
        "CustomerById": _object({customer: {"type": "string"}}) | _CLOSED,
        "Instances": _object({"instances": {"type": "array", "items": _ref("Customer")}}) | _CLOSED,
        "Prediction": _object(scored | {"model_version": version}),
        "Explanation": _object(
            scored
            | {
                "model_version": version,
                "method": {"type": "string"},
                "unit": {"enum": ["log-odds", "probability"]},
                "contributions": {"type": "array", "items": _ref("Contribution")},
            }
        ),
        "Contribution": _object(
            {
                "column": {"type": "string"},
                "value": {"type": ["number", "string", "boolean", "null"]},
                "contribution": {"type": "number"},
            }
        ),
        "Predictions": _object(
            {"predictions": {"type": "array", "items": _object(scored)}, "model_version": version}
        ),
        "DataframeSplit": _object(
            {
                "dataframe_split": _object(
                    {
                        "columns": {"type": "array", "items": {"type": "string"}},
                        "data": {"type": "array", "items": {"type": "array"}},
                    }
                )
            }
        ),
        "DataframeRecords": _object({"dataframe_records": rows}),
        "Invocations": _object({"predictions": {"type": "array", "items": {"enum": [0, 1]}}}),
        "Problem": _object(
            {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "errors": {
                    "type": "array",
                    "items": _object({"field": {"type": "string"}, "reason": {"type": "string"}}),
                },
            },
            ["type", "title", "status", "detail"],
        ),
    }


def _column(feature: Mapping[str, Any]) -> dict[str, Any]:
    """A column of the contract; null says that the value is not known."""
    found: dict[str, Any] = {"type": [_TYPES[feature["type"]], "null"]}
    if feature["type"] == "number":
        found["minimum"] = feature.get("min", -LARGEST)
        found["maximum"] = feature.get("max", LARGEST)
    if "values" in feature:
        found["enum"] = [*feature["values"], "", None]  # an empty text is missing too
    return found


_CLOSED = {"additionalProperties": False}


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _problems(*statuses: str) -> dict[str, Any]:
    content = {MIMETYPE: {"schema": _ref("Problem")}}
    return {s: {"description": _PROBLEMS[s], "content": content} for s in statuses}


def page(document: dict[str, Any]) -> Response:
    """The document as HTML that needs nothing from elsewhere."""
    schemas = document["components"]["schemas"]
    return protect.page(
        "api.html",
        info=document["info"],
        paths=document["paths"],
        columns=schemas["Customer"]["properties"],
        required=schemas["Customer"]["required"],
        text=lambda value: json.dumps(value, ensure_ascii=False),
    )
