"""Staged copies: the right numbers, no wait, and no block that is written while it is still being read."""

from __future__ import annotations

import pytest
import torch

from deeprl.system.staging import Staging
from tests.pretended import Pretended


@pytest.fixture
def device():
    with Pretended() as pretended:
        yield pretended


def test_tensors_arrive_as_they_are(device):
    sent = [
        torch.arange(5, dtype=torch.uint8),
        torch.tensor([[1.5, -2.0]]),
        torch.tensor(7),
        torch.zeros(0),
        torch.tensor([True, False, True]),
    ]
    arrived = Staging(torch.device("cuda"))(sent)
    assert all(there.is_cuda for there in arrived)
    assert all(torch.equal(there.cpu(), tensor) and there.dtype == tensor.dtype for there, tensor in zip(arrived, sent, strict=True))
    assert not device.faults


def test_the_event_is_one_of_the_device_and_not_of_the_current_one(device, monkeypatch):
    """On `device=cuda:1` the copy runs on that device's stream; an event elsewhere would be over at once."""
    asked = []
    monkeypatch.setattr(torch.cuda, "current_stream", lambda of=None: asked.append(of))
    Staging(torch.device("cuda", 1))([torch.zeros(2)])
    assert asked == [torch.device("cuda", 1)]


def test_the_host_does_not_wait_and_an_earlier_result_stays(device):
    stage = Staging(torch.device("cuda"))
    arrived = [stage([torch.full((3,), float(n))])[0] for n in range(5)]
    assert {kind for _, kind, _ in device.crossings} == {"to device, no wait"}
    assert [there.cpu().tolist() for there in arrived] == [[float(n)] * 3 for n in range(5)]
    assert not device.faults
