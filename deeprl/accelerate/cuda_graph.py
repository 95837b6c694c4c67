"""A traced graph as one CUDA graph: all its kernels are launched by one call of the driver.

Small networks wait for launches, not for arithmetic: an update of DQN launches some seventy kernels. A CUDA graph is recorded once, with
the addresses of its inputs, and replayed. What lies elsewhere at a later call is copied to these addresses first.
"""

from __future__ import annotations

import torch
from torch import Tensor

RELATIVE, ABSOLUTE = 1e-3, 1e-5
"""Largest difference between a recorded update and the same one launched kernel by kernel: atomic additions change the last bits of sums"""


def written(graph: torch.fx.GraphModule) -> list[int]:
    """Numbers of the inputs that a graph writes into."""
    copy, inputs = torch.ops.aten.copy_.default, [node for node in graph.graph.nodes if node.op == "placeholder"]
    return [i for i, node in enumerate(inputs) if any(user.target is copy and user.args[0] is node for user in node.users)]


class CudaGraph:
    """Run of a traced graph. The results of a call lie in the same memory as those of the call before.

    Args:
        inputs: of the first call.
        lasting: whether each of them keeps its memory from call to call, as parameters do. A tensor that does not is copied at each call.

    Raises:
        RuntimeError: CUDA cannot record the graph.
        AssertionError: the recorded graph has other results than its operators one by one.
    """

    def __init__(self, graph: torch.fx.GraphModule, inputs: list[Tensor], lasting: list[bool]):
        self.inputs = [tensor if keeps else tensor.clone() for tensor, keeps in zip(inputs, lasting)]
        self.addresses = [tensor.data_ptr() for tensor in self.inputs]
        self.written = written(graph)
        before = self._state()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries allocate their workspaces at their first use, which cannot be recorded
            expected = [tensor.clone() for tensor in graph(*self.inputs)]
        torch.cuda.current_stream().wait_stream(stream)
        after = self._state()
        self._restore(before)
        self.recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.recorded):
            self.results = graph(*self.inputs)
        self.recorded.replay()
        torch.testing.assert_close([*self.results, *self._state()], [*expected, *after], rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
        self._restore(before)

    def _state(self) -> list[Tensor]:
        return [self.inputs[i].clone() for i in self.written]

    def _restore(self, state: list[Tensor]) -> None:
        for i, tensor in zip(self.written, state):
            self.inputs[i].copy_(tensor)

    def __call__(self, values: list[Tensor]) -> list[Tensor]:
        moved = [i for i, (value, address) in enumerate(zip(values, self.addresses)) if value.data_ptr() != address]
        for i in moved:
            self.inputs[i].copy_(values[i])
        self.recorded.replay()
        for i in set(moved).intersection(self.written):  # a buffer that was replaced since
            values[i].copy_(self.inputs[i])
        return self.results
