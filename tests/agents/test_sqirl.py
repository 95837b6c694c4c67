"""SQIRL: targets by hand, frozen policies, the time, and which steps are kept."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deeprl.agents.depth_values import returns_to_go
from deeprl.agents.random_tails import RandomTails
from deeprl.agents.sqirl import SQIRL
from deeprl.errors import ConfigError
from deeprl.learning.networks.torsos import MinAtarTorso, MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.transforms.observations import Plain, Running
from deeprl.learning.transforms.rewards import Raw
from deeprl.packing import packed_spec
from deeprl.replay.replay import Replay
from deeprl.running.accelerate.modes import apply
from deeprl.running.session import warm_start
from deeprl.running.training.distributed import refuse
from deeprl.running.training.learner import gradient
from deeprl.types import QUIET, Batch, ObsPart, Spec
from tests.builders import entry, update
from tests.replay.test_trajectories import ONE, World, first

PAIR = Spec((2,), torch.float32, 2, 0)
STATES = torch.eye(2)


def agent(spec: Spec = PAIR, depth: int = 2, **own) -> SQIRL:
    parts = {"torso": MLPTorso(hidden=()), "optimizer": Adam(lr=0.1), "rewards": Raw, "normalize": Plain} | own
    return SQIRL(spec=spec, seed=0, depth=depth, **{"horizon": 4} | parts)


def set_tables(found: SQIRL, *tables: list[list[float]]) -> None:
    """Q^j(s, a) of one-hot states."""
    values = torch.tensor(tables)  # (k, S, A)
    found.network.last.weight_0.copy_(values.permute(1, 0, 2).flatten(1)[None])
    found.network.last.bias_0.zero_()


def fork() -> Batch:
    """From state 0, action 0 leads to state 1, whose actions pay 1 and 0, each once; action 1 pays 0.6."""
    rows = [
        (0, 0, 0.0, 1, False, 1.0),
        (0, 0, 0.0, 1, False, 0.0),
        (0, 1, 0.6, 0, True, 0.6),
        (1, 0, 1.0, 0, True, 1.0),
        (1, 1, 0.0, 0, True, 0.0),
    ]
    obs, action, reward, after, ended, returns = (torch.tensor(column) for column in zip(*rows))
    ones = torch.ones(len(rows))
    return Batch(STATES[obs], action, reward, ones, STATES[after], ones.long(), ended, ones > 0, ones, obs, {}, {"returns": returns})


SOLUTION = [[0.5, 0.6], [1.0, 0.0]], [[1.0, 0.6], [1.0, 0.0]]


def test_the_second_head_sees_a_step_further_than_returns_of_random_play():
    found = agent()
    set_tables(found, *SOLUTION)
    gradients, _ = gradient(found, "value", fork())
    metrics = found.loss(fork()).metrics
    assert all(each.abs().max() < 1e-6 for each in gradients)
    assert metrics["train/head_loss/1"].item() == pytest.approx(0.1)  # of 1 and 0 beside their mean
    assert metrics["train/head_loss/2"].item() == 0.0
    assert [agent_of(found, depth) for depth in (0, 1)] == [1, 0]


def agent_of(found: SQIRL, head: int) -> int:
    with torch.no_grad():
        return int(found.network(STATES[:1])[0, head].argmax())


def test_each_head_is_divided_by_the_running_mean_of_its_loss():
    found, batch = agent(), fork()
    set_tables(found, [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]])
    squares = torch.tensor([(1 + 0.36 + 1) / 5, (0.36 + 1) / 5])
    term = found.loss(batch)
    assert term.loss.item() == pytest.approx(1.0)  # the first mean is the loss
    assert torch.allclose(term.statistics["scale"], squares)
    found.scale.fill_(1.0)
    term = found.loss(batch)
    assert torch.allclose(term.statistics["scale"], 0.99 + 0.01 * squares)
    assert term.loss.item() == pytest.approx((squares / (0.99 + 0.01 * squares)).mean().item())


@pytest.mark.parametrize("mode", ["reference", "fast", "compiled"])
def test_frozen_policies_see_images(mode):
    """Each row has weights of its own, within which images have no other layout."""
    found = agent(Spec((4, 10, 10), torch.uint8, 3, 0), torso=MinAtarTorso())
    apply(found, mode)
    found.freeze_()
    values, time = found.infer(torch.ones(2, 4, 10, 10, dtype=torch.uint8), QUIET, torch.zeros(2, 1))
    assert values.shape == (2, 3)
    assert time.tolist() == [[1.0], [1.0]]


def test_targets_have_no_gradient():
    """Head 1 of the next state is no variable of head 2's loss: with a zero error of head 1 its table does not move."""
    found = agent()
    set_tables(found, SOLUTION[0], [[0.0, 0.0], [0.0, 0.0]])
    (weight, _), _ = gradient(found, "value", fork())
    assert weight[0, :, :2].abs().max() < 1e-6  # (1, S, k · A)
    assert weight[0, :, 2:].abs().max() > 0.1


