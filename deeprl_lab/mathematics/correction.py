"""Maximum entropy correction of a model: the nearest distributions, in KL, with given expectations of some functions.

    min_q KL(q‖p̂)  subject to  E_q φ_i = ψ_i, i = 1 … d          q(y) ∝ p̂(y) exp(Σ λ_i φ_i(y))
    dual:  min_λ  ln E_p̂ exp(Σ λ_i (φ_i − ψ_i)) + b ‖λ‖²        gradient E_q φ − ψ + 2bλ,  Hessian Cov_q φ + 2b I

b = β²/4 > 0 is the soft form, whose primal has + ‖E_q φ − ψ‖²/β² in place of the constraints. (Rakhsha, Kemertas, Ghavamzadeh, Farahmand,
"Maximum Entropy Model Correction in Reinforcement Learning", ICLR 2024.)
"""

from __future__ import annotations

import numpy as np


def orthonormal(functions: np.ndarray, expected: np.ndarray, least: float = 1e-9) -> tuple[np.ndarray, np.ndarray]:
    """Functions (S, d') of mean 0 and variance 1 over the states, orthogonal to one another, and their expectations (..., d').

    Gram and Schmidt's order is that of the functions (d, S); one of which less than the share `least` is left is dropped.
    """
    phi: list[np.ndarray] = []
    psi: list[np.ndarray] = []
    for function, target in zip(functions, np.moveaxis(expected, -1, 0)):
        size = function.std()
        function, target = function - function.mean(), target - function.mean()
        for done, known in zip(phi, psi):
            along = (function * done).mean()
            function, target = function - along * done, target - along * known
        rest = function.std()
        if rest > least * size:
            phi.append(function / rest)
            psi.append(target / rest)
    return np.reshape(phi, (-1, functions.shape[-1])).T, np.moveaxis(np.reshape(psi, (-1, *expected.shape[:-1])), 0, -1)


def corrected(model: np.ndarray, phi: np.ndarray, psi: np.ndarray, soft=0.0, most: float = np.inf, steps: int = 100) -> tuple:
    """Damped Newton on the dual, all rows at once.

    Args:
        model: (..., S) p̂.
        phi, psi: functions (S, d) of order one, and their expectations (..., d).
        soft: (...) b.
        most: largest |λ_i|. Expectations that no distribution on the support of p̂ has would send λ to infinity.

    Returns:
        Corrected probabilities (..., S) and λ (..., d).
    """
    shape, d = model.shape, phi.shape[1]
    p, target, soft = model.reshape(-1, shape[-1]), psi.reshape(-1, d), np.broadcast_to(soft, shape[:-1]).reshape(-1)

    def at(lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tilt = lam @ phi.T
        top = np.where(p > 0, tilt, -np.inf).max(-1, keepdims=True)
        q = p * np.exp(np.minimum(tilt - top, 0.0))
        total = q.sum(-1)
        return q / total[:, None], np.log(total) + top[:, 0] - (lam * target).sum(-1) + soft * (lam**2).sum(-1)

    lam = np.zeros_like(target)
    q, value = at(lam)
    for _ in range(steps):
        mean = q @ phi
        gradient = mean - target + 2 * soft[:, None] * lam
        hessian = np.einsum("ns,si,sj->nij", q, phi, phi) - mean[:, :, None] * mean[:, None]
        hessian += (2 * soft + 1e-12)[:, None, None] * np.eye(d)
        step, length = np.linalg.solve(hessian, gradient[..., None])[..., 0], np.ones(len(p))
        for _ in range(40):
            new = np.clip(lam - length[:, None] * step, -most, most)
            after, at_new = at(new)
            worse = at_new > value + 1e-13
            if not worse.any():
                break
            length = np.where(worse, length / 2, length)
        keep = worse[:, None]
        moved = np.abs(np.where(keep, 0.0, new - lam)).max(initial=0.0)
        lam, q, value = np.where(keep, lam, new), np.where(keep, q, after), np.where(worse, value, at_new)
        if moved < 1e-13:
            break
    return q.reshape(shape), lam.reshape(psi.shape)
