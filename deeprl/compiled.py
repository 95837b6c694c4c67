"""One optimizer step as one compiled function: loss, gradient, its norm, clipping, and the optimizer's rule.

The function is traced once into a graph of plain operators and given to inductor. Nothing of Python is left in it, so that calling it costs
little more than its kernels: neither the guards of `torch.compile` nor the optimizer's own calls, which small networks feel most.
The price is that what is no tensor must not change after the first call. A loss is a pure function of parameters, buffers and batch, and
everything else it reads is a frozen choice.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from deeprl.agent import Agent, descend
from deeprl.optim import Flat
from deeprl.types import Batch, Learned


def has_compiler() -> bool:
    """Whether a C++ compiler is on the path: inductor needs one on the CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))


def views(flats: Sequence[Tensor], shapes: Sequence[tuple[str, torch.Size]]) -> dict[str, Tensor]:
    """Named parameters from the flat tensors that hold them, in order; none lies in two."""
    found, left = {}, list(shapes)
    for flat in flats:
        mine: list[tuple[str, torch.Size]] = []
        while sum(shape.numel() for _, shape in mine) < flat.numel():
            mine.append(left.pop(0))
        # The gradient of a split is one concatenation; that of slices would be a full vector of zeros for each.
        for (name, shape), part in zip(mine, flat.split([shape.numel() for _, shape in mine])):
            found[name] = part.view(shape)
    return found


class Place(NamedTuple):
    """Where a module keeps a parameter or buffer, which it may replace."""

    owner: dict[str, Any]
    key: str


def places(agent: nn.Module) -> dict[str, Place]:
    """Of every parameter and buffer, by the name that `functional_call` knows it by."""
    found: dict[str, Place] = {}
    names = [*(name for name, _ in agent.named_parameters()), *(name for name, _ in agent.named_buffers())]
    for name in names:
        path, _, key = name.rpartition(".")
        module = agent.get_submodule(path)
        owner = module._parameters if key in module._parameters else module._buffers
        found[name] = Place(owner, key)
    return found


class Shared(NamedTuple):
    """Parameters that are views of one flat tensor: to compiled code one argument, of which each costs some."""

    flat: Tensor
    members: list[tuple[str, int, torch.Size]]
    """Name, place of the first number, shape"""


def unpacked(shared: Sequence[Shared], flats: Sequence[Tensor], loose: dict[str, Tensor]) -> dict[str, Tensor]:
    """By name, from the flat tensors and what is apart."""
    members = [(flat, *member) for some, flat in zip(shared, flats) for member in some.members]
    return {**loose, **{name: flat[start : start + shape.numel()].view(shape) for flat, name, start, shape in members}}


def share(constants: dict[str, Place]) -> tuple[list[Shared], dict[str, Place]]:
    """Parameters that lie in memory together, as targets and what other optimizers train do; and all that is left.

    They are taken to stay where they are: parameters are written into, never replaced. Buffers may be.
    """
    together: dict[int, list[str]] = {}
    for name, (owner, key) in constants.items():
        if isinstance(owner[key], nn.Parameter) and owner[key].is_contiguous():
            together.setdefault(owner[key].untyped_storage().data_ptr(), []).append(name)
    found, left = [], dict(constants)
    for names in together.values():
        mine = {name: left[name].owner[left[name].key] for name in names}
        if len(names) == 1 or len({parameter.dtype for parameter in mine.values()}) > 1:
            continue
        first = min(mine.values(), key=Tensor.storage_offset)
        starts = {name: parameter.storage_offset() - first.storage_offset() for name, parameter in mine.items()}
        size = max(starts[name] + parameter.numel() for name, parameter in mine.items())
        flat = first.detach().as_strided((size,), (1,))
        found.append(Shared(flat, [(name, starts[name], parameter.shape) for name, parameter in mine.items()]))
        for name in names:
            del left[name]
    return found, left


