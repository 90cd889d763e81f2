"""A model's trees in LightGBM's text format: what `POST /explain` of the server reads.

LightGBM has TreeSHAP in a library that the server's workers can load by itself; scikit-learn has
it not. treelite reads the trees out of scikit-learn, and says how many training rows each node saw,
which TreeSHAP weighs by.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sklearn.base import BaseEstimator


def of_estimator(estimator: BaseEstimator) -> str | None:
    """A tree ensemble of scikit-learn's in LightGBM's text format; None for another model."""
    if hasattr(estimator, "coef_"):
        return None
    import treelite

    return as_text(json.loads(treelite.sklearn.import_model(estimator).dump_as_json()))


def as_text(model: Mapping[str, Any]) -> str:
    """A tree ensemble in LightGBM's text format.

    Args:
        model: as treelite's ``dump_as_json`` gives it: numerical tests ``<=`` alone, which is
            what scikit-learn's trees over encoded columns are.
    """
    width, count = model["num_feature"], len(model["trees"])
    share = 1 / count if model["average_tree_output"] else 1.0
    lines = [
        "tree",
        "version=v4",
        "num_class=1",
        "num_tree_per_iteration=1",
        "label_index=0",
        f"max_feature_idx={width - 1}",
        "objective=binary sigmoid:1" if model["postprocessor"] == "sigmoid" else "objective=none",
        _line("feature_names", (f"input_{i}" for i in range(width))),
        _line("feature_infos", ["none"] * width),
        "",
    ]
    for number, tree in enumerate(model["trees"]):
        lines += _tree(number, tree["nodes"], share)
    return "\n".join([*lines, "end of trees", ""])


def _tree(number: int, nodes: Sequence[Mapping[str, Any]], share: float) -> list[str]:
    """One tree: its tests are numbered from 0, its leaves from -1 downwards."""
    tests = [node for node in nodes if "leaf_value" not in node]
    leaves = [node for node in nodes if "leaf_value" in node]
    names = {node["node_id"]: place for place, node in enumerate(tests)}
    names |= {node["node_id"]: -place - 1 for place, node in enumerate(leaves)}
    values = [np.ravel(leaf["leaf_value"])[-1] * share for leaf in leaves]
    return [
        f"Tree={number}",
        f"num_leaves={len(leaves)}",
        "num_cat=0",
        _line("split_feature", (node["split_feature_id"] for node in tests)),
        _line("split_gain", [0] * len(tests)),
        _line("threshold", (repr(float(node["threshold"])) for node in tests)),
        _line("decision_type", [0] * len(tests)),
        _line("left_child", (names[node["left_child"]] for node in tests)),
        _line("right_child", (names[node["right_child"]] for node in tests)),
        _line("leaf_value", (repr(float(value)) for value in values)),
        _line("leaf_weight", (leaf["data_count"] for leaf in leaves)),
        _line("leaf_count", (leaf["data_count"] for leaf in leaves)),
        _line("internal_value", [0] * len(tests)),
        _line("internal_weight", (node["data_count"] for node in tests)),
        _line("internal_count", (node["data_count"] for node in tests)),
        "is_linear=0",
        "shrinkage=1",
        "",
    ]


def _line(name: str, values: Iterable[Any]) -> str:
    return f"{name}={' '.join(map(str, values))}"
