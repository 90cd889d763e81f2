"""Which change of an OpenAPI document breaks a client: pure, from two documents to a list.

A request that was valid has to stay valid, and an answer has to be one that was promised. Both are
the same question, asked of two schemas in one direction or the other: does the one allow all that
the other allows?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Schema = Mapping[str, Any]

# What is judged; with any other keyword the answer would be a guess.
_KNOWN = {
    "$ref", "anyOf", "type", "enum", "minimum", "maximum", "items", "properties", "required",
    "additionalProperties", "description", "title", "example", "examples", "default",
}  # fmt: skip


def breaking(released: Schema, now: Schema) -> list[str]:
    """What of ``now`` breaks a client of ``released``; empty if nothing does."""
    return list(_paths(released, now))


def _paths(released: Schema, now: Schema) -> Iterator[str]:
    for path, methods in released["paths"].items():
        for method, old in methods.items():
            new = now["paths"].get(path, {}).get(method)
            where = f"{method.upper()} {path}"
            if new is None:
                yield f"{where} is gone"
                continue
            yield from _request(where, (released, old), (now, new))
            yield from _answers(where, (released, old), (now, new))


def _request(where: str, released: tuple[Schema, Schema], now: tuple[Schema, Schema]) -> Any:
    old, new = released[1].get("requestBody"), now[1].get("requestBody")
    if new is None:
        if old is not None:
            yield f"{where}: takes no body any more"
        return
    if new.get("required") and not (old or {}).get("required"):
        yield f"{where}: a body is required now"
    for media, said in (old or {}).get("content", {}).items():
        if media not in new["content"]:
            yield f"{where}: takes no {media} any more"
            continue
        wide, narrow = new["content"][media]["schema"], said["schema"]
        yield from allows((now[0], wide), (released[0], narrow), f"{where}: the request")


def _answers(where: str, released: tuple[Schema, Schema], now: tuple[Schema, Schema]) -> Any:
    for status, old in released[1]["responses"].items():
        new = now[1]["responses"].get(status)
        if new is None:
            if status.startswith("2"):
                yield f"{where}: never answers {status} any more"
            continue
        for media, said in old.get("content", {}).items():
            if media not in new.get("content", {}):
                yield f"{where}: {status} is no {media} any more"
                continue
            wide, narrow = said["schema"], new["content"][media]["schema"]
            yield from allows((released[0], wide), (now[0], narrow), f"{where}: {status}")


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
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if unknown := set(schema) - _KNOWN:
        raise ValueError(f"a schema with {sorted(unknown)}: teach tests/contract/breaking.py first")
    return schema


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