class Pure:
    """One objective of an agent as a function of tensors alone.

    Attributes:
        constants: where everything that is not trained lies, by name.
        shared, loose: the same in two kinds, see `share`.
        metrics: names of what the last call of `step` reported.
    """

    def __init__(self, agent: Agent, name: str, unpack: Callable[[Any], Batch] | None = None):
        self.agent, self.name, self.unpack = agent, name, unpack
        self.optimizer = agent.objectives[name].optimizer
        names = {id(parameter): name for name, parameter in agent.named_parameters()}
        self.shapes = [(names[id(parameter)], parameter.shape) for parameter in self.optimizer.parameters]
        trained = {name for name, _ in self.shapes}
        self.constants = {name: place for name, place in places(agent).items() if name not in trained}
        self.shared, self.loose = share(self.constants)
        own = {flat.untyped_storage().data_ptr() for flat in self.optimizer.flats}
        assert not any(some.flat.untyped_storage().data_ptr() in own for some in self.shared), "constants among what is trained"
        self.metrics: list[str] = []

    def gradients(self, flats: Sequence[Tensor], constants: dict[str, Tensor], batch: Any) -> tuple[tuple[Tensor, ...], Learned]:
        """With respect to the optimizer's flat tensors."""

        def loss(flats: tuple[Tensor, ...]) -> tuple[Tensor, Learned]:
            tensors = {**views(flats, self.shapes), **constants}
            return torch.func.functional_call(self.agent, tensors, (self.name, batch, self.unpack))

        gradients, (_, learned) = torch.func.grad_and_value(loss, has_aux=True)(tuple(flats))
        return gradients, learned

    def step(
        self, flats: Sequence[Tensor], averages: Sequence[Sequence[Tensor]], numbers: Sequence[Tensor], failed: Tensor,
        shared: Sequence[Tensor], loose: dict[str, Tensor], batch: Any,
    ) -> list[Tensor]:  # fmt: skip
        """One step in place, unless something is not finite: then nothing changes.

        Args:
            shared, loose: see the attributes; of `shared` the flat tensors.

        Returns:
            () a number that is finite if everything is; () the norm that the optimizer reports; the error; then the metrics, whose names
            are left in `metrics`.
        """
        gradients, learned = self.gradients(flats, unpacked(self.shared, shared, loose), batch)
        norms = [torch.linalg.vector_norm(g) for g in gradients]
        # the error may be infinite where the gradient is not, as Huber's; 0 times NaN or Inf is NaN
        total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
        check = total + 0.0 * learned.error.sum()
        fine = torch.isfinite(check) & (failed == 0)
        for part, flat, mine, gradient, norm, own in zip(parts(self.optimizer), flats, averages, gradients, norms, numbers):
            old = (flat, *mine)
            new = part.moved(flat, mine, part.clipped(gradient, norm), own.unbind())
            for into, value in zip(old, new):
                into.copy_(torch.where(fine, value, into))
        self.metrics = list(learned.metrics)
        return [check, norms[0], learned.error, *learned.metrics.values()]


def parts(optimizer) -> Sequence[Flat]:
    """The flat optimizers that one consists of."""
    return getattr(optimizer, "groups", None) or [optimizer]


