"""From a function of tensors to a traced graph, and from the graph to compiled code."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def has_compiler() -> bool:
    """Whether a C++ compiler is on the path: inductor needs one on the CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))


def traced(function: Callable[..., list[Tensor]], arguments: tuple) -> tuple[torch.fx.GraphModule, list[bool]]:
    """The graph of a function of nested tensors, as a function of the leaves that it reads, in order.

    Returns:
        the graph, and for each leaf of `arguments` whether it is an input.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # slow to import
    from torch.utils import _pytree as pytree

    leaves, structure = pytree.tree_flatten(arguments)

    def of_leaves(*leaves):
        return function(*pytree.tree_unflatten(leaves, structure))

    with torch.no_grad():
        # fake tensors: nothing is computed, and nothing changed
        graph = make_fx(of_leaves, tracing_mode="fake", _allow_non_fake_inputs=True)(*leaves)
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    wanted = [bool(node.users) for node in inputs]
    for node, keep in zip(inputs, wanted):
        if not keep:
            graph.graph.erase_node(node)
    graph.recompile()
    return graph, wanted


Run = Callable[..., Sequence[Tensor]]
"""A compiled graph: its inputs -> its outputs"""


def inductor(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Run:
    """Compiled code for a graph and inputs of these layouts.

    The second try is for a Ctrl-C, which reaches the C++ compiler too while this process goes on to its next checkpoint; it must not count
    as a compiler that does not work.
    """
    options = {"cpp_wrapper": True}
    with contextlib.suppress(Exception):
        return torch._inductor.compile(copy.deepcopy(graph), [*inputs], options=options)  # a failed try may have rewritten the graph
    return torch._inductor.compile(graph, [*inputs], options=options)


def interpreted(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Run:
    """A traced graph as it is, for tests without a compiler."""
    return graph


BACKENDS: dict[str, Callable[[torch.fx.GraphModule, list[Tensor]], Run]] = {"inductor": inductor, "eager": interpreted}


class Kept:
    """Sorts out, group after group, which arguments a traced graph kept.

    Args:
        wanted: for each leaf, see `traced`.
    """

    def __init__(self, wanted: list[bool]):
        self.left = list(wanted)

    def __call__(self, candidates: Sequence) -> list:
        mine = [each for each, keep in zip(candidates, self.left) if keep]
        del self.left[: len(candidates)]
        return mine


Path = tuple[Any, ...]
"""Where a tensor lies in nested named tuples and dictionaries: an index or a key for each level"""


def paths(value: Any, path: Path = ()) -> list[Path]:
    """Of every tensor, in the order in which `traced` flattens them."""
    if isinstance(value, Tensor):
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [found for key, item in items for found in paths(item, (*path, key))]


def reached(value: Any, paths: Sequence[Path]) -> list[Tensor]:
    """The tensors at these paths."""
    found = []
    for path in paths:
        at = value
        for key in path:
            at = at[key]
        found.append(at)
    return found


class Layout:
    """What a compiled function takes for granted of some tensors, which it keeps alive."""

    def __init__(self, tensors: Sequence[Tensor]):
        self.known = [(t, t.shape, t.stride(), t.dtype) for t in tensors]

    def of(self, tensors: Sequence[Tensor]) -> bool:
        """Whether they are laid out like that. Quick for those that are the very same: replays use their buffers again."""
        for t, (known, shape, stride, dtype) in zip(tensors, self.known):
            if t is not known and (t.shape != shape or t.stride() != stride or t.dtype != dtype):
                return False
        return True
