"""Several ranks make the update of the whole batch; what would let their agents differ is refused."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deeprl.agents.average_reward import AverageReward
from deeprl.agents.multilevel import EqualTicks, MultiLevel
from deeprl.errors import ConfigError, NotFinite, RankError
from deeprl.learning.optim.adam import Adam
from deeprl.noise import map_tensors
from deeprl.replay.replay import Replay
from deeprl.running.accelerate.graph import has_compiler
from deeprl.running.config.build import build_agent
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.assemble import assemble
from deeprl.running.session.session import train
from deeprl.running.training.distributed import Distributed, Single, refuse, require_same_data, shard
from deeprl.running.training.learner import CompiledLearner, Learner
from deeprl.system.ranks import ALONE, Ranks, TorchrunRanks, digest
from tests.builders import CARTPOLE, CONTINUOUS, DISCRETE, actor_critic, made_up, sac, settled, snapshot, spec_of, value_agent
from tests.ranks import in_ranks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked")

AGENTS = {
    "dqn": partial(value_agent, DISCRETE, optimizer=Adam(lr=0.01, max_grad_norm=0.5)),  # whose clipping needs the whole gradient
    "td3": partial(actor_critic, CONTINUOUS),  # an actor, and noise in the target
    "sac": partial(sac, CONTINUOUS),  # a third objective, the temperature
}


def learner(mode: str, agent, ranks: Ranks = ALONE) -> Learner:
    if mode == "fast":
        return Learner(agent, lambda batch: batch, ranks)
    return CompiledLearner(agent, lambda batch: batch, backend=mode, ranks=ranks)


def joined(tmp_path: Path) -> TorchrunRanks:
    torch.set_num_threads(1)
    return TorchrunRanks("gloo", 5.0, tmp_path)


def weights(agent) -> torch.Tensor:
    return torch.cat([objective.optimizer.groups[0].flat for objective in agent.objectives.values()])


INDUCTOR = [pytest.mark.exhaustive, pytest.mark.skipif(not has_compiler(), reason="needs a C++ compiler")]


OTHERS = [("td3", "eager"), ("sac", "fast"), ("sac", "eager")]
"""What is compiled on ranks is one objective at a time: those of DQN are"""


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("dqn", "fast"), ("dqn", "eager"), ("td3", "fast")),
        *(pytest.param(*pair, marks=pytest.mark.exhaustive) for pair in OTHERS),
        *(pytest.param(name, "inductor", marks=INDUCTOR) for name in AGENTS),
    ],
)
def test_two_halves_of_a_batch_are_the_whole_batch(name, mode, tmp_path):
    """Fifty updates: the weights differ by less than 1e-5 of the distance that they have moved, those of the two ranks not at all."""

    def trained(ranks: Ranks) -> torch.Tensor:
        agent = AGENTS[name]()
        teacher = learner(mode, agent, ranks)
        size = 16 // ranks.size
        part = slice(size * ranks.rank, size * (ranks.rank + 1))
        for number in range(50):
            teacher.update(map_tensors(lambda tensor: tensor[part], made_up(agent, agent.spec, size=16, seed=number)))
            agent.tick(number, number + 1)
        return weights(agent)

    whole, start = trained(ALONE), weights(AGENTS[name]())
    assert in_ranks(2, lambda rank: torch.save(trained(joined(tmp_path)), tmp_path / f"{rank}.pt")) == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    apart, moved = (first - whole).norm(), (whole - start).norm()
    print(f"{name} {mode}: {apart / moved:.2g} of the distance {moved:.3g}, largest difference {(first - whole).abs().max():.2g}")
    assert torch.equal(first, second)
    assert moved > 0.1
    assert apart < 1e-5 * moved


@pytest.mark.parametrize("mode", ["fast", "eager"])
def test_a_number_that_is_not_finite_on_one_rank_stops_all(mode, tmp_path):
    """Huber's error is infinite where its gradient is not: neither the weights nor the count of updates that Adam keeps may change."""

    def work(rank: int) -> int | None:
        ranks = joined(tmp_path)
        agent = value_agent()
        teacher = learner(mode, agent, ranks)
        for fault in (None, float("inf"), float("nan")):
            batch = made_up(agent, agent.spec, size=8, seed=rank)
            if fault is None:
                teacher.update(batch)
                before = snapshot(agent), agent.objectives["value"].optimizer.moment.clone()
            else:
                batch.reward[0] = fault if rank else 1.0
                with pytest.raises(NotFinite):
                    teacher.update(batch)
        assert all(torch.equal(tensor, before[0][key]) for key, tensor in agent.state_dict().items())
        assert torch.equal(agent.objectives["value"].optimizer.moment, before[1])
        assert agent.objectives["value"].optimizer.taken == 1

    assert in_ranks(2, work) == [0, 0]


