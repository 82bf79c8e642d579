"""Computation graphs as nodes and edges, the form in which they are stored and drawn.

Two kinds of tensors have one: those that know their operation and what it was applied to (``oper`` and
``prev``), and those of PyTorch, whose ``grad_fn`` is the last function of the autograd graph.  Graphs
are walked without recursion: they may be deeper than Python's stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from track_protocol.errors import BadValue

__all__ = ["GraphData", "build_graph_data"]

GraphData = dict[str, list[dict[str, Any]]]
"""``{"nodes": [...], "edges": [...]}``.

A node has ``id``, ``type`` and ``label``; of type ``tensor``, also ``shape``, ``comp_grad`` and ``is_leaf``;
the other type is ``operation``.  An edge has ``source`` and ``target``, ids of nodes."""

_LEAF: Final = "AccumulateGrad"
"""Name of the autograd function that stands for a leaf; its ``variable`` is the tensor."""


def build_graph_data(tensor: Any) -> GraphData:
    """The graph of everything that a tensor was computed from, as plain values.

    Args:
        tensor: one with ``_str_id``, ``label``, ``shape``, ``comp_grad``, ``is_leaf``, ``oper`` and
            ``prev``, or a tensor of PyTorch.

    Raises:
        BadValue: it is neither.
    """
    if hasattr(tensor, "prev") and hasattr(tensor, "_str_id"):
        return _of_tensors(tensor)
    if hasattr(tensor, "grad_fn"):
        return _of_autograd(tensor)
    raise BadValue(
        f"a {type(tensor).__name__} has no computation graph: give a tensor with _str_id, oper and prev, "
        "or one of PyTorch"
    )


_build_graph_data = build_graph_data
"""The same under the name that older scripts import."""


def _node(node_id: str, *, label: Any, shape: Any, comp_grad: Any, is_leaf: Any) -> dict[str, Any]:
    return {
        "id": node_id,
        "type": "tensor",
        "label": str(label or ""),
        "shape": [int(size) for size in shape],
        "comp_grad": bool(comp_grad),
        "is_leaf": bool(is_leaf),
    }


def _operation(node_id: str, label: str) -> dict[str, Any]:
    return {"id": node_id, "type": "operation", "label": label}


def _edge(source: str, target: str) -> dict[str, Any]:
    return {"source": source, "target": target}


def _of_tensors(tensor: Any) -> GraphData:
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    visited: set[str] = set()

    def enter(each: Any) -> tuple[str, Iterator[Any]]:
        """Add a tensor and what made it; its operation's id, and the parents that are to be walked."""
        visited.add(each._str_id)
        nodes.append(
            _node(
                each._str_id,
                label=each.label,
                shape=each.shape,
                comp_grad=each.comp_grad,
                is_leaf=each.is_leaf,
            )
        )
        if each.oper is None:
            return "", iter(())
        operation = f"{each._str_id}_{each.oper}"
        nodes.append(_operation(operation, str(each.oper)))
        edges.append(_edge(operation, each._str_id))
        return operation, iter(each.prev)

    under_way = [enter(tensor)]
    while under_way:
        operation, parents = under_way[-1]
        parent = next(parents, None)
        if parent is None:
            under_way.pop()
            continue
        edges.append(_edge(parent._str_id, operation))
        if parent._str_id not in visited:
            under_way.append(enter(parent))
    return {"nodes": nodes, "edges": edges}


def _of_autograd(tensor: Any) -> GraphData:
    if tensor.grad_fn is None:
        leaf = _node(
            "tensor_0",
            label="",
            shape=tensor.shape,
            comp_grad=tensor.requires_grad,
            is_leaf=tensor.is_leaf,
        )
        return {"nodes": [leaf], "edges": []}
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    # It holds the functions: PyTorch makes their Python objects anew when nothing refers to them.
    named: dict[Any, str] = {}

    def enter(function: Any, shape: Any) -> tuple[str, Iterator[Any]]:
        """Add the tensor that a function gives, and the function; its id, and what it was applied to."""
        made = named[function] = f"tensor_{len(named)}"
        label = function.name().rpartition("::")[2]
        if label == _LEAF:
            variable = function.variable
            nodes.append(_node(made, label="", shape=variable.shape, comp_grad=True, is_leaf=True))
            return "", iter(())
        nodes.append(_node(made, label="", shape=shape, comp_grad=True, is_leaf=False))
        operation = f"{made}_{label}"
        nodes.append(_operation(operation, label))
        edges.append(_edge(operation, made))
        return operation, iter([each for each, _ in function.next_functions if each is not None])

    under_way = [enter(tensor.grad_fn, tensor.shape)]
    while under_way:
        operation, functions = under_way[-1]
        function = next(functions, None)
        if function is None:
            under_way.pop()
            continue
        unseen = function not in named
        at = len(edges)
        if unseen:
            under_way.append(enter(function, _shape_of(function)))
        edges.insert(at, _edge(named[function], operation))
    return {"nodes": nodes, "edges": edges}


def _shape_of(function: Any) -> Any:
    """The shape of what a function gives; empty where this PyTorch does not say."""
    inputs = getattr(function, "_input_metadata", None)
    return inputs[0].shape if inputs else ()
