"""From a function of tensors to a traced graph, and from the graph to compiled code."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
from collections.abc import Callable, Sequence
from functools import reduce
from graphlib import TopologicalSorter
from itertools import compress
from typing import Any, cast

import torch
from torch import Tensor

from deeprl.errors import ConfigError
from deeprl.running.accelerate.cuda_graph import CudaGraph


def has_compiler() -> bool:
    """Whether a C++ compiler is on the path, because inductor needs one on the CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))


def apart(bias: Tensor, x: Tensor, weight: Tensor) -> Any:
    """A product, then its bias. Inductor fuses the addition with the next operators; `baddbmm` would first fill its result with the
    bias. In bfloat16 it stays one operator, because two would round twice."""
    return torch.bmm(x, weight) + bias if x.dtype != torch.bfloat16 else NotImplemented


def unstacked(x: Tensor, weight: Tensor) -> Any:
    """The product of a stack of one without the stack, because oneDNN copies a transposed operand of `bmm`; transposed if it has two or
    three columns, which both libraries take for sixteen. `python -m benchmarks.speed.forms stack` found 5.64 µs a step and 6.17 without, a
    saving of 9 %. Rounding may differ: in oneDNN, and in products of two or three rows."""
    if len(x) > 1 or min(x.shape[1:]) == 1 or x.dtype != torch.float32 or x.device.type != "cpu":
        return NotImplemented
    rows, columns = x[0], weight[0]
    if columns.shape[1] <= 3 and len(rows) >= 64:
        return torch.mm(columns.mT, rows.mT).mT.unsqueeze(0)
    return torch.mm(rows, columns).unsqueeze(0)


CLAMPED = 7.99881172180175781
NUMERATOR = (
    -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05, 6.37261928875436e-04,
    4.89352455891786e-03,
)  # fmt: skip
DENOMINATOR = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def rational_tanh(x: Tensor) -> Any:
    """tanh as Eigen and XLA compute it, a quotient of polynomials that is at most 4e-7 away. The exact one makes a loop of PPO on
    1,024 CartPoles a third slower: `python -m benchmarks.speed.forms tanh` found 5.64 and 7.56 µs a step, a saving of 25 %."""
    if x.dtype != torch.float32:
        return NotImplemented
    x = x.clamp(-CLAMPED, CLAMPED)
    square = x * x
    above, below = (reduce(lambda sum, factor: sum * square + factor, factors) for factors in (NUMERATOR, DENOMINATOR))
    return x * above / below


WORTH_STORING = 10
"""Operators from which these functions store a number that several kernels read; inductor would compute up to 30 anew, a tanh among them.
`python -m benchmarks.speed.forms stored` found 4.54 µs a step, and 4.69 without, a saving of 3 %"""
QUICK: dict[Any, Callable] = {torch.ops.aten.tanh.default: rational_tanh, torch.ops.aten.bmm.default: unstacked}
"""Operators that are spelled otherwise in compiled functions of rollouts on the device"""


COPIES = {torch.ops.aten.copy.default: 1, torch.ops.aten.clone.default: 0}
"""Place of the argument whose numbers these operators give unchanged"""


def input_of(node: Any) -> Any:
    """The input that a node is, or shows or copies unchanged; else None."""
    while isinstance(node, torch.fx.Node) and node.op != "placeholder":
        given = node.args[COPIES.get(cast(Any, node.target), 0)] if node.args else None
        if node.target not in COPIES and memory(node) != memory(given):  # no view
            return None
        node = given
    return node


def memory(node: Any) -> Any:
    """Which memory a node's tensor has; None if it is none."""
    value = node.meta.get("val") if isinstance(node, torch.fx.Node) else None
    return value.untyped_storage()._cdata if isinstance(value, Tensor) else None


def write_copies_first(graph: torch.fx.Graph) -> None:
    """Reorder the writes at the end of a graph: an input is copied into another one before it is itself written. Inductor drops the copy
    and reads the input where it writes the other one: a rollout had the next observation in place of the one that was acted on.

    Raises:
        graphlib.CycleError: inputs are exchanged, for which no order of writes will do.
    """
    writes = [node for node in graph.nodes if node.target is torch.ops.aten.copy_.default]
    sources = {node: input_of(node.args[1]) for node in writes}
    before = {node: [other for other in writes if other is not node and sources[other] is node.args[0]] for node in writes}
    last = next(node for node in graph.nodes if node.op == "output")
    for node in TopologicalSorter(before).static_order():
        last.prepend(node)


