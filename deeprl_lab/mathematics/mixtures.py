"""Exact Bayesian predictors of bits whose source changes at unknown times, and the sources for which they are exact (Genewein et al., ICML
2023, "Memory-Based Meta-Learning on Non-Stationary Distributions").

    static   one θ ~ Beta(1/2, 1/2)                                                                   KT (Krichevsky, Trofimov, 1981)
    ptw      an interval of 2^d steps is cut in the middle with probability 1/2, and so are its halves   partition tree weighting
             (Veness et al., 2013); a single step is never cut
    lin      after step t a segment that began at t_c ends with probability ½ / (t − t_c + 1)         Willems (1996), linear prior

Each segment has a fresh θ. All probabilities are natural logarithms. Predictors speak before the first bit.
"""

from __future__ import annotations

import numpy as np


def kt(bits: np.ndarray) -> float:
    """ln KT(bits) = Σ ln (n_x + ½) / (t + 1), with the counts before each bit."""
    ones = np.concatenate([[0], np.cumsum(bits)[:-1]]) if len(bits) else np.zeros(0)
    before = np.arange(len(bits))
    return float(np.log((np.where(bits, ones, before - ones) + 0.5) / (before + 1)).sum())


def ptw(bits: np.ndarray, depth: int) -> float:
    """ln PTW_d(bits) of at most 2^d bits: ½ KT(x) + ½ PTW_{d−1}(left half) PTW_{d−1}(right half).

    Raises:
        ValueError: more than 2^depth bits.
    """
    if len(bits) > 1 << depth:
        raise ValueError(f"{len(bits)} bits do not fit in an interval of {1 << depth}: a depth of {(len(bits) - 1).bit_length()} does")
    if depth == 0 or not len(bits):
        return kt(bits)
    half = 1 << (depth - 1)
    return float(np.logaddexp(np.log(0.5) + kt(bits), np.log(0.5) + ptw(bits[:half], depth - 1) + ptw(bits[half:], depth - 1)))


def lin(bits: np.ndarray) -> float:
    """ln of the mixture over all segmentations by the linear prior, in O(t²)."""
    weights, counts = np.ones(1), np.zeros((1, 2))  # of each possible start of the present segment
    total = 0.0
    for bit in bits:
        lengths = counts.sum(1)
        weights = weights * (counts[:, int(bit)] + 0.5) / (lengths + 1)
        counts[:, int(bit)] += 1
        scale = weights.sum()
        total += np.log(scale)
        weights /= scale
        ends = 0.5 / (lengths + 1)
        weights, counts = np.append(weights * (1 - ends), (weights * ends).sum()), np.vstack([counts, np.zeros(2)])
    return float(total)


def losses(bits: np.ndarray, name: str) -> np.ndarray:
    """−ln P(x_t | x_<t) of each bit by the predictor kt, ptw (of the smallest depth that holds all bits) or lin, (T,)."""
    depth = max(len(bits) - 1, 0).bit_length()
    predictor = {"kt": kt, "ptw": lambda x: ptw(x, depth), "lin": lin}[name]
    return -np.diff([predictor(bits[:t]) for t in range(len(bits) + 1)])


def changes(name: str, steps: int, random: np.random.Generator) -> np.ndarray:
    """(steps,) bool: the first step of each segment of a static, ptw or lin source. Of ptw the next power of two is cut off at `steps`."""
    starts = np.zeros(steps, bool)
    starts[0] = True
    if name == "ptw":
        _cut(starts, 0, 1 << (steps - 1).bit_length(), random)
    elif name == "lin":
        begin = 0
        for t in range(1, steps):
            if random.random() < 0.5 / (t - begin):
                starts[t], begin = True, t
    elif name != "static":
        raise ValueError(f"a source is static, ptw or lin, not {name!r}")
    return starts


def _cut(starts: np.ndarray, begin: int, length: int, random: np.random.Generator) -> None:
    if length > 1 and random.random() < 0.5:
        half = length // 2
        if begin + half < len(starts):
            starts[begin + half] = True
        _cut(starts, begin, half, random)
        _cut(starts, begin + half, half, random)


def sequence(name: str, steps: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bits (steps,) of a source, and the θ of each."""
    starts = changes(name, steps, random)
    theta = random.beta(0.5, 0.5, steps)[np.maximum.accumulate(np.where(starts, np.arange(steps), 0))]
    return (random.random(steps) < theta).astype(np.int64), theta