def test_returns_end_with_their_episode():
    reward, discount = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[0.5], [0.0], [0.5]])
    assert returns_to_go(reward, discount).flatten().tolist() == [2.0, 2.0, 4.0]
    assert returns_to_go(reward, torch.ones(3, 1)).flatten().tolist() == [7.0, 6.0, 4.0]


def acted(found: SQIRL, memory: dict, starts: list[bool], explore: bool) -> tuple[list[int], dict]:
    noise = entry(found.act_noise((1, 2), torch.Generator().manual_seed(0)))
    step = found.act(STATES[[0, 0]], torch.tensor(starts), memory, 0, noise | {"uniform": torch.tensor([0.9, 0.1]).double()}, explore)
    return step.action.tolist(), step.memory


def test_policies_are_those_of_their_time_and_stay_as_they_were():
    found = agent(depth=1)
    for best in (0, 1):  # π_0 takes action 0, π_1 and later ones action 1
        set_tables(found, [[1.0 - best, best], [0.0, 0.0]])
        found.freeze_()
    set_tables(found, [[9.0, 0.0], [0.0, 0.0]])
    update(found, fork())
    actions, memory = acted(found, {}, [True, True], False)
    assert actions == [0, 0]
    actions, memory = acted(found, memory, [False, True], False)  # the second environment starts anew
    assert actions == [1, 0]
    actions, memory = acted(found, memory, [False, False], False)
    assert actions == [1, 1]
    assert acted(found, memory, [False, True], True)[0] == [1, 0]  # while collecting, at random from time 2 on: by 0.9
    best, after = found.greedy(STATES[[0, 0]], torch.tensor([[0.0], [7.0]]))
    assert (best.tolist(), after.tolist()) == ([0, 1], [[1.0], [8.0]])


def test_frozen_policies_do_not_read_the_network_that_learns():
    """An exported policy has no parameters that acting does not read."""
    found = agent()
    set_tables(found, *SOLUTION)
    found.freeze_()
    for module in found.network.modules():
        for name in module._parameters:
            module.register_parameter(name, None)
    assert found.greedy(STATES, torch.zeros(2, 1))[0].tolist() == [0, 0]


def source(num: int = 1, found: SQIRL | None = None, **own) -> RandomTails:
    found = found or agent(ONE, depth=1)
    settings = {"episodes": 2, "horizon": 4, "epochs": 3, "batch_size": 4, "capacity": 100} | own
    return RandomTails(**settings, agent=found, spec=ONE, num=num, discount=1)


def world(tails: RandomTails) -> World:
    made = World(tails.num, tails)
    tails.connect(0, "test", tails.agent.observe, tails.agent.prepare)
    return made


