"""A traced graph as one CUDA graph: all its kernels are launched by one call of the driver.

Small networks wait for launches, not for arithmetic: an update of DQN launches some seventy kernels. A CUDA graph is recorded once, with
the addresses of its inputs, and replayed. What lies elsewhere at a later call is copied to these addresses first.

Each graph has a memory pool of its own, because the results of one objective are read after another one was replayed.
"""

from __future__ import annotations

import torch
from torch import Tensor

RELATIVE, ABSOLUTE = 1e-2, 1e-5
"""Tolerances of a recorded update beside the same one launched kernel by kernel. Results are compared number by number, tensors that the
update changes by the norm of their change, because atomic additions change the last bits of sums, and Adam's first step has full size even
where a gradient is rounding alone"""


def written(graph: torch.fx.GraphModule) -> list[int]:
    """Numbers of the inputs that a graph writes into."""
    copy, inputs = torch.ops.aten.copy_.default, [node for node in graph.graph.nodes if node.op == "placeholder"]
    return [i for i, node in enumerate(inputs) if any(user.target is copy and user.args[0] is node for user in node.users)]


def assert_same_change(found: list[Tensor], expected: list[Tensor], before: list[Tensor]) -> None:
    """
    Raises:
        AssertionError: two updates of the same tensors differ.
    """
    for one, other, old in zip(found, expected, before):
        one, other, old = (tensor.to(torch.float64) for tensor in (one, other, old))
        apart, most = (one - other).norm().item(), RELATIVE * (other - old).norm().item() + 1e-6 * other.norm().item()
        assert apart <= most, f"a recorded update differs by {apart:.3g} from its operators, which may be {most:.3g}"


class CudaGraph:
    """Run of a traced graph. The results of a call lie in the same memory as those of the call before.

    Args:
        inputs: of the first call.
        lasting: whether each of them keeps its memory from call to call, as parameters do. A tensor that does not is copied at each call.

    Raises:
        RuntimeError: CUDA cannot record the graph.
        AssertionError: the recorded graph has other results than its operators one by one.
        In both cases the inputs hold what they held before.
    """

    def __init__(self, graph: torch.fx.GraphModule, inputs: list[Tensor], lasting: list[bool]):
        self.inputs = [tensor if keeps else tensor.clone() for tensor, keeps in zip(inputs, lasting)]
        self.addresses = [tensor.data_ptr() for tensor in self.inputs]
        self.written = written(graph)
        before = self._state()
        with torch.cuda.device(inputs[0].device):  # streams are those of the current device, which may be another GPU
            # a stream of its own: that of torch belongs to the first GPU that recorded, and all graphs on it share the workspaces of
            # libraries, which go with the first graph that is freed
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # also after a recording that fails, which leaves its own context open
                # libraries allocate their workspaces at their first use, which cannot be recorded
                expected = [tensor.clone() for tensor in graph(*self.inputs)]
                after = self._state()
                self._restore(before)
                self.recorded = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.recorded, stream=stream):
                    self.results = graph(*self.inputs)
            torch.cuda.current_stream().wait_stream(stream)
        for tensor in self.results:  # kernels that were launched in place of recorded leave the right numbers, and replay nothing
            tensor.fill_(torch.nan if tensor.is_floating_point() else 0)
        self._restore(before)
        self.recorded.replay()
        results, state = [tensor.clone() for tensor in self.results], self._state()
        self._restore(before)
        torch.testing.assert_close(results, expected, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
        assert_same_change(state, after, before)

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
