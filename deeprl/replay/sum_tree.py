"""Sum tree: draws an index with probability proportional to its value (Schaul et al., 2016, appendix B.2.1).

With 32 children per node a million leaves are four levels, and one level of a whole batch takes a few NumPy calls on (B, 32); two children
are slower. Each node stores the running sums of its children. They are computed anew when a child changes, never adjusted by differences,
so that they do not drift and are a function of the leaves alone: a checkpoint needs the leaves only. A descent that stays below a node's
last running sum ends at a leaf above zero.
"""

from __future__ import annotations

import numpy as np

SHIFT = 5
BRANCH = 1 << SHIFT


class SumTree:
    """`size` float64 leaves, all zero at first.

    Args:
        size: number of leaves.
        minimum: store the smallest positive leaf too, for importance weights normalised over the whole replay.
    """

    def __init__(self, size: int, minimum: bool = False):
        shapes: list[tuple[int, int]] = []
        nodes = size
        while not shapes or nodes > 1:  # leaves first, the root last
            nodes = -(-nodes // BRANCH)
            shapes.append((nodes, BRANCH))
        self.size = size
        self.values = [np.zeros(shape) for shape in shapes]  # np.zeros takes memory only where it is written
        self.sums = [np.zeros(shape) for shape in shapes]  # running sums of `values` within each node
        self.lows = [np.full(shape, np.inf) for shape in shapes[1:]] if minimum else None
        self.leaves = self.values[0].reshape(-1)
        self.total = 0.0
        self.minimum = np.inf  # smallest leaf above zero, kept only with `minimum`

    @staticmethod
    def memory(size: int) -> int:
        """Memory in bytes."""
        return 16 * (size + size // (BRANCH - 1) + 8 * BRANCH)

    def set(self, index: np.ndarray, value) -> None:
        """Set leaves to values (B,), or to one number. If an index occurs twice, its last value counts."""
        self.leaves[index] = value
        node, top = index >> SHIFT, len(self.values) - 1
        for depth in range(top + 1):
            node = np.unique(node)  # because consecutive new rows share nodes
            block = self.values[depth].take(node, 0)
            sums = block.cumsum(1)
            self.sums[depth][node] = sums
            if self.lows is not None:
                low = (np.where(block > 0, block, np.inf) if depth == 0 else self.lows[depth - 1].take(node, 0)).min(1)
            if depth < top:
                self.values[depth + 1].reshape(-1)[node] = sums[:, -1]
                if self.lows is not None:
                    self.lows[depth].reshape(-1)[node] = low
                node = node >> SHIFT
        self.total = float(sums[0, -1])
        if self.lows is not None:
            self.minimum = float(low[0])

    def find(self, target: np.ndarray) -> np.ndarray:
        """Leaves i with Σ_{j<i} p_j <= target < Σ_{j<=i} p_j, for targets (B,) float64 in [0, total); none has value zero."""
        batch = np.arange(len(target))
        node = np.zeros(len(target), dtype=np.int64)
        for level in reversed(self.sums):
            sums = level.take(node, 0)  # (B, BRANCH)
            # clipped below the node's sum, because rounding may leave a rest that no running sum exceeds
            target = np.minimum(target, np.nextafter(sums[:, -1], 0.0))
            child = (sums > target[:, None]).argmax(1)
            target = target - np.where(child > 0, sums[batch, child - 1], 0.0)
            node = node * BRANCH + child
        return node
