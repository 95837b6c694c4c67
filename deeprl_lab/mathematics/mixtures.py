"""Exact Bayesian predictors of bits whose source changes at unknown times, and the sources for which they are exact (Genewein et al., ICML
2023, "Memory-Based Meta-Learning on Non-Stationary Distributions").

    static   one θ ~ Beta(1/2, 1/2)                                                                   KT (Krichevsky, Trofimov, 1981)
    ptw      an interval of 2^d steps is cut in the middle with probability 1/2, and so are its halves   partition tree weighting
             (Veness et al., 2013); a single step is never cut
    lin      after step t a segment that began at t_c ends with probability ½ / (t − t_c + 1)         Willems (1996), linear prior

Each segment has a fresh θ. Predictors speak before the first bit. They take words (*N, T) side by side, and give natural logarithms of the
probabilities of all beginnings of each, (*N, T + 1).
"""

from __future__ import annotations

import numpy as np

HALF = np.log(0.5)


def kt(bits: np.ndarray) -> np.ndarray:
    """ln KT = Σ ln (n_x + ½) / (t + 1), with the counts before each bit."""
    ones = np.cumsum(bits, -1) - bits
    before = np.arange(bits.shape[-1])
    found = np.cumsum(np.log((np.where(bits, ones, before - ones) + 0.5) / (before + 1)), -1)
    return np.concatenate([np.zeros((*bits.shape[:-1], 1)), found], -1)


def ptw(bits: np.ndarray, depth: int | None = None) -> np.ndarray:
    """ln PTW_d of at most 2^d bits: ½ KT(x) + ½ PTW_{d−1}(left half) PTW_{d−1}(right half); None: the smallest d that holds all bits.

    Raises:
        ValueError: more than 2^depth bits.
    """
    steps = bits.shape[-1]
    least = max(steps - 1, 0).bit_length()
    depth = least if depth is None else depth
    if depth < least:
        raise ValueError(f"{steps} bits do not fit in an interval of {1 << depth}: a depth of {least} does")
    if depth == 0 or not steps:
        return kt(bits)
    half = 1 << (depth - 1)
    left, right = ptw(bits[..., :half], depth - 1), ptw(bits[..., half:], depth - 1)
    cut = np.concatenate([left, left[..., -1:] + right[..., 1:]], -1)
    found = np.logaddexp(HALF + kt(bits), HALF + cut)
    found[..., 0] = 0.0
    return found


def lin(bits: np.ndarray) -> np.ndarray:
    """ln of the mixture over all segmentations by the linear prior, in O(T²)."""
    lead = bits.shape[:-1]
    weights, counts, found = np.ones((*lead, 1)), np.zeros((2, *lead, 1)), [np.zeros(lead)]  # of each possible start of the segment
    for bit in np.moveaxis(bits, -1, 0):
        lengths, seen = counts.sum(0), np.stack([bit == 0, bit == 1])[..., None]
        weights = weights * ((counts * seen).sum(0) + 0.5) / (lengths + 1)
        counts = counts + seen
        scale = weights.sum(-1, keepdims=True)
        found.append(found[-1] + np.log(scale[..., 0]))
        weights, ends = weights / scale, 0.5 / (lengths + 1)
        weights = np.concatenate([weights * (1 - ends), (weights * ends).sum(-1, keepdims=True)], -1)
        counts = np.concatenate([counts, np.zeros((2, *lead, 1))], -1)
    return np.stack(found, -1)


PREDICTORS = {"kt": kt, "ptw": ptw, "lin": lin}


def losses(bits: np.ndarray, name: str) -> np.ndarray:
    """−ln P(x_t | x_<t) of each bit (*N, T) by a predictor: kt, ptw of the smallest depth, lin."""
    return -np.diff(PREDICTORS[name](bits))


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
