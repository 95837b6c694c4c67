"""Trajectory-aware eligibility traces (Daley, White, Amato, Machado, ICML 2023): RBIS, and what the paper compares it to.

    RBIS: β_t = min(λ^t, ρ_t β_{t−1})        Retrace: β_t = λ β_{t−1} min(1, ρ_t)        (β_0 = 1)

RBIS holds a trace at λ^t as long as the importance ratios allow it and lets it recover after an early cut; Retrace never does. The
operator around the coefficients is `deeprl.backups.traces.Trace`. All of them are λ = 0 alike; at λ = 1 RBIS is Recursive Retrace.
"""

from __future__ import annotations

from torch import Tensor

from deeprl.backups import traces
from deeprl.backups.traces import Step, Trace


class RBIS(Trace):
    """Recency-bounded importance sampling. A contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return traces.rbis(step)


class Retrace(Trace):
    """Retrace(λ) (Munos et al., 2016). A contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return traces.retrace(step)


class RecursiveRetrace(Trace):
    """Trajectory-aware like RBIS, but multiplied by λ where RBIS is bounded by λ^t. A contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return traces.recursive_retrace(step)


class TreeBackup(Trace):
    """Tree backup, Q_π(λ) (Precup et al., 2000): cuts by π itself and needs no μ. A contraction."""

    def coefficient(self, step: Step) -> Tensor:
        return traces.tree_backup(step)


class ImportanceSampling(Trace):
    """Per-decision importance sampling. A contraction in expectation, of unbounded variance; products are cut off at 10¹²."""

    def coefficient(self, step: Step) -> Tensor:
        return traces.importance_sampling(step)


class TruncatedIS(Trace):
    """Products of ratios cut off at one. **No contraction**: the paper has a counter-example."""

    def coefficient(self, step: Step) -> Tensor:
        return traces.truncated_is(step)


class QLambda(Trace):
    """Q(λ) with off-policy corrections (Harutyunyan et al., 2016): no ratios. **A contraction only where π and μ are close.**"""

    def coefficient(self, step: Step) -> Tensor:
        return traces.q_lambda(step)
