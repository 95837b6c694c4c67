"""A CUDA device without a GPU: ordinary CPU tensors whose storages carry a mark, and CUDA's rules about which tensors may meet.

`Names` answers what Python asks of a tensor or a factory (`x.device`, `x.to("cuda")`, `x.numpy()`). `Operators` sees every operator below
autograd, the backward pass included, and applies the rules: it lists every mixture of devices as a fault and counts every copy between the
devices and every read, because the host waits for each of them. After a fault the program goes on as if the tensor had been moved, so that
one run lists all faults; the arithmetic is right in any case.

The device knows no kernels, no rounding, no memory limit, no streams that run at the same time, no CUDA graphs and no compiler.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[1]
HOST, DEVICE = torch.device("cpu"), torch.device("cuda", 0)
EITHER = None
"""Place of a tensor that an operator made without a tensor to follow: it joins the first tensor that it meets"""
TO_DEVICE, TO_HOST, READ = "to device", "to host", "read"
LATE = ", no wait"
"""Added to the kind of a copy for which the host does not wait"""

aten = torch.ops.aten
COPIES = {aten.copy_, aten._foreach_copy_}
READS = {aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.bincount}
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
SCALARS = {aten.fill_, aten.masked_fill, aten.masked_fill_, aten.where}
"""Operators, beside the pointwise ones, that take a 0-dimensional host tensor as a number"""
UNSTABLE = {aten.cumsum, aten.histc, aten.put_, aten.grid_sampler_2d_backward, aten._adaptive_avg_pool2d_backward, aten.nll_loss_forward}
"""Operators on floats without a deterministic CUDA form: torch refuses them with `runtime.deterministic=true`"""


class Traits:
    """What the rules ask of an operator, which torch's own objects compute anew each time."""

    known: ClassVar[dict[int, Traits]] = {}
    """By the operator's address: operators live as long as the process"""

    def __init__(self, func: Any):
        packet = func.overloadpacket
        self.copies, self.reads, self.indexed = packet in COPIES, packet in READS, packet in INDEXED
        self.numbers = packet in SCALARS or torch.Tag.pointwise in func.tags
        self.unstable, self.draws = packet in UNSTABLE, torch.Tag.nondeterministic_seeded in func.tags
        self.view = func.is_view

    @classmethod
    def of(cls, func: Any) -> Traits:
        found = cls.known.get(id(func))
        if found is None:
            found = cls.known[id(func)] = cls(func)
        return found


def place(tensor: Tensor) -> torch.device | None:
    """HOST, DEVICE or EITHER"""
    return getattr(tensor.untyped_storage(), "place", HOST)


def mark(tensor: Tensor, where: torch.device | None) -> Tensor:
    tensor.untyped_storage().place = where  # the Python object of a storage lives as long as the storage
    return tensor


def tensors(*values: Any) -> list[Tensor]:
    """Tensors in nested lists, tuples and dictionaries; a third of the time of torch's own `tree_leaves`"""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            if not value.is_meta:
                found.append(value)
        elif isinstance(value, (list, tuple)):
            if value and not isinstance(value[0], int):  # sizes
                found += tensors(*value)
        elif isinstance(value, dict) and value:
            found += tensors(*value.values())
    return found


@contextlib.contextmanager
def within(place: object) -> Iterator[None]:
    """`torch.cuda.stream` and `torch.cuda.device`"""
    yield


