"""The pretended device itself: what it refuses, what it counts, what keeps its mark."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.pretended import READ, TO_DEVICE, TO_HOST, Pretended

HERE = "tests/test_pretended.py"


@pytest.fixture
def device():
    with Pretended() as device:
        yield device


def there(*shape: int) -> torch.Tensor:
    return torch.ones(shape, device="cuda")


def crossed(device: Pretended) -> dict[str, int]:
    assert all(file == HERE for _, _, file in device.crossings)
    return {kind: number for (_, kind, _), number in device.crossings.items()}


def test_a_tensor_knows_its_device(device):
    x = there(3)
    assert (x.device, x.is_cuda, x.is_cpu) == (torch.device("cuda", 0), True, False)
    assert torch.ones(3).device.type == "cpu"
    assert torch.ones(3, device="meta").device.type == "meta"
    with torch.device("cuda"):
        assert torch.ones(3).is_cuda
        assert not torch.ones(3, device="cpu").is_cuda
        assert not torch.from_numpy(np.ones(3)).is_cuda
    assert not torch.cuda.is_available.__module__.startswith("torch")
    assert not device.faults


def test_a_tensor_within_a_function_transform_knows_its_device(device):
    """A tensor of torch.func has no storage of its own: "Cannot access storage of TensorWrapper"."""
    found = torch.func.grad(lambda x: (x * x).sum() if x.is_cuda and x.device.type == "cuda" else x.sum())(there(3))
    assert found.cpu().tolist() == [2.0, 2.0, 2.0]
    assert not device.faults


KEPT = {
    "view": lambda x: x.view(2, 2)[0],
    "result": lambda x: (x + 1.0).relu(),
    "in place": lambda x: x.mul_(2.0),
    "cast": lambda x: x.double(),
    "same device": lambda x: x.to("cuda", torch.float64),
    "like another": lambda x: torch.ones(2).to(x),
    "zeros_like": torch.zeros_like,
    "new_zeros": lambda x: x.new_zeros(2),
    "clone": lambda x: x.clone(),
    "deepcopy": copy.deepcopy,
    "parameter": lambda x: copy.deepcopy(nn.Parameter(x)),
    "detach": lambda x: x.detach(),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "foreach": lambda x: torch._foreach_norm([x])[0],
    "state_dict": lambda x: nn.ParameterList([x]).state_dict()["0"],
}


@pytest.mark.parametrize("name", KEPT)
def test_a_mark_is_kept(name, device):
    assert KEPT[name](there(4)).is_cuda
    assert not device.faults


def test_data_of_a_parameter_brings_its_mark(device):
    parameter = nn.Parameter(torch.ones(3))
    parameter.data = there(3)
    assert parameter.is_cuda


def test_gradients_are_where_the_parameters_are(device):
    with torch.device("cuda"):
        weight = torch.ones(4, 3, requires_grad=True)
    rows = weight[[0, 2]] * 2.0
    (gradient,) = torch.autograd.grad(rows[:, 1:].relu().sum() + weight.gather(1, torch.zeros(4, 1, dtype=torch.long).cuda()).sum(), weight)
    assert gradient.is_cuda
    assert not device.faults


HOST = torch.ones(3)
MIXED = {
    "sum": lambda x: x + HOST,
    "product": lambda x: torch.ones(3, 3) @ x,
    "index": lambda x: HOST[torch.zeros(1, dtype=torch.long, device="cuda")],
    "gather": lambda x: x.gather(0, torch.zeros(1, dtype=torch.long)),
    "cat": lambda x: torch.cat([x, HOST]),
    "in place": lambda x: torch.tensor(1.0).add_(x.sum()),
    "written": lambda x: torch.add(x, x, out=torch.ones(3)),
    "number": lambda x: torch.stack([x.sum(), HOST.sum()]),
    "numpy": lambda x: x.numpy(),
    "array": lambda x: np.asarray(x),
    "draw": lambda x: x.uniform_(),
    "generator": lambda x: torch.rand(3, device="cuda", generator=torch.Generator()),
    "optimizer": lambda x: torch._fused_adam_([x], [x], [x.clone()], [x.clone()], [], [torch.zeros(())], **ADAM),
}
ADAM = {"lr": 0.1, "beta1": 0.9, "beta2": 0.9, "weight_decay": 0.0, "eps": 1e-8, "amsgrad": False, "maximize": False}


@pytest.mark.parametrize("name", MIXED)
def test_a_mixture_is_a_fault_with_its_place(name, device):
    MIXED[name](there(3))
    assert device.faults
    assert device.faults[0].startswith(f"{HERE}:")


def test_strict_raises_at_the_first_fault():
    with Pretended(strict=True), pytest.raises(AssertionError, match="mixes devices"):
        there(3) + HOST


ALLOWED = {
    "number": lambda x: x + torch.tensor(2.0),
    "fill": lambda x: x.fill_(torch.tensor(2.0)),
    "masked_fill": lambda x: x.masked_fill_(x > 0, torch.tensor(0.0)),
    "random numbers": lambda x: x.copy_(torch.rand(3, generator=torch.Generator())),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_torch_allows_is_no_fault(name, device):
    ALLOWED[name](there(3))
    assert not device.faults


CROSSINGS = {
    "to": (lambda x: HOST.to("cuda"), {TO_DEVICE: 1}),
    "to the same": (lambda x: x.to("cuda"), {}),
    "cuda": (lambda x: HOST.cuda(), {TO_DEVICE: 1}),
    "cpu": (lambda x: x.cpu().numpy(), {TO_HOST: 1}),
    "copy_": (lambda x: x.copy_(HOST), {TO_DEVICE: 1}),
    "foreach": (lambda x: torch._foreach_copy_([x, x[:1]], [HOST, HOST[:1]]), {TO_DEVICE: 2}),
    "tensor": (lambda x: torch.tensor([1.0], device="cuda"), {TO_DEVICE: 1}),
    "list": (lambda x: x[[0, 2]], {TO_DEVICE: 1}),
    "host index": (lambda x: x[torch.zeros(2, dtype=torch.long)], {TO_DEVICE: 1}),
    "device index": (lambda x: x[torch.zeros(2, dtype=torch.long, device="cuda")], {}),
    "slice": (lambda x: x[1:], {}),
    "item": (lambda x: x.sum().item(), {READ: 1}),
    "float": (lambda x: float(x[0]), {READ: 1}),
    "bool": (lambda x: bool((x > 0).all()), {READ: 1}),
    "tolist": (lambda x: x.tolist(), {READ: 1}),
    "mask": (lambda x: x[x > 0], {READ: 1}),
    "nonzero": (lambda x: x.nonzero(), {READ: 1}),
    "equal": (lambda x: x.equal(x), {READ: 1}),
    "where": (lambda x: x.where(x > 0, 0.0), {}),
    "arithmetic": (lambda x: (x * 2.0).softmax(-1), {}),
}


@pytest.mark.parametrize("name", CROSSINGS)
def test_copies_and_reads_are_counted(name, device):
    act, expected = CROSSINGS[name]
    act(there(3))
    assert crossed(device) == expected
    assert not device.faults


def test_crossings_belong_to_a_phase(device):
    with device.during("learn"):
        there(3).cpu()
    assert device.crossings == {("learn", TO_HOST, HERE): 1}


WAITS = {
    "synchronize": lambda x: torch.cuda.synchronize(),
    "event": lambda x: torch.cuda.Event().synchronize(),
    "read": lambda x: x.sum().item(),
    "blocking copy": lambda x: x.cpu(),
}


@pytest.mark.parametrize("name", WAITS)
def test_numbers_copied_without_waiting_arrive_with_the_next_wait(name, device):
    x = there(3)
    late = x.to("cpu", non_blocking=True)
    assert late.isnan().all()
    WAITS[name](x)
    assert late.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("wait", "faults"), [(False, 1), (True, 0)])
def test_pinned_memory_must_not_change_under_its_copy(wait, faults, device):
    block = torch.ones(3).pin_memory()
    assert block.is_pinned()
    x = block.to("cuda", non_blocking=True)
    if wait:
        torch.cuda.synchronize()
    block.fill_(2.0)
    assert x.tolist() == [1.0, 1.0, 1.0]  # this read waits
    assert len(device.faults) == faults


def test_a_copy_from_ordinary_memory_waits(device):
    block = torch.ones(3)
    block.to("cuda", non_blocking=True)
    block.fill_(2.0)
    torch.cuda.synchronize()
    assert not device.faults


def test_sums_of_floats_are_refused_where_they_are_not_deterministic(device):
    there(3).cumsum(0)
    assert not device.faults
    torch.use_deterministic_algorithms(True)
    try:
        there(3).long().cumsum(0)
        assert not device.faults
        there(3).cumsum(0)
    finally:
        torch.use_deterministic_algorithms(False)
    assert device.faults


def test_nothing_is_left_behind():
    with Pretended():
        x = there(3)
    assert x.device.type == "cpu"
    assert torch.cuda.is_available.__module__.startswith("torch")