def test_steps_of_random_play_are_kept_with_their_returns_and_a_policy_is_frozen():
    tails = source()
    played = world(tails)
    step = 0
    for iteration, kept in enumerate(([0.0, 100.0, 1.0, 101.0, 102.0], [201.0, 301.0, 202.0, 203.0])):  # lengths 2, 3; 4 of 5, 2
        before = len(tails)
        while not (batches := played.tick(step)):
            step += 1
        assert tails.kept["obs"][before : len(tails), 0].tolist() == kept
        assert int(tails.agent.frozen) == iteration + 1
        assert len(batches) == -(-(5, 6)[iteration] * 3 // 4)  # steps of frozen policies count
    assert tails.kept["returns"][:5].tolist() == [1.0, 303.0, 1.0, 203.0, 102.0]  # rewards are the observations
    assert tails.kept["ended"][:9].tolist() == [False, False, True, False, True, False, True, False, True]
    assert all(torch.isin(batch.obs[:, 0], tails.kept["obs"][:9, 0]).all() for batch in batches)


def test_an_iteration_without_a_random_step_changes_nothing():
    tails = source()
    tails.agent.frozen.fill_(4)
    assert [len(world(tails).tick(step)) for step in range(6)] == [0] * 6
    assert (len(tails), int(tails.agent.frozen)) == (0, 4)


def test_new_steps_take_the_place_of_the_oldest():
    tails = source(capacity=4)
    first(world(tails))
    assert tails.kept["obs"][:, 0].tolist() == [102.0, 100.0, 1.0, 101.0]


def test_the_memory_is_restored_in_mid_episode():
    one, other = source(), source()
    played = world(one)
    first(played)
    played.tick(9)
    other.load(one.state_dict(), ())
    assert all(map(torch.equal, other.kept.values(), one.kept.values()))
    assert (other.number, other.elapsed.tolist(), len(other.ticks)) == (5, [1], 1)
    with pytest.raises(ValueError, match="the stored steps have obs of shape"):
        source(capacity=3).load(one.state_dict(), ())


def test_what_it_plans_and_what_it_refuses():
    settings = {"episodes": 2, "horizon": 4, "epochs": 3, "batch_size": 4}
    assert [RandomTails.planned(settings, steps, 1) for steps in (1, 2, 8, 24, 32, 800)] == [0, 1, 6, 18, 24, 24]
    assert (RandomTails.learns_until(settings, 1), RandomTails.ratio_of(settings, 1)) == (32, 6 / 8)
    with pytest.raises(ValueError, match="horizon must be that of agent.horizon=4, not 5"):
        source(horizon=5)
    with pytest.raises(ValueError, match="agent=sqirl alone"):
        RandomTails(spec=ONE, num=1, discount=1.0, agent=torch.nn.Module())
    with pytest.raises(ValueError, match="Running has running statistics"):
        agent(normalize=Running)
    with pytest.raises(ValueError, match="depth must be"):
        agent(depth=0)
    parts = (ObsPart("seen", (1,), torch.float32), ObsPart("hidden", (1,), torch.float32, privileged=True))
    with pytest.raises(ValueError, match=r"env.privileged needs an agent with critics"):  # it acted by what critics alone may see
        agent(spec=packed_spec(parts, 3, 0))
    config = {"names": {"agent": "sqirl"}, "accelerate": {"mode": "fast"}, "device": "cpu"}
    with pytest.raises(ConfigError, match=r"agent \(SQIRL\) keeps statistics"):
        refuse(config, agent(), Replay, SimpleNamespace(size=2))


def test_a_run_with_the_weights_of_another_learns_anew(monkeypatch):
    """As the policies of all its steps would be frozen, no step would be random."""
    found, theirs = agent(depth=1), agent(depth=1)
    set_tables(theirs, *SOLUTION[:1])
    for _ in range(4):
        theirs.freeze_()
    theirs.scale.fill_(9.0)
    parts = {"agent": {"module": theirs.state_dict()}}
    monkeypatch.setattr(warm_start, "RunFolder", lambda path: SimpleNamespace(read_config=dict))
    monkeypatch.setattr(warm_start, "Checkpoints", lambda path: SimpleNamespace(load=lambda which, only: (7, parts)))
    warm_start.warm_start(found, "there")
    assert (int(found.frozen), found.scale.tolist()) == (0, [0.0])
    assert torch.equal(found.flat, theirs.flat)
    assert torch.equal(found.policies[0], theirs.flat)
    assert not found.policies[1:].any()


def test_memory_that_the_machine_does_not_have_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr("deeprl.replay.memory.available_memory", lambda *_: 1 << 30)
    with pytest.raises(ValueError, match=r"horizon=100000000 needs [\d,]+ bytes .* are available: replay.horizon=\d+ would fit"):
        agent(horizon=10**8)
    with pytest.raises(ValueError, match=r"capacity=1000000000000 needs [\d,]+ bytes .* are available: replay.capacity=\d+ would fit"):
        source(capacity=10**12)


def test_masked_actions_are_neither_taken_nor_backed_up():
    spec = Spec((4,), torch.float32, 2, 0, masked=True)
    found, only_second = agent(spec), torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    set_tables(found, *SOLUTION)
    assert found.at_random(only_second.expand(3, -1), torch.tensor([0.0, 0.5, 0.9]).double()).tolist() == [1, 1, 1]
    found.freeze_()
    assert found.greedy(torch.tensor([[0.0, 1.0, 0.0, 1.0]]), torch.zeros(1, 1))[0].tolist() == [1]
    batch = fork()
    masks = torch.tensor([0.0, 1.0]).expand(5, 2)
    batch = batch._replace(obs=torch.cat([batch.obs, torch.ones(5, 2)], 1), next_obs=torch.cat([batch.next_obs, masks], 1))
    assert found.loss(batch).metrics["train/head_loss/2"].item() == pytest.approx(2 / 5)  # 1 in place of 0 + max over action 1 alone
    assert np.isfinite(found.loss(batch).loss.item())
