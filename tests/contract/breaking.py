"""Which change of an OpenAPI document breaks a client: pure, from two documents to a list.

A request that was valid has to stay valid, and an answer has to be one that was promised. Both are
the same question, asked of two schemas in one direction or the other: does the one allow all that
the other allows?
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    Schema = Mapping[str, Any]
    Side = tuple[Schema, Schema]  # a document, and an operation in it

# What is judged; with any other keyword the answer would be a guess.
_KEYWORDS = {
    "$ref", "anyOf", "type", "enum", "minimum", "maximum", "items", "properties", "required",
    "additionalProperties", "description", "title", "example", "examples", "default",
}  # fmt: skip
_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
_OPERATION = {"summary", "description", "parameters", "security", "requestBody", "responses"}
_PARAMETER = {"in", "name", "description", "required", "schema", "example", "examples"}
_BODY, _ANSWER = {"description", "required", "content"}, {"description", "content"}
_MEDIA = {"schema", "example", "examples"}


def breaking(released: Schema, now: Schema) -> list[str]:
    """What of ``now`` breaks a client of ``released``; empty if nothing does.

    Raises:
        ValueError: there is something in them that nobody has taught it to judge.
    """
    return list(_paths(released, now))


def _paths(released: Schema, now: Schema) -> Iterator[str]:
    for path, methods in released["paths"].items():
        there = _known("an address", now["paths"].get(path, {}), _METHODS)
        for method, old in _known("an address", methods, _METHODS).items():
            where = f"{method.upper()} {path}"
            if method not in there:
                yield f"{where} is gone"
                continue
            new = _known("an operation", there[method], _OPERATION)
            sides = (released, _known("an operation", old, _OPERATION)), (now, new)
            for judge in (_security, _parameters, _request, _answers):
                yield from judge(where, *sides)


def _known(what: str, found: Schema, keys: Collection[str]) -> Schema:
    """Refuse what has other keys than those that are judged."""
    if unknown := sorted(set(found) - set(keys)):
        raise ValueError(f"{what} with {unknown}: teach tests/contract/breaking.py first")
    return found


def _security(where: str, released: Side, now: Side) -> Iterator[str]:
    """Whoever was let in has to be let in still, with no more than was asked for."""
    ways = _ways(*now)
    for was in _ways(*released):
        if not any(_is_enough(was, way) for way in ways):
            yield f"{where}: asks for more than before to let a client in"
            return


def _ways(document: Schema, operation: Schema) -> list[dict[str, set[str]]]:
    """The ways to be let in, each as what has to be shown and the rights that it must give."""
    schemes = document.get("components", {}).get("securitySchemes", {})
    ways = operation.get("security", document.get("security")) or [{}]
    return [
        {json.dumps(schemes[name], sort_keys=True): set(rights) for name, rights in way.items()}
        for way in ways
    ]


def _is_enough(shown: dict[str, set[str]], asked: dict[str, set[str]]) -> bool:
    return all(what in shown and rights <= shown[what] for what, rights in asked.items())


def _parameters(where: str, released: Side, now: Side) -> Iterator[str]:
    old, new = _named(released[1]), _named(now[1])
    for (place, name), one in new.items():
        if one.get("required") and not old.get((place, name), {}).get("required"):
            yield f"{where}: the {place} parameter {name!r} is required now"
    for (place, name), said in old.items():
        if (place, name) not in new:
            yield f"{where}: takes no {place} parameter {name!r} any more"
            continue
        wide, narrow = new[place, name].get("schema", {}), said.get("schema", {})
        yield from allows((now[0], wide), (released[0], narrow), f"{where}: {name}")


def _named(operation: Schema) -> dict[tuple[str, str], Schema]:
    """An operation's parameters by place and name."""
    found = [_known("a parameter", one, _PARAMETER) for one in operation.get("parameters", [])]
    return {(one["in"], one["name"]): one for one in found}