class Recording:
    """A CUDA graph: operators with the very tensors that they had when they were recorded. As on a GPU, recording computes nothing: what
    was written is restored, and results hold garbage until the first `replay`."""

    def __init__(self, device: Pretended):
        self.device = device
        self.calls: list[tuple[Any, tuple, dict, Any]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        """By the address of a storage: its bytes as a tensor, and their values before the recording"""

    def note(self, func: Any, args: tuple, kwargs: dict) -> Any:
        for tensor in written(func, args):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.before:
                everything = torch.empty(0, dtype=torch.uint8).set_(storage)
                self.before[storage.data_ptr()] = everything, everything.clone()
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        return result

    def forget(self) -> None:
        with self.device.off(), torch.no_grad():
            for _, args, kwargs, result in self.calls:
                for tensor in self.made(args, kwargs, result):
                    if tensor.is_floating_point():
                        tensor.fill_(torch.nan)
            for everything, values in self.before.values():
                everything.copy_(values)

    @staticmethod
    def made(args: tuple, kwargs: dict, result: Any) -> list[Tensor]:
        given = {tensor.untyped_storage().data_ptr() for tensor in tensors(args, kwargs)}
        return [tensor for tensor in tensors(result) if tensor.untyped_storage().data_ptr() not in given]

    def replay(self) -> None:
        self.device.launched[self.device.phase] += 1
        with self.device.off(), torch.no_grad():
            for func, args, kwargs, result in self.calls:
                again = func(*args, **kwargs)
                old = self.made(args, kwargs, result)
                if old:
                    for into, value in zip(tensors(result), tensors(again)):
                        if any(into is each for each in old):
                            into.copy_(value)


class Pretended:
    """`with Pretended() as device: ...` makes `cuda` a device of this thread.

    Args:
        strict: the first fault raises, with the stack that leads to it.
        memory: of the device, in bytes; all of it counts as free.

    Attributes:
        faults: what a GPU would refuse, or compute wrongly, with file and line.
        crossings: (phase, kind, file) -> number, of `TO_DEVICE`, `TO_HOST` and `READ`.
        launched: phase -> number of operators on the device, views left out.
        phase: name that crossings are counted under.
    """

    def __init__(self, strict: bool = False, memory: int = 8 << 30):
        self.strict, self.memory, self.phase = strict, memory, "build"
        self.faults: list[str] = []
        self.crossings: Counter[tuple[str, str, str]] = Counter()
        self.launched: Counter[str] = Counter()
        self.factory: torch.device | None = EITHER
        """Place that the factory call in progress has asked for"""
        self.recorded: Recording | None = None
        """CUDA graph that is being recorded"""
        self.arriving: list[tuple[Tensor, Tensor]] = []
        """Copies to the host without waiting: the result, and the numbers that arrive in it with the next wait"""
        self.sending: list[tuple[Tensor, Tensor, str]] = []
        """Copies from pinned memory without waiting: the source, the numbers that it must hold until the next wait, and the place"""

    def __enter__(self) -> Pretended:
        self._open = contextlib.ExitStack()
        answers = {"is_available": lambda: True, "device_count": lambda: 1, "get_device_name": lambda *_: "pretended"}
        answers["mem_get_info"] = lambda *_: (self.memory, self.memory)
        waits = {"synchronize": lambda *_: self.wait(), "Event": self._event, "Stream": self._event, "_lazy_init": lambda: None}
        graphs = {"CUDAGraph": lambda: Recording(self), "graph": self.recording, "current_stream": self._event, "stream": within}
        self._open.enter_context(mock.patch.multiple(torch.cuda, device=within, **answers, **waits, **graphs))
        autocast, enabled = torch.autocast, torch.is_autocast_enabled  # of ordinary tensors
        casts = {"autocast": lambda _, *args, **kwargs: autocast("cpu", *args, **kwargs), "is_autocast_enabled": lambda _: enabled("cpu")}
        self._open.enter_context(mock.patch.multiple(torch, **casts))
        self._modes = contextlib.ExitStack()
        self._on()
        return self

    def _on(self) -> None:
        self._modes.enter_context(Operators(self))
        self._modes.enter_context(Names(self))

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Ordinary tensors, while a function is traced."""
        self._modes.close()
        try:
            yield
        finally:
            self._on()

    @contextlib.contextmanager
    def recording(self, graph: Recording, stream: object) -> Iterator[None]:
        """`torch.cuda.graph`: operators are noted and change nothing. `stream` must be given: torch's own is shared by all graphs."""
        self.recorded = graph
        try:
            yield
        finally:
            self.recorded = None
            graph.forget()

    def __exit__(self, *error: object) -> None:
        self._modes.close()
        self._open.close()

    def _event(self, *_: object, **__: object) -> mock.Mock:
        return mock.Mock(synchronize=self.wait)

    @contextlib.contextmanager
    def during(self, phase: str) -> Iterator[None]:
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    @contextlib.contextmanager
    def making(self, where: torch.device) -> Iterator[None]:
        before, self.factory = self.factory, where
        try:
            yield
        finally:
            self.factory = before

    def fault(self, what: str) -> None:
        found = f"{':'.join(map(str, caller()))}: {what}"
        if self.strict:
            raise AssertionError(found)
        if found not in self.faults:
            self.faults.append(found)

    def cross(self, kind: str, waits: bool = True) -> None:
        if self.recorded is not None:
            self.fault(f"{kind} while a CUDA graph is recorded")
        self.crossings[self.phase, kind, caller()[0]] += 1
        if waits:
            self.wait()

    def wait(self) -> None:
        """The host waits until the device has done everything queued so far."""
        arriving, self.arriving = self.arriving, []
        sending, self.sending = self.sending, []
        with torch._C._DisableTorchDispatch(), torch.no_grad():
            for result, numbers in arriving:
                result.copy_(numbers)
            for source, numbers, at in sending:
                if not torch.equal(source, numbers):
                    self.fault(f"pinned memory was written while the copy of {at} still read it")

    def transfer(self, result: Tensor, source: Tensor, goes: torch.device, non_blocking: bool) -> None:
        """Account for a copy whose numbers are in `result` already."""
        pinned = getattr((source if goes == DEVICE else result).untyped_storage(), "pinned", False)
        kind = TO_DEVICE if goes == DEVICE else TO_HOST
        late = non_blocking and (pinned or goes == HOST)
        self.cross(kind + LATE if late else kind, waits=not late)
        if not late:
            return
        with torch._C._DisableTorchDispatch(), torch.no_grad():
            if goes == DEVICE:
                self.sending.append((source.detach(), source.detach().clone(), ":".join(map(str, caller()))))
            else:
                self.arriving.append((result.detach(), result.detach().clone()))
                result.detach().fill_(torch.nan if result.is_floating_point() else 77 if result.dtype != torch.bool else True)


def caller() -> tuple[str, int]:
    """File, relative to the repository, and line of the innermost frame outside of this file and of installed packages."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name != __file__ and name.startswith(str(ROOT)) and "site-packages" not in name:  # an environment may lie in the repository
            return str(Path(name).relative_to(ROOT)).replace("deeprl/agents/", "agents/"), frame.f_lineno
        frame = frame.f_back
    return "elsewhere", 0


# ---- what Python asks


def transferred(device: Pretended, tensor: Tensor, goes: torch.device | None, non_blocking: bool = False, **kind: Any) -> Tensor:
    """`tensor.to(...)`; `goes`: None for the place where the tensor is."""
    source = place(tensor)
    if goes is None or goes == source:
        return tensor.to(**kind) if kind else tensor
    result = mark(tensor.to(**{**kind, "dtype": kind.get("dtype", tensor.dtype), "copy": True}), goes)
    if source is not EITHER:
        device.transfer(result, tensor, goes, non_blocking)
    return result


def to(device: Pretended, func: Callable, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if args and isinstance(args[0], Tensor):
        args = (place(args[0]) or HOST, args[0].dtype, *args[1:])
    goes, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **{name: value for name, value in kwargs.items() if name != "copy"})
    if (goes is not None and goes.type not in ("cpu", "cuda")) or tensor.device.type != "cpu":
        return func(tensor, *args, **kwargs)  # the device "meta", which has no numbers
    goes = None if goes is None else DEVICE if goes.type == "cuda" else HOST
    kind = {name: kwargs[name] for name in ("copy", "memory_format") if name in kwargs}
    return transferred(device, tensor, goes, non_blocking, **kind, **({} if dtype is None else {"dtype": dtype}))


def cpu(device: Pretended, func: Callable, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return transferred(device, tensor, HOST)


def cuda(device: Pretended, func: Callable, tensor: Tensor, *args: Any, non_blocking: bool = False, **kwargs: Any) -> Tensor:
    return transferred(device, tensor, DEVICE, non_blocking)


def array(device: Pretended, func: Callable, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
    if place(tensor) == DEVICE:
        device.fault("NumPy cannot have the memory of a tensor on the device")
    return func(tensor, *args, **kwargs)


def tolist(device: Pretended, func: Callable, tensor: Tensor) -> list:
    if place(tensor) == DEVICE:
        device.cross(READ)
    return func(tensor)


def deepcopy(device: Pretended, func: Callable, tensor: Tensor, memo: dict) -> Tensor:
    return mark(func(tensor, memo), place(tensor))  # a storage is copied without an operator


def pin_memory(device: Pretended, func: Callable, tensor: Tensor, *args: Any) -> Tensor:
    if place(tensor) == DEVICE:
        device.fault("only memory of the host can be pinned")
    result = tensor.clone()
    result.untyped_storage().pinned = True
    return result


HANDLERS = {
    Tensor.device.__get__: lambda device, func, tensor, *_: DEVICE if place_of(tensor) == DEVICE else func(tensor),
    Tensor.is_cuda.__get__: lambda device, func, tensor, *_: place_of(tensor) == DEVICE,
    Tensor.is_cpu.__get__: lambda device, func, tensor, *_: place_of(tensor) != DEVICE and func(tensor),
    Tensor.is_pinned: lambda device, func, tensor, *_: getattr(tensor.untyped_storage(), "pinned", False),
    Tensor.to: to,
    Tensor.cpu: cpu,
    Tensor.cuda: cuda,
    Tensor.numpy: array,
    Tensor.__array__: array,
    Tensor.tolist: tolist,
    Tensor.__deepcopy__: deepcopy,
    Tensor.pin_memory: pin_memory,
}
FACTORIES = _device_constructors()
FROM_HOST = {torch.tensor, torch.as_tensor, torch.asarray}
"""Factories whose numbers come from the host"""


def place_of(tensor: Tensor) -> torch.device | None:
    while is_functorch_wrapped_tensor(tensor):  # of torch.func, which has no storage
        tensor = get_unwrapped(tensor)
    return place(tensor) if tensor.layout == torch.strided else HOST


class Names(TorchFunctionMode):
    """Answers of tensors and factories, above autograd."""

    def __init__(self, device: Pretended):
        super().__init__()
        self.pretended = device

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        handler = HANDLERS.get(func)
        if handler is not None:
            return handler(self.pretended, func, *args, **kwargs)
        made = func in FACTORIES
        if (not made and "device" not in kwargs) or isinstance(func, torch._ops.OpOverload):
            return func(*args, **kwargs)  # of a traced graph, whose factories say "cpu", because the tensors were ordinary ones when traced
        # a torch.device as context manager is asked after this mode
        asked = kwargs.get("device") or (torch.utils._device.CURRENT_DEVICE if made else None)
        asked = None if asked is None else torch.device(asked)
        if (asked is None and not made) or (asked is not None and asked.type not in ("cpu", "cuda")):
            return func(*args, **kwargs)
        away = asked is not None and asked.type == "cuda"
        with self.pretended.making(DEVICE if away else HOST):
            result = func(*args, **{**kwargs, "device": HOST})
        if not away:
            return result
        if func in FROM_HOST:
            if isinstance(args[0], Tensor) and place(args[0]) == DEVICE:
                return result
            self.pretended.cross(TO_DEVICE)
            result = result.clone()  # it may share the memory of its argument
        return mark(result, DEVICE)


# ---- what is computed


class Operators(TorchDispatchMode):
    """The rules about operators, below autograd."""

    def __init__(self, device: Pretended):
        super().__init__()
        self.pretended = device

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would wrap the method below in two calls that only a compiler needs

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, traits = kwargs or {}, Traits.of(func)
        given = tensors(*args, *kwargs.values())
        where = self.met(func, traits, given, args, kwargs)
        recorded = self.pretended.recorded
        result = func(*args, **kwargs) if recorded is None else recorded.note(func, args, kwargs)
        known = {tensor.untyped_storage()._cdata for tensor in given}  # views and results in place keep their mark
        for tensor in (result,) if isinstance(result, Tensor) and not result.is_meta else tensors(result):
            if tensor.untyped_storage()._cdata not in known:
                mark(tensor, where)
        if traits.copies:
            self.copied(*args, **kwargs)
        elif where is DEVICE and not traits.view and recorded is None:
            self.pretended.launched[self.pretended.phase] += 1
        return result

    def copied(self, into: Any, source: Any, non_blocking: bool = False) -> None:
        for result, numbers in zip(tensors(into), tensors(source)):
            if EITHER in (place(result), place(numbers)):
                mark(result, place(result) or place(numbers))
                mark(numbers, place(numbers) or place(result))
            if place(result) != place(numbers):
                self.pretended.transfer(result, numbers, place(result), non_blocking)

    def met(self, func: Any, traits: Traits, given: list[Tensor], args: tuple, kwargs: dict) -> torch.device | None:
        """Place of an operator's results. Faults and reads are noted."""
        device = self.pretended
        if traits.copies:
            return EITHER
        places = [place(tensor) for tensor in given]
        where = DEVICE if DEVICE in places else HOST if HOST in places else device.factory
        if traits.indexed:
            where = self.indexed(args, kwargs)
        elif where is DEVICE:
            for tensor, found in zip(given, places):
                if found is HOST and (tensor.dim() or not traits.numbers or any(tensor is each for each in written(func, args))):
                    device.fault(f"{func} mixes devices, a tensor {tuple(tensor.shape)} is on the host")
        for tensor, found in zip(given, places):
            if found is EITHER and where is not EITHER:
                mark(tensor, where)
        if where is DEVICE:
            if traits.reads:
                device.cross(READ)
            if traits.unstable and given[0].is_floating_point() and torch.are_deterministic_algorithms_enabled():
                device.fault(f"{func} has no deterministic form on CUDA")
            if traits.draws:
                device.fault(f"{func} draws on the device: a generator of the host cannot, and the device's own gives other numbers")
        return where

    def indexed(self, args: tuple, kwargs: dict) -> torch.device | None:
        """`x[index]` and `x[index] = value`: an index on the host is copied, a mask on the device is read."""
        device, (base, index, *value) = self.pretended, args
        where = next((known for each in tensors(base, index, value) if (known := place(each)) is not EITHER), HOST)
        mark(base, where)
        for each in tensors(index):
            if place(each) == HOST and where == DEVICE:
                device.cross(TO_DEVICE)
            elif place(each) == DEVICE and where == HOST:
                device.fault("an index on the device for a tensor on the host")
            elif place(each) == DEVICE and each.dtype in (torch.bool, torch.uint8) and not (value and value[0].numel() == 1):
                device.cross(READ)
        for each in tensors(value):
            if place(each) not in (where, EITHER) and each.dim():
                device.fault(f"aten.index_put mixes devices, its value {tuple(each.shape)} is elsewhere")
        return where


def written(func: Any, args: tuple) -> list[Tensor]:
    """Positional arguments that an operator changes."""
    return tensors(*(each for each, info in zip(args, func._schema.arguments) if info.alias_info is not None and info.alias_info.is_write))
