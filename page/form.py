"""The form that asks the model: the fields of its contract, filled with an example. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from page.facts import Facts


def fields(facts: Facts) -> dict[str, Any] | None:
    """The fields of the contract, filled with an example."""
    given = facts.form
    if given is None:
        return None
    example = given.get("example", {})
    found = []
    for name, feature in given["features"].items():
        value = example.get(name)
        found.append(
            {
                "name": name,
                "type": feature["type"],
                "min": feature.get("min"),
                "max": feature.get("max"),
                "values": feature.get("values"),
                "value": f"{value:.6g}"
                if feature["type"] == "number" and value is not None
                else value,
                "range": _range(feature),
            }
        )
    return {"version": given["version"], "id": given["id"], "fields": found}


def _range(feature: Mapping[str, Any]) -> str:
    low, high = feature.get("min"), feature.get("max")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is not None:
        return f"{low:g} or more"
    return f"{high:g} or less" if high is not None else ""
