"""Utilities of agents with networks beside the exact ones: one step against the measures, the ladder against its best policies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deeprl.agents.stock import CVaRActionSelection, CVaRUtility, ExponentialUtility, MeanVarianceUtility
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.utility import Utility
from deeprl_lab.envs.stock import StockLadder
from deeprl_lab.mathematics import risk

GIVEN = {"starts": (-3.0, 0.0), "points": 301}


@pytest.mark.parametrize(
    ("utility", "measure"),
    [
        (CVaRUtility(tau=0.3, **GIVEN), risk.CVaR(0.3)),
        (MeanVarianceUtility(price=0.2, **GIVEN), risk.MeanVariance(0.2)),
        (ExponentialUtility(aversion=1.5), risk.Entropic(1.5)),
        (CVaRActionSelection(tau=0.3), risk.CVaR(0.3)),
        (Utility(), risk.Mean()),
    ],
)
def test_one_step_is_worth_what_the_measure_says(utility, measure):
    random = np.random.default_rng(0)
    atoms, probs = random.uniform(0, 2, (4, 6)), random.dirichlet(np.ones(6), 4)
    law = Returns(torch.from_numpy(atoms)[None, None], torch.from_numpy(probs)[None, None])  # (K, B, A, N)
    if utility.candidates is None:
        worth = utility(law, None).flatten()
    else:  # its own best budget for each action
        worth = torch.stack([utility(law, start[None]).flatten() - start for start in utility.candidates]).amax(0)
    assert worth.numpy() == pytest.approx(
        measure.worth(probs, atoms), abs=2e-2 * isinstance(utility, (CVaRUtility, MeanVarianceUtility)) + 1e-6
    )


def law_of(utility, first: float, horizon: int = 3, safe: float = 0.4) -> tuple[float, dict[float, float]]:
    """The worth that distributional value iteration on (steps left, stock) finds at the start, and the law of the total of its policy."""

    def best(left: int, stock: float) -> dict[float, float]:  # return: probability
        if not left:
            return {0.0: 1.0}
        actions = []
        for outcomes in ({safe: 1.0}, {1.0: 0.6, 0.0: 0.4}):
            law: dict[float, float] = {}
            for reward, p in outcomes.items():
                for later, q in best(left - 1, stock + reward).items():
                    total = round(reward + later, 6)
                    law[total] = law.get(total, 0.0) + p * q
            actions.append(law)
        return actions[max(range(2), key=lambda action: worth(utility, actions[action], stock))]

    law = best(horizon, first)
    return worth(utility, law, first), law


def worth(utility, law: dict[float, float], stock: float) -> float:
    given = Returns(*(torch.tensor([[[list(each)]]], dtype=torch.float64) for each in (law.keys(), law.values())))
    return round(utility(given, torch.tensor([stock], dtype=torch.float64)).item(), 9)


def cvar_of(law: dict[float, float], tau: float) -> float:
    return float(risk.CVaR(tau).worth(np.array(list(law.values())), np.array(list(law))))


@pytest.mark.parametrize(("tau", "static", "of_the_mean"), [(0.75, 1.504, 1.445333), (0.5, 1.2624, 1.168)])
def test_the_stock_reaches_the_static_cvar_of_the_ladder(tau, static, of_the_mean):
    utility = CVaRUtility(tau=tau, starts=(-3.0, 0.0), points=31)
    found = [law_of(utility, start)[0] for start in utility.candidates.double().round(decimals=6).tolist()]
    chosen = utility.candidates[utility.start(torch.tensor(found).unsqueeze(-1))].item()
    assert chosen == pytest.approx(-2.4 if tau == 0.75 else -1.8)
    assert cvar_of(law_of(utility, round(chosen, 6))[1], tau) == pytest.approx(static, abs=1e-6)
    assert cvar_of(law_of(Utility(), 0.0)[1], tau) == pytest.approx(of_the_mean, abs=1e-6)


def test_the_ladder_shows_the_stock():
    game = StockLadder(starts=(-1.8, -1.8)).build()
    obs = game.reset(0)
    for _ in range(3):
        obs, reward, terminated, ended = game.step(0)
        assert reward == pytest.approx(0.4)
    assert terminated
    assert ended
    assert obs[-3:] == pytest.approx([-0.6, -1.8, 1.0])