def traced(
    function: Callable[..., list[Tensor]], arguments: tuple, spelled: dict[Any, Callable] | None = None
) -> tuple[torch.fx.GraphModule, list[bool]]:
    """Graph of a function of nested tensors. Its inputs are the leaves that it reads, in order; it writes into them at its end only.

    Args:
        spelled: other functions in place of some operators.

    Returns:
        the graph, and a bool for each leaf of `arguments`: whether it is an input.

    Raises:
        graphlib.CycleError: see `write_copies_first`.
    """
    import torch._inductor.lowering  # some decompositions need it imported
    from torch._inductor.decomposition import select_decomp_table  # slow to import, like the next one
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils import _pytree as pytree

    leaves, structure = pytree.tree_flatten(arguments)

    def of_leaves(*leaves):
        return function(*pytree.tree_unflatten(leaves, structure))

    table = {**select_decomp_table(), torch.ops.aten.baddbmm.default: apart, **(spelled or {})}
    with torch.no_grad():
        # fake tensors, so that nothing is computed or changed
        graph = make_fx(torch.func.functionalize(of_leaves), table, tracing_mode="fake", _allow_non_fake_inputs=True)(*leaves)
    graph.graph.eliminate_dead_code()
    write_copies_first(graph.graph)
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    wanted = [bool(node.users) for node in inputs]
    for node, keep in zip(inputs, wanted):
        if not keep:
            graph.graph.erase_node(node)
    graph.recompile()
    graph.meta["stores"] = WORTH_STORING if spelled else None
    return graph, wanted


Run = Callable[[list[Tensor]], Sequence[Tensor]]
"""A compiled graph: a function of the list of its inputs, which it may empty"""


def inductor(graph: torch.fx.GraphModule, inputs: list[Tensor], lasting: list[bool]) -> Run:
    """Compile a graph for inputs of these layouts.

    The second attempt is for Ctrl-C, which also ends the C++ compiler while this process goes on to its next checkpoint: the compiler is
    not broken then. The third attempt uses the public interface, for versions of torch without the private one.
    """
    for _ in range(2):
        with contextlib.suppress(Exception):
            return lowered(copy.deepcopy(graph))  # the compiler rewrites it
    return documented(copy.deepcopy(graph), inputs)


