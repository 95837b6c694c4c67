"""The stock in observations: the worked recursion, and episodes that are the same after a resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deeprl.envs.coins import CoinGame
from deeprl.envs.stock import GymStock, StockCoins, StockGame
from deeprl.envs.vector.backend import told
from deeprl.envs.vector.info import EpisodeInfo
from deeprl.errors import ConfigError
from deeprl.running.config.build import environment
from deeprl.types import Spec
from tests.conformance import a_single_one_is_the_first_of_many, resumes_exactly


class Paid(CoinGame):
    """Pays 1, then 2."""

    def step(self, action):
        obs, _, *ends = super().step(action)
        return obs, float(self.elapsed), *ends


def test_the_stock_adds_to_the_return_that_is_left():
    game = StockGame(Paid(2), (-1.0, -1.0), 0.5)
    game.info = EpisodeInfo({"off_target": "last"})
    assert game.reset(0)[-3:].tolist() == [-1, -1, 1]
    assert game.step(0)[0][-3:].tolist() == [0, -1, 2]
    assert told(game) == {"off_target": 0.0}  # of an episode that is cut off there
    assert game.step(0)[0][-3:].tolist() == [4, -1, 4]  # 4 / 4 = -1 + 1 + 0.5 · 2
    assert game.info.of_episode() == {"off_target": 1.0}


def test_episodes_begin_with_other_stocks_and_repeat():
    choice = StockCoins(starts=(-6.0, 0.0))
    firsts = {choice.build().reset(seed)[-2] for seed in range(20)}
    assert len(firsts) == 20
    assert -6 <= min(firsts) < -4
    assert -2 < max(firsts) <= 0
    for each in (choice, GymStock(id="CartPole-v1", starts=(-1.0, 0.0), discount=0.99)):
        a_single_one_is_the_first_of_many(each)
        resumes_exactly(each)


def test_all_coins_can_be_collected():
    game, total = CoinGame(10), 0.0
    game.reset(0)
    for action in (3, 3, 1, 1, 2, 2, 1, 3):  # all of them
        total += game.step(action)[1]
    assert total == 6


def test_a_stock_that_overflows_is_refused():
    with pytest.raises(ValueError, match=r"discount=0.5 makes the stock of 100 steps overflow.*at least 0.50119, or shorten"):
        StockGame(Paid(100), (0.0, 0.0), 0.5)
    StockGame(Paid(100), (0.0, 0.0), 0.50119)
    game = Paid(100)
    game.limit = None
    stocked = StockGame(game, (0.0, 0.0), 1e-20)
    game.limit = 100
    stocked.reset(0)
    stocked.step(0)
    with pytest.raises(ValueError, match=r"the stock is .*raise discount=1e-20"):
        stocked.step(0)


def test_its_discount_is_that_of_the_run():
    env = {"_target_": "deeprl.envs.stock.StockCoins", "discount": 1.0}
    with pytest.raises(ConfigError, match=r"env.discount=1.0 must be that of the run, discount=0.9: leave env.discount out"):
        environment({"env": env, "discount": 0.9})
    assert environment({"env": env, "discount": 1, "log": {"info": []}})[1].parts[1].stock


def test_images_and_parts_are_refused():
    game = CoinGame(10)
    game.spec = Spec((3, 8, 8), torch.uint8, 4, 0)
    with pytest.raises(ValueError, match="a stock goes with vectors"):
        StockGame(game, (0.0, 0.0), 1.0)
    with pytest.raises(ValueError, match="starts must be the smallest"):
        StockCoins(starts=(0.0, -1.0))


def test_a_mask_stays_behind_the_stock():
    game = CoinGame(10)
    game.spec = game.spec._replace(masked=True)
    stocked = StockGame(game, (-1.0, -1.0), 1.0)
    assert stocked.spec.obs_shape == (24,)
    stocked.reset(0)
    assert stocked.shown(np.arange(21.0))[-7:].tolist() == [-1, -1, 1, 17, 18, 19, 20]
    game.spec = game.spec._replace(num_actions=0, action_dim=2, choices=(2, 3))  # of components: it stood behind the mask
    stocked = StockGame(game, (-1.0, -1.0), 1.0)
    assert (stocked.spec.obs_shape, stocked.spec.choices, stocked.spec.parts[0].shape) == ((24,), (2, 3), (16,))
    stocked.reset(0)
    assert stocked.shown(np.arange(21.0))[-8:].tolist() == [-1, -1, 1, 16, 17, 18, 19, 20]


def test_a_model_learns_where_episodes_with_a_stock_end():
    """Asked for the rule of its environment it raised an AttributeError."""
    assert GymStock(id="Pendulum-v1").terminates() is None
