"""Computation graphs as nodes and edges."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import pytest

from track.tracker.comp_graph import GraphData, build_graph_data
from track_protocol.errors import BadValue


@dataclass(eq=False)
class FakeTensor:
    """A tensor as the documents describe it."""

    _str_id: str
    label: str | None = None
    shape: tuple[int, ...] = (2, 3)
    comp_grad: bool = True
    is_leaf: bool = True
    oper: str | None = None
    prev: list[FakeTensor] = field(default_factory=list)


def made(name: str, oper: str, *prev: FakeTensor) -> FakeTensor:
    return FakeTensor(name, is_leaf=False, oper=oper, prev=list(prev))


def edges(graph: GraphData) -> list[tuple[str, str]]:
    return [(edge["source"], edge["target"]) for edge in graph["edges"]]


def ids(graph: GraphData) -> list[str]:
    return [node["id"] for node in graph["nodes"]]


def test_a_graph_has_tensors_and_operations_in_the_order_of_a_walk_from_the_end() -> None:
    x, w = FakeTensor("x", label="input"), FakeTensor("w")
    graph = build_graph_data(made("y", "matmul", x, w))
    assert graph["nodes"] == [
        {"id": "y", "type": "tensor", "label": "", "shape": [2, 3], "comp_grad": True, "is_leaf": False},
        {"id": "y_matmul", "type": "operation", "label": "matmul"},
        {"id": "x", "type": "tensor", "label": "input", "shape": [2, 3], "comp_grad": True, "is_leaf": True},
        {"id": "w", "type": "tensor", "label": "", "shape": [2, 3], "comp_grad": True, "is_leaf": True},
    ]
    assert edges(graph) == [("y_matmul", "y"), ("x", "y_matmul"), ("w", "y_matmul")]


def test_a_tensor_used_twice_is_one_node_with_two_edges() -> None:
    x = FakeTensor("x")
    graph = build_graph_data(made("y", "mul", x, x))
    assert ids(graph) == ["y", "y_mul", "x"]
    assert edges(graph) == [("y_mul", "y"), ("x", "y_mul"), ("x", "y_mul")]


def test_a_shared_branch_is_walked_once() -> None:
    x = FakeTensor("x")
    left, right = made("l", "exp", x), made("r", "log", x)
    graph = build_graph_data(made("y", "add", left, right))
    assert ids(graph) == ["y", "y_add", "l", "l_exp", "x", "r", "r_log"]
    assert edges(graph) == [
        *[("y_add", "y"), ("l", "y_add"), ("l_exp", "l"), ("x", "l_exp")],
        *[("r", "y_add"), ("r_log", "r"), ("x", "r_log")],
    ]


def test_a_graph_may_be_deeper_than_the_stack() -> None:
    tensor = FakeTensor("t0")
    depth = 10 * sys.getrecursionlimit()
    for number in range(1, depth):
        tensor = made(f"t{number}", "neg", tensor)
    assert len(build_graph_data(tensor)["nodes"]) == 2 * depth - 1


def test_what_has_no_graph_is_refused_by_name() -> None:
    with pytest.raises(BadValue, match=r"^a float has no computation graph: give a tensor with"):
        build_graph_data(1.0)


class TestAutograd:
    def test_a_graph_of_torch_ends_in_its_leaves(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        weight = torch.ones(3, 2, requires_grad=True)
        loss = (torch.ones(4, 3) @ weight).sum()
        graph = build_graph_data(loss)
        operations = [node["label"] for node in graph["nodes"] if node["type"] == "operation"]
        leaves = [node for node in graph["nodes"] if node.get("is_leaf")]
        assert operations == ["SumBackward0", "MmBackward0"]
        assert [(leaf["shape"], leaf["comp_grad"]) for leaf in leaves] == [([3, 2], True)]
        assert [node["shape"] for node in graph["nodes"] if node["type"] == "tensor"] == [[], [4, 2], [3, 2]]
        known = set(ids(graph))
        assert len(known) == len(graph["nodes"])
        assert all(source in known and target in known for source, target in edges(graph))
        assert len(graph["edges"]) == 4

    def test_a_weight_used_twice_is_one_node(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        weight = torch.ones(2, requires_grad=True)
        graph = build_graph_data(weight.exp() + weight.exp())
        assert sum(bool(node.get("is_leaf")) for node in graph["nodes"]) == 1

    def test_a_tensor_without_a_history_is_one_node(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        graph = build_graph_data(torch.ones(2))
        assert [(node["shape"], node["comp_grad"]) for node in graph["nodes"]] == [([2], False)]

    def test_a_graph_of_torch_may_be_deeper_than_the_stack(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        tensor = torch.ones(1, requires_grad=True)
        for _ in range(3_000):
            tensor = tensor * 2
        assert len(build_graph_data(tensor)["nodes"]) == 6_001