def apart(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """A product and then its bias, which inductor adds together with what follows. The operator for both would first fill its result with
    the bias."""
    return torch.bmm(x, weight) + bias


def traced(function: Callable[..., list[Tensor]], arguments: tuple) -> tuple[torch.fx.GraphModule, list[bool]]:
    """The graph of a function of nested tensors: as a function of those leaves that matter, in order. It writes into its inputs at its
    end only.

    Returns:
        the graph, and for each leaf of `arguments` whether it is an input.
    """
    import torch._inductor.lowering  # some decompositions take it for granted
    from torch._inductor.decomposition import select_decomp_table  # slow to import, like the next one
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils import _pytree as pytree

    leaves, structure = pytree.tree_flatten(arguments)

    def of_leaves(*leaves):
        return function(*pytree.tree_unflatten(leaves, structure))

    table = {**select_decomp_table(), torch.ops.aten.baddbmm.default: apart}
    with torch.no_grad():
        # fake tensors: nothing is computed, and nothing changed
        trace = make_fx(torch.func.functionalize(of_leaves), table, tracing_mode="fake", _allow_non_fake_inputs=True)
        graph = trace(*leaves)
    graph.graph.eliminate_dead_code()
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    wanted = [bool(node.users) for node in inputs]
    for node, keep in zip(inputs, wanted):
        if not keep:
            graph.graph.erase_node(node)
    graph.recompile()
    return graph, wanted


Run = Callable[[list[Tensor]], Sequence[Tensor]]
"""A compiled graph: takes a list of its inputs, which it may empty"""


def inductor(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Run:
    """Compiled code for a graph and inputs of these layouts.

    A second try is for a Ctrl-C, which reaches the C++ compiler too, while this process goes on to its next checkpoint, and must not count
    as a compiler that does not work. The third is for versions of torch that name things otherwise.
    """
    for _ in range(2):
        with contextlib.suppress(Exception):
            return lowered(copy.deepcopy(graph))  # it is rewritten
    return documented(graph, inputs)


def documented(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Run:
    """By the way that torch documents: the same kernels behind wrappers that small networks feel at every call."""
    call = torch._inductor.compile(graph, [*inputs], options={"cpp_wrapper": True})
    return lambda values: call(*values)


def lowered(graph: torch.fx.GraphModule) -> Run:
    """Only what inductor itself does: a traced graph needs none of the wrappers that sort out gradients and aliases at every call. Rewrites
    the graph."""
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes
    from torch._inductor.virtualized import V

    fakes = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    mode = fakes[0].fake_mode
    with config.patch(cpp_wrapper=True), V.set_fake_mode(mode), tracing(TracingContext(mode)), torch.no_grad():
        code: Any = compile_fx_inner(joint_graph_passes(graph), fakes, cpp_wrapper=True, is_inference=True)
    return code.current_callable


def interpreted(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Run:
    """A traced graph as it is, for tests without a compiler."""
    return lambda values: graph(*values)


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


class _Compiled:
    """One objective for batches of one layout.

    What it does at each call is little, and done once where it can be: between large products every line of Python costs several times
    what it does alone.
    """

    def __init__(self, pure: Pure, batch: Any, backend: str):
        optimizer, watch = pure.optimizer, pure.agent.watch
        self.parts = parts(optimizer)
        host = [torch.zeros(len(part.numbers(0))) for part in self.parts]
        self.written = [(part, numbers.numpy()) for part, numbers in zip(self.parts, host)]  # quicker to set than a tensor
        numbers = [each.to(part.flat.device) for part, each in zip(self.parts, host)]  # on a CPU the same
        self.away = [(into, each) for into, each in zip(numbers, host) if into is not each]
        averages = [[getattr(part, name) for name in part.averages] for part in self.parts]
        shared = [some.flat for some in pure.shared]
        loose = {name: owner[key] for name, (owner, key) in pure.loose.items()}
        graph, wanted = traced(pure.step, (optimizer.flats, averages, numbers, watch.failed, shared, loose, batch))
        self.metrics = pure.metrics

        kept = Kept(wanted)
        self.fixed = kept([*optimizer.flats, *[average for own in averages for average in own], *numbers, watch.failed, *shared])
        self.loose = kept(list(pure.loose.values()))
        paths = kept(batch_paths(batch))
        self.fields = [field for field, key in paths if key is None]
        self.entries = [(field, key) for field, key in paths if key is not None]
        leaves = self.leaves(batch)
        self.kind, self.layout = type(batch), Layout(leaves)
        self.run = BACKENDS[backend](graph, self.inputs(leaves))

    def leaves(self, batch: Any) -> list[Tensor]:
        return [*[batch[field] for field in self.fields], *[batch[field][key] for field, key in self.entries]]

    def inputs(self, leaves: list[Tensor]) -> list[Tensor]:
        return [*self.fixed, *[owner[key] for owner, key in self.loose], *leaves]

    def __call__(self, leaves: list[Tensor], step: int) -> tuple[Tensor, Tensor, Learned]:
        """See `Pure.step`."""
        for part, written in self.written:
            written[:] = part.numbers(step)
        for into, host in self.away:
            into.copy_(host)
        check, norm, error, *metrics = self.run(self.inputs(leaves))
        return check, norm, Learned(error, dict(zip(self.metrics, metrics)))


def batch_paths(batch: tuple) -> list[tuple[int, str | None]]:
    """Field and key of every leaf of a batch, in the order in which they are flattened: those that have keys come last."""
    found: list[tuple[int, str | None]] = []
    for field, value in enumerate(batch):
        found += [(field, key) for key in value] if isinstance(value, dict) else [(field, None)]
    return found


class CompiledStep:
    """In place of `deeprl.agent.descend`: each objective's step compiled, for each layout of a batch, when first asked for. Call it always
    under the same matmul precision.

    What is not trained, targets and statistics included, is constant to it but read anew at each call. Buffers may be replaced, by tensors
    of the same shape, strides and type; parameters that share their memory are written into, see `share`.

    Args:
        failed: called with the error if an objective cannot be compiled; from then on steps are made as without a compiler. None raises it.
            Whoever pairs it with a `CompiledAnswer` sets `broken` of both, so that a run has one mode.
        backend: "inductor", or "eager", which only traces: for tests without a compiler.

    Attributes:
        unpack: makes a `Batch` of what it is called with, which may be one or, in named tuples and dictionaries of tensors, what a replay
            has drawn: then the arithmetic in between is compiled as well.
    """

    unpack: Callable[[Any], Batch] | None = None

    def __init__(self, agent: Agent, failed: Callable[[Exception], None] | None = None, backend: str = "inductor"):
        self.failed, self.backend, self.broken = failed, backend, False
        self.compiled: dict[str, list[_Compiled]] = {name: [] for name in agent.objectives}

    def __call__(self, agent: Agent, name: str, batch: Any) -> tuple[Learned, Tensor]:
        if self.broken:
            return descend(agent, name, batch if self.unpack is None else self.unpack(batch))
        for compiled in self.compiled[name]:
            if type(batch) is compiled.kind:
                leaves = compiled.leaves(batch)
                if compiled.layout.of(leaves):
                    break
        else:
            try:
                compiled = _Compiled(Pure(agent, name, self.unpack), batch, self.backend)
            except Exception as error:  # a broken compiler shows itself in many ways; an error of the agent's own comes again below
                if self.failed is None:
                    raise
                self.broken = True
                self.failed(error)
                return self(agent, name, batch)
            self.compiled[name].append(compiled)
            leaves = compiled.leaves(batch)
        check, norm, learned = compiled(leaves, agent.step)
        watch = agent.watch
        if not watch.immediate:
            watch(check, "")
        elif not math.isfinite(check.item()):
            watch(learned.error.sum(), "its error")
            watch(norm, "the norm of its gradient")
            watch(check, "the norm of all its gradients")
        for part in compiled.parts:
            part.taken += 1
        return learned, norm


class Answers(nn.Module):
    """An agent whose `forward` is its `answer`, which is what `functional_call` can call."""

    def __init__(self, agent: Agent):
        super().__init__()
        self.agent = agent

    def forward(self, obs: Tensor, noise: dict) -> Tensor:
        return self.agent.answer(obs, noise)


class CompiledAnswer:
    """In place of `agent.answer` while data is collected: compiled when first asked, for the layout of what it is asked then. Anything
    else, and everything if it cannot be compiled, is answered as without a compiler.

    Args:
        failed, backend: as of `CompiledStep`.
    """

    def __init__(self, agent: Agent, failed: Callable[[Exception], None] | None = None, backend: str = "inductor"):
        self.agent, self.failed, self.backend = agent, failed, backend
        self.run: Run | None = None
        self.broken = False

    def __call__(self, obs: Tensor, noise: dict[str, Tensor]) -> Tensor:
        if self.run is None and not self.broken:
            try:
                self.compile(obs, noise)
            except Exception as error:
                if self.failed is None:
                    raise
                self.broken = True
                self.failed(error)
        if self.broken or self.run is None:
            return self.agent.answer(obs, noise)
        leaves = [obs, *[noise[key] for key in self.keys]]
        if not self.layout.of(leaves):
            return self.agent.answer(obs, noise)
        return self.run([*self.fixed, *[owner[key] for owner, key in self.loose], *leaves])[0]

    def compile(self, obs: Tensor, noise: dict[str, Tensor]) -> None:
        module = Answers(self.agent)
        shared, loose = share(places(module))

        def answer(flats: list[Tensor], loose: dict[str, Tensor], obs: Tensor, noise: dict[str, Tensor]) -> list[Tensor]:
            return [torch.func.functional_call(module, unpacked(shared, flats, loose), (obs, noise))]

        flats = [some.flat for some in shared]
        graph, wanted = traced(answer, (flats, {name: owner[key] for name, (owner, key) in loose.items()}, obs, noise))
        kept = Kept(wanted)
        self.fixed, self.loose = kept(flats), kept(list(loose.values()))
        assert kept([obs]), "an agent that acts without looking"
        self.keys = kept(list(noise))
        leaves = [obs, *[noise[key] for key in self.keys]]
        self.layout = Layout(leaves)
        self.run = BACKENDS[self.backend](graph, [*self.fixed, *[owner[key] for owner, key in self.loose], *leaves])