@pytest.mark.parametrize("mode", ["fast", "eager"])
def test_running_statistics_of_a_loss_stay_the_same_on_all_ranks(mode, tmp_path):
    """CrossQ's batch statistics are those of a rank's part; the running ones are their mean. The count of updates is an integer."""

    config = settled("agent=crossq", "env=classic/pendulum", "agent.torso.hidden=[8]", "agent.actor_torso.hidden=[8]")

    def work(rank: int) -> None:
        ranks, agent = joined(tmp_path), build_agent(config, CONTINUOUS)
        before, teacher = digest(agent.state_dict().values()), learner(mode, agent, ranks)
        for number in range(2):  # of the critics, before the actor is traced too
            teacher.update(made_up(agent, agent.spec, size=8, seed=2 * number + rank))
        after = digest(agent.state_dict().values())
        assert after != before
        ranks.require_same("the weights", after)
        with pytest.raises(RankError, match="the weights differ between the ranks"):
            ranks.require_same("the weights", f"{after}{rank}")
        require_same_data(ranks, SimpleNamespace(provenance={}))
        with pytest.raises(RankError, match=r"the transitions of replay\.data differ between the ranks: .*replay\.data=RUN@STEP"):
            require_same_data(ranks, SimpleNamespace(provenance={"digest": str(rank)}))  # one wrote a checkpoint in between

    assert in_ranks(2, work) == [0, 0]


def test_a_batch_or_an_agent_that_ranks_cannot_share_is_refused(tmp_path):
    two = Ranks()
    two.rank, two.size, two.first = 1, 2, False

    def refused(*words: str) -> str:
        config = settled("env=classic/cartpole", *words)
        agent = build_agent(config, spec_of("classic/cartpole"))
        with pytest.raises(ConfigError) as error:
            refuse(config, agent, Replay, two)
        return str(error.value)

    assert shard(settled("replay.batch_size=32", "replay.capacity=1001")["replay"], two) == {"batch_size": 16, "capacity": 500}
    assert shard(settled("replay.batch_size=33")["replay"], ALONE) == {}
    assert shard(settled("agent=ppo", "env=classic/cartpole")["replay"], two) == {}
    with pytest.raises(ConfigError, match="replay.batch_size=33 cannot be divided among 2 ranks"):
        shard(settled("replay.batch_size=33")["replay"], two)
    with pytest.raises(ConfigError, match="collect=ray and learner=distributed do not go together"):
        train(settled("agent=dqn", "env=classic/cartpole", "collect=ray"), tmp_path / "run", ranks=two)
    with pytest.raises(ConfigError, match="agent=lab/.* plans without"):
        assemble(settled("agent=lab/random_duels", "env=lab/duel"), RunFolder(tmp_path), ranks=two)
    for slot, option in (("normalize", "running"), ("rewards", "scaled"), ("auxiliary", "random_rewards")):
        message = refused("agent=dqn", f"agent/{slot}={option}")
        assert message.startswith(f"agent/{slot} (")
        assert f"`deeprl list agent/{slot}`" in message
    refuse(
        settled("agent=aro_ddpg", "env=mujoco/half_cheetah"), actor_critic(rate=partial(AverageReward, discount=1.0)), Replay, two
    )  # a parameter
    waiting = {"names": {"replay": "levels"}, "accelerate": {"mode": "reference"}, "device": "cpu"}
    with pytest.raises(ConfigError, match="replay=levels draws after how many steps an update is due, each of the 2 ranks its own"):
        refuse(waiting, value_agent(), MultiLevel, two)  # they waited for each other until learner.timeout
    refuse(waiting, value_agent(), EqualTicks, two)


def test_ranks_have_the_environments_of_one_process_and_noise_of_their_own(tmp_path):
    """Two ranks with two environments beside one process with four; also the first of both, which has the noise of a single process."""

    def begun(num: int, ranks: Ranks):
        trainer = assemble(settled(*CARTPOLE, f"env.num={num}", "accelerate=fast"), RunFolder(tmp_path / "run"), ranks=ranks)
        trainer.envs.close()
        return trainer.envs.reset(), trainer.source.uniforms.next()["u"], (trainer.update_noise.part, trainer.collector.noise.part)

    second = Ranks()
    second.rank, second.first = 1, False
    (whole, *_), (one, u, names), (two, other, others) = begun(4, ALONE), begun(2, ALONE), begun(2, second)
    assert np.concatenate([one, two]).tolist() == whole.tolist()
    assert not torch.equal(u, other)
    assert (names, others) == (("agent", "act"), ("agent 1", "act 2"))


def test_the_command_and_the_slot_go_together(monkeypatch):
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node=2 train.py learner=distributed"):
        Distributed().join("cpu", Path())
    assert Single().join("cpu", Path("here")).home == Path("here")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="torchrun started 4: add learner=distributed"):
        Single().join("cpu", Path())
    with pytest.raises(ConfigError, match="device=cuda:0: every rank has a GPU of its own"):
        Distributed().join("cuda:0", Path())
    with pytest.raises(ValueError, match="backend must be one of"):
        Distributed(backend="mpi")
