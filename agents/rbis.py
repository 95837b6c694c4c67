"""Trajectory-aware eligibility traces (Daley, White, Amato, Machado, ICML 2023): RBIS, and the methods that the paper compares it with.

    RBIS: β_t = min(λ^t, ρ_t β_{t−1})        Retrace: β_t = λ β_{t−1} min(1, ρ_t)        (β_0 = 1)

RBIS keeps a trace at λ^t while the importance ratios allow it, and a trace that was cut early can recover; in Retrace it cannot.
`deeprl.learning.backups.traces.Trace` is the operator that uses the coefficients. At λ = 0 all methods are equal; at λ = 1 RBIS equals
Recursive Retrace. Numbers and provenance: docs/algorithms/rbis.md and retrace.md.
"""

from __future__ import annotations

from torch import Tensor

from deeprl.extend import Step, Trace

WITHOUT_RATIOS = Trace.needs - {"behavior_probability"}


class RBIS(Trace):
    """Recency-bounded importance sampling, min(λ^t, ρ_t β_{t−1}). A trace that was cut can recover. The operator is a contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return (step.ratio * step.previous).clamp(max=step.lam_power)


class Retrace(Trace):
    """Retrace(λ), β_{t−1} λ min(1, ρ_t) (Munos, Stepleton, Harutyunyan, Bellemare, 2016). The operator is a contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return step.lam * step.previous * step.ratio.clamp(max=1.0)


class RecursiveRetrace(Trace):
    """Recursive Retrace, λ min(1, ρ_t β_{t−1}) (Munos et al., 2016; the name is from Daley et al.): trajectory-aware like RBIS, but
    multiplied by λ where RBIS is bounded by λ^t. The operator is a contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return step.lam * (step.ratio * step.previous).clamp(max=1.0)


class TreeBackup(Trace):
    """Tree backup Q_π(λ), β_{t−1} λ π(A_t|S_t) (Precup, Sutton, Singh, 2000): it multiplies by π and needs no μ. The operator is a
    contraction."""

    needs = WITHOUT_RATIOS

    def coefficient(self, step: Step) -> Tensor:
        return step.lam * step.previous * step.probability


class ImportanceSampling(Trace):
    """Per-decision importance sampling, λ^t ρ_1 ⋯ ρ_t. The operator is a contraction in expectation, with unbounded variance. Products are
    cut off at 10¹²."""

    def coefficient(self, step: Step) -> Tensor:
        return step.lam * step.previous * step.ratio


class TruncatedIS(Trace):
    """Truncated importance sampling, λ^t min(1, ρ_1 ⋯ ρ_t). **The operator is no contraction**: the paper has a counter-example."""

    def coefficient(self, step: Step) -> Tensor:
        return step.lam_power * step.product.clamp(max=1.0)


class QLambda(Trace):
    """Q(λ) with off-policy corrections, λ^t for every behaviour (Harutyunyan, Bellemare, Stepleton, Munos, 2016). **The operator is a
    contraction only if π and μ are close.**"""

    needs = WITHOUT_RATIOS

    def coefficient(self, step: Step) -> Tensor:
        return step.lam * step.previous