def documented(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Run:
    """Compile with `torch._inductor.compile`, the public interface."""
    call = torch._inductor.compile(graph, [*inputs], options={"cpp_wrapper": True})
    return lambda values: call(*values)


def lowered(graph: torch.fx.GraphModule) -> Run:
    """Compile with a private interface, to the same kernels without the wrappers that handle gradients and aliases at every call, because a
    traced graph has neither. Rewrites the graph.

    With `documented` the compiled CartPole loop is 6 % slower: `python -m benchmarks.speed cartpole_loop --beside` a checkout whose
    `inductor` calls `documented` only.
    """
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes
    from torch._inductor.virtualized import V

    fakes = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    mode = fakes[0].fake_mode
    options = config.patch(cpp_wrapper=True, realize_opcount_threshold=graph.meta.get("stores") or config.realize_opcount_threshold)
    with options, V.set_fake_mode(mode), tracing(TracingContext(mode)), torch.no_grad():
        code: Any = compile_fx_inner(joint_graph_passes(graph), fakes, cpp_wrapper=True, is_inference=True)
    return code.current_callable


def interpreted(graph: torch.fx.GraphModule, inputs: list[Tensor], lasting: list[bool]) -> Run:
    """Run a traced graph without compiling it, for tests without a compiler."""
    return lambda values: graph(*values)


BACKENDS: dict[str, Callable[[torch.fx.GraphModule, list[Tensor], list[bool]], Run]] = {
    "inductor": inductor,
    "cuda_graph": CudaGraph,
    "eager": interpreted,
}
"""`backend(graph, inputs, lasting)`; `lasting`: whether each input keeps its memory from call to call"""


def compiled(backend: str, graph: torch.fx.GraphModule, inputs: list[Tensor], lasting: list[bool], alone: bool = True) -> Run:
    """Compile a graph for inputs of these layouts, and try it once on them. Nothing that the graph writes is changed.

    Args:
        backend: of `BACKENDS`.
        lasting: whether each input keeps its memory from call to call.
        alone: False if the graph meets those of other processes, which a trial would keep waiting.

    Raises:
        ConfigError: inductor's code gives other numbers than the operators.
        Exception: any error of the compiler.
    """
    run = BACKENDS[backend](graph, inputs, lasting)
    if backend == "inductor" and alone:
        require_agreement(graph, run, inputs)
    return run


def require_agreement(graph: torch.fx.GraphModule, run: Run, inputs: Sequence[Tensor]) -> None:
    """Compute once by compiled code and once by its operators, from the same inputs, which stay as they are.

    Raises:
        ConfigError: a result, or an input that is written, differs in most of its rows, so that it is not rounding, nor a choice among
            actions of the same value.
    """
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    changed = {node.args[0] for node in graph.graph.nodes if node.target is torch.ops.aten.copy_.default}
    writes = [node in changed for node in placeholders]
    plain, quick = ([twin(tensor) if written else tensor for tensor, written in zip(inputs, writes)] for _ in range(2))
    results = [*graph(*plain)], [*run([*quick])]
    for expected, got in zip(*(found + list(compress(own, writes)) for found, own in zip(results, (plain, quick)))):
        if disagree(expected, got):
            where = f"in most rows of a tensor {tuple(got.shape)}"
            raise ConfigError(f"accelerate=compiled: the compiler's code gives other numbers than the operators, {where}: choose fast")


def twin(tensor: Tensor) -> Tensor:
    """A copy with the same strides, gaps included."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device).copy_(tensor)


NOISE = 1e-5
"""What float32 sums of some hundred numbers of size 1 may have instead of 0. A mean that is 0 by construction, such as that of a layer
behind normalised inputs, has nothing else: 2e-6 in XQC's first update on Humanoid, with 393 inputs."""


def disagree(expected: Tensor, got: Tensor) -> bool:
    """Whether most rows differ, numbers by more than a hundredth of the largest and by more than `NOISE`; never of a single number, which
    may be a mean near 0."""
    if expected.numel() < 2:
        return False
    if expected.is_floating_point():
        off = ~torch.isclose(got, expected, rtol=0, atol=0.01 * expected.abs().nan_to_num(0, 0).max().item() + NOISE, equal_nan=True)
    else:
        off = got != expected
    rows = off.flatten(1).any(1) if off.dim() > 1 else off
    return rows.double().mean().item() > 0.5


class Kept:
    """Selection of the arguments that a traced graph kept, called for one group of arguments after another.

    Args:
        wanted: a bool for each leaf, see `traced`.
    """

    def __init__(self, wanted: list[bool]):
        self.left = list(wanted)

    def __call__(self, candidates: Sequence) -> list:
        mine = [each for each, keep in zip(candidates, self.left) if keep]
        del self.left[: len(candidates)]
        return mine


Path = tuple[Any, ...]
"""Place of a tensor in nested named tuples and dictionaries: an index or a key for each level"""


def paths(value: Any, path: Path = ()) -> list[Path]:
    """Paths of all tensors, in the order in which `traced` flattens them."""
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


class TensorLayout:
    """Shapes, strides and types that a compiled function assumes of some tensors. It keeps the tensors alive."""

    def __init__(self, tensors: Sequence[Tensor]):
        self.known = [(t, t.shape, t.stride(), t.dtype) for t in tensors]

    def of(self, tensors: Sequence[Tensor]) -> bool:
        """Whether tensors have this layout. The check is fast for identical tensors, because replays reuse their buffers."""
        for t, (known, shape, stride, dtype) in zip(tensors, self.known):
            if t is not known and (t.shape != shape or t.stride() != stride or t.dtype != dtype):
                return False
        return True