def _request(where: str, released: Side, now: Side) -> Iterator[str]:
    old, new = (_known("a body", op.get("requestBody", {}), _BODY) for _, op in (released, now))
    if old and not new:
        yield f"{where}: takes no body any more"
        return
    if new.get("required") and not old.get("required"):
        yield f"{where}: a body is required now"
    for media, said in old.get("content", {}).items():
        if media not in new["content"]:
            yield f"{where}: takes no {media} any more"
            continue
        wide, narrow = _schema(new["content"][media]), _schema(said)
        yield from allows((now[0], wide), (released[0], narrow), f"{where}: the request")


def _answers(where: str, released: Side, now: Side) -> Iterator[str]:
    for status, said in released[1]["responses"].items():
        if status not in now[1]["responses"]:
            if status.startswith("2"):
                yield f"{where}: never answers {status} any more"
            continue
        old, new = (
            _known("an answer", answer, _ANSWER).get("content", {})
            for answer in (said, now[1]["responses"][status])
        )
        for media in old:
            if media not in new:
                yield f"{where}: {status} is no {media} any more"
                continue
            wide, narrow = _schema(old[media]), _schema(new[media])
            yield from allows((released[0], wide), (now[0], narrow), f"{where}: {status}")


def _schema(media: Schema) -> Schema:
    found: Schema = _known("a content", media, _MEDIA).get("schema", {})
    return found


def allows(wide: tuple[Schema, Any], narrow: tuple[Schema, Any], where: str) -> list[str]:
    """Why ``wide`` does not allow all that ``narrow`` allows; empty if it does.

    Args:
        wide: a document, and a schema in it.
        narrow: the same.
        where: what the reasons begin with.
    """
    a, b = _resolved(*wide), _resolved(*narrow)
    if "anyOf" in b:
        return [
            why for branch in b["anyOf"] for why in allows((wide[0], a), (narrow[0], branch), where)
        ]
    if "anyOf" in a:
        tried = [allows((wide[0], branch), (narrow[0], b), where) for branch in a["anyOf"]]
        return min(tried, key=len)
    found = [f"{where} {reason}" for reason in (*_values(a, b), *_fields(a, b))]
    for name, of_a in a.get("properties", {}).items():
        if name in b.get("properties", {}):
            of_b = b["properties"][name]
            found += allows((wide[0], of_a), (narrow[0], of_b), f"{where}.{name}")
    if "items" in a:
        found += allows((wide[0], a["items"]), (narrow[0], b.get("items", {})), f"{where}[]")
    return found


def _resolved(document: Schema, schema: Schema) -> Schema:
    while "$ref" in schema:
        _known("a reference", schema, {"$ref", "description"})
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if not isinstance(schema.get("additionalProperties", True), bool):
        schema = {"additionalProperties that are a schema": schema["additionalProperties"]}
    return _known("a schema", schema, _KEYWORDS)


def _values(a: Schema, b: Schema) -> Iterator[str]:
    """Why values of ``b`` are none of ``a``."""
    if "type" in a and not _types(b) <= _types(a) | (
        {"integer"} if "number" in _types(a) else set()
    ):
        yield f"may be {_said(_types(b))}, where {_said(_types(a))} was agreed"
    if "enum" in a:
        extra = [v for v in b.get("enum", ["anything"]) if v not in a["enum"]]
        if extra:
            yield f"may be {extra}, which was not agreed"
    for key, sign in (("minimum", 1), ("maximum", -1)):
        if key in a and (key not in b or sign * b[key] < sign * a[key]):
            yield f"has a {key} of {b.get(key, 'none')}, where {a[key]} was agreed"


def _fields(a: Schema, b: Schema) -> Iterator[str]:
    """Why objects of ``b`` are none of ``a``."""
    for name in a.get("required", []):
        if name not in b.get("required", []):
            yield f"may lack {name!r}"
    if a.get("additionalProperties") is False:
        for name in b.get("properties", {}):
            if name not in a.get("properties", {}):
                yield f"may have {name!r}, which is refused"
        if b.get("additionalProperties") is not False and "object" in _types(b):
            yield "may have fields that are refused"


def _types(schema: Schema) -> set[str]:
    given = schema.get("type", "anything")
    return {given} if isinstance(given, str) else set(given)


def _said(types: set[str]) -> str:
    return " or ".join(sorted(types))
