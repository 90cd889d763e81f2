"""A tree ensemble as ONNX: from treelite's description of it to one node of the standard.

treelite reads the ensemble out of scikit-learn and says what each tree is
(https://treelite.readthedocs.io/en/latest/serializer/v4.html); ONNX says how it is written
(https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html), and ONNX Runtime runs it. Nothing
here decides anything: nodes become rows of columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from stages.shared.errors import UserError

if TYPE_CHECKING:
    import treelite

INPUT, OUTPUT = "rows", "score"
# Of the first release with this operator, not of the library that is installed: equal ensembles
# are equal bytes.
_OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
_IR_VERSION = 10
_LESS_OR_EQUAL = 0  # ONNX's BRANCH_LEQ
_AVERAGE, _SUM = 0, 1  # ONNX's aggregate functions


@dataclass
class _Columns:
    """Nodes and leaves of all trees, a list an attribute of ONNX's operator."""

    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    missing_is_true: list[int] = field(default_factory=list)
    # Which node, or which leaf, follows where the comparison is true, and where it is false.
    true: list[int] = field(default_factory=list)
    true_is_leaf: list[int] = field(default_factory=list)
    false: list[int] = field(default_factory=list)
    false_is_leaf: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)  # of leaves

    def add(self, nodes: Iterable[Mapping[str, Any]]) -> None:
        """Add a tree.

        Raises:
            UserError: it splits by something else than "at most this number".
        """
        inner = [node for node in nodes if "leaf_value" not in node]
        leaves = [node for node in nodes if "leaf_value" in node]
        if not inner:  # ONNX has no tree without a split: one that asks in vain
            inner, leaves = [_IN_VAIN], [{**leaves[0], "node_id": n} for n in (1, 2)]
        at = {n["node_id"]: (len(self.features) + place, 0) for place, n in enumerate(inner)}
        at |= {n["node_id"]: (len(self.weights) + place, 1) for place, n in enumerate(leaves)}
        self.roots.append(at[0][0])
        for node in inner:
            if node.get("comparison_op") != "<=":
                raise UserError("a tree that splits by categories cannot be served")
            self.features.append(node["split_feature_id"])
            self.thresholds.append(node["threshold"])
            self.missing_is_true.append(int(node["default_left"]))
            _append(at[node["left_child"]], self.true, self.true_is_leaf)
            _append(at[node["right_child"]], self.false, self.false_is_leaf)
        self.weights += [_churns(node["leaf_value"]) for node in leaves]


_IN_VAIN = {
    "node_id": 0, "split_feature_id": 0, "comparison_op": "<=", "threshold": 0.0,
    "default_left": True, "left_child": 1, "right_child": 2,
}  # fmt: skip


def to_onnx(ensemble: treelite.Model) -> bytes:
    """The ensemble as an ONNX model.

    Args:
        ensemble: of one output, a logit (gradient boosting), or of two, the classes'
            probabilities (a forest).

    Returns:
        A model from ``rows`` (float64, shape (n, width)) to ``score`` (float64, (n, 1)): the logit,
        or the probability.

    Raises:
        UserError: it has a kind of tree that is not known here.
    """
    described = json.loads(ensemble.dump_as_json(pretty_print=False))
    columns = _Columns()
    for tree in described["trees"]:
        columns.add(tree["nodes"])
    base = described["base_scores"][-1]
    graph = helper.make_graph(
        [
            _operator(columns, average=described["average_tree_output"]),
            helper.make_node("Add", ["trees", "base"], [OUTPUT]),
        ],
        "trees",
        [_double(INPUT, described["num_feature"])],
        [_double(OUTPUT, 1)],
        [_doubles("base", [base])],
    )
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _operator(columns: _Columns, *, average: bool) -> onnx.NodeProto:
    return helper.make_node(
        "TreeEnsemble",
        [INPUT],
        ["trees"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=_AVERAGE if average else _SUM,
        post_transform=0,
        tree_roots=columns.roots,
        nodes_modes=helper.make_tensor(
            "modes",
            TensorProto.UINT8,
            [len(columns.features)],
            [_LESS_OR_EQUAL] * len(columns.features),
        ),
        nodes_featureids=columns.features,
        nodes_splits=_doubles("splits", columns.thresholds),
        nodes_missing_value_tracks_true=columns.missing_is_true,
        nodes_truenodeids=columns.true,
        nodes_trueleafs=columns.true_is_leaf,
        nodes_falsenodeids=columns.false,
        nodes_falseleafs=columns.false_is_leaf,
        leaf_targetids=[0] * len(columns.weights),
        leaf_weights=_doubles("weights", columns.weights),
    )


def _append(place: tuple[int, int], ids: list[int], are_leaves: list[int]) -> None:
    ids.append(place[0])
    are_leaves.append(place[1])


def _churns(value: float | list[float]) -> float:
    """What a leaf says of the class that churns: alone, or the second of two."""
    return value[-1] if isinstance(value, list) else value


def _double(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", width])


def _doubles(name: str, values: list[float]) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.DOUBLE, [len(values)], values)
