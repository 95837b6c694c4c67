"""Trajectory-aware eligibility traces (Daley, White, Amato, Machado, ICML 2023): RBIS, and what the paper compares it to.

    RBIS: β_t = min(λ^t, ρ_t β_{t−1})        Retrace: β_t = λ β_{t−1} min(1, ρ_t)        (β_0 = 1)

RBIS holds a trace at λ^t as long as the importance ratios allow it and lets it recover after an early cut; Retrace never does. The
operator around the coefficients is `deeprl.backups.traces.Trace`. All of them are λ = 0 alike; at λ = 1 RBIS is Recursive Retrace.
Numbers and provenance: docs/algorithms/rbis.md and retrace.md.
"""

from __future__ import annotations

from torch import Tensor

from deeprl.backups.traces import Step, Trace


class RBIS(Trace):
    """min(λ^t, ρ_t β_{t−1}): recency-bounded importance sampling. A trace that was cut can recover. A contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return (step.ratio * step.before).clamp(max=step.limit)


class Retrace(Trace):
    """β_{t−1} λ min(1, ρ_t) (Retrace(λ): Munos, Stepleton, Harutyunyan, Bellemare, 2016). A contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return step.lam * step.before * step.ratio.clamp(max=1.0)


class RecursiveRetrace(Trace):
    """λ min(1, ρ_t β_{t−1}) (Munos et al., 2016; the name is by Daley et al.): trajectory-aware like RBIS, but multiplied by λ where RBIS
    is bounded by λ^t. A contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return step.lam * (step.ratio * step.before).clamp(max=1.0)


class TreeBackup(Trace):
    """β_{t−1} λ π(A_t|S_t) (Tree backup, Q_π(λ): Precup, Sutton, Singh, 2000): cuts by π itself and needs no μ. A contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return step.lam * step.before * step.policy


class ImportanceSampling(Trace):
    """λ^t ρ_1 ⋯ ρ_t: per-decision importance sampling. A contraction in expectation, of unbounded variance; products are cut off at
    10¹²."""

    def coefficient(self, step: Step) -> Tensor:
        return step.lam * step.before * step.ratio


class TruncatedIS(Trace):
    """λ^t min(1, ρ_1 ⋯ ρ_t). **No contraction**: the paper has a counter-example."""

    def coefficient(self, step: Step) -> Tensor:
        return step.limit * step.product.clamp(max=1.0)


class QLambda(Trace):
    """λ^t, whatever the behaviour (Q(λ) with off-policy corrections: Harutyunyan, Bellemare, Stepleton, Munos, 2016). **A contraction only
    where π and μ are close.**"""

    def coefficient(self, step: Step) -> Tensor:
        return step.lam * step.before
