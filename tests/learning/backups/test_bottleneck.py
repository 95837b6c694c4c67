"""The bottleneck objective: sequences by hand, the minimum of a distribution, and the widest path of a graph."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch

from deeprl.learning.backups.bottleneck import Bottleneck
from deeprl.learning.values.distributions import CategoricalValues
from tests.builders import CARTPOLE, make_batch, train, values, view


def path(reward, discount, *, actions=0, ended=False):
    """One sequence: rows of a batch (T, 1)."""
    reward, discount = torch.tensor(reward)[:, None], torch.tensor(discount)[:, None]
    actions = torch.as_tensor(actions).expand(len(reward))[:, None]
    batch = make_batch(torch.zeros(len(reward), 1), actions, reward, discount, torch.zeros(len(reward), 1))
    return batch._replace(ended=torch.as_tensor(ended).expand(len(reward))[:, None])


def target(batch, now, next):
    """Targets of every row, where the value of action 1 is −9."""

    def table(best):
        return [[[[q, -9.0]] for q in best]]  # (K, T, B, A)

    found = Bottleneck()(view(), view(table(now), table(next)), batch)
    assert found.atoms.shape == (1, len(now), 1, 1)
    return found.mean().flatten().tolist()


def test_greedy_actions_carry_the_least_reward_back():
    assert target(path([3.0, 1.0, 2.0], [1.0, 1.0, 0.0]), [9.0] * 3, [9.0, 9.0, -5.0]) == [1.0, 1.0, 2.0]


def test_the_discount_makes_later_rewards_smaller():
    """2; min(1, 0.5 · 2); min(3, 0.5 · 1)."""
    assert target(path([3.0, 1.0, 2.0], [0.5, 0.5, 0.0]), [9.0] * 3, [9.0] * 3) == [0.5, 1.0, 2.0]


def test_another_action_than_the_greedy_one_ends_what_is_carried():
    """Row 1 takes action 1, so that row 0 has the value of the next state, 2.5; what row 1 learns itself does not change."""
    assert target(path([3.0, 1.0, 2.0], [1.0, 1.0, 0.0], actions=[0, 1, 0]), [9.0] * 3, [2.5, 9.0, 9.0]) == [2.5, 1.0, 2.0]


def test_a_time_limit_and_the_end_of_the_sequence_bootstrap():
    batch = path([3.0, 1.0, 2.0], [1.0, 1.0, 1.0], ended=[True, False, False])
    assert target(batch, [9.0] * 3, [2.5, 9.0, 1.5]) == [2.5, 1.0, 1.5]


def test_rows_that_are_no_transitions_carry_nothing():
    batch = path([3.0, 1.0], [1.0, 1.0])._replace(valid=torch.tensor([[True], [False]]))
    assert target(batch, [9.0] * 2, [2.5, 0.0])[0] == 2.5


def test_a_distribution_has_the_minimum_of_each_atom():
    """Z = 0 or 2, evenly, r = 1: E min(r, Z) = 1/2, and min(r, E Z) = 1."""
    logits, support = torch.zeros(1, 1, 1, 1, 2), torch.tensor([0.0, 2.0])
    next = CategoricalValues(logits, support, 0.0, 2.0, torch.zeros(1, 1, 1))
    batch = path([1.0], [1.0])
    found = Bottleneck()(view(), SimpleNamespace(now=next, next=next), batch)
    assert found.atoms.flatten().tolist() == [0.0, 1.0]
    assert found.mean().item() == 0.5
    assert target(batch, [1.0], [1.0]) == [1.0]


def test_targets_of_random_sequences_are_those_of_a_recursion():
    """Two iterations with greedy actions of their own, categories, a termination inside of an episode, and an extra row after an end."""
    rows, columns, actions, atoms = 5, 3, 2, 4
    generator = torch.Generator().manual_seed(1)
    support = torch.linspace(-1, 1, atoms)
    logits = torch.randn((2, 2, rows, columns, actions, atoms), generator=generator)  # now and next, K, T, B
    now, next = (CategoricalValues(each, support, -1.0, 1.0, torch.zeros(1, rows, columns, 1)) for each in logits)
    batch = make_batch(
        torch.zeros(rows, columns), torch.randint(actions, (rows, columns), generator=generator),
        torch.randn((rows, columns), generator=generator), 0.9, torch.zeros(rows, columns),
    )  # fmt: skip
    discount, ended, valid, reward = batch.discount.clone(), batch.ended.clone(), batch.valid.clone(), batch.reward.clone()
    discount[1, 1] = 0.0  # a lost life: terminated, not ended
    ended[1, 0], ended[2, 2], discount[2, 2] = True, True, 0.0
    reward[2, 0] = discount[2, 0] = 0.0
    valid[2, 0] = False  # the extra row after an end
    batch = batch._replace(reward=reward, discount=discount, ended=ended, valid=valid)

    def bootstrapped(k, t, b):
        best = next.mean()[k, t, b].argmax()
        return support, logits[1, k, t, b, best].softmax(-1)

    def recursion(k, t, b):
        if not discount[t, b]:
            return reward[t, b].expand(atoms), torch.full((atoms,), 1 / atoms)
        follows = t + 1 < rows and not ended[t, b] and now.mean()[k, t + 1, b].argmax() == batch.action[t + 1, b]
        z, p = recursion(k, t + 1, b) if follows else bootstrapped(k, t, b)
        return torch.minimum(reward[t, b], 0.9 * z), p

    found = Bottleneck()(view(), SimpleNamespace(now=now, next=next), batch)
    assert found.probs is not None
    carried = 0
    for k, t, b in product(range(2), range(rows), range(columns)):
        if valid[t, b]:
            z, p = recursion(k, t, b)
            for power in (1, 2, 3):
                moment = (found.atoms[k, t, b] ** power * found.probs[k, t, b]).sum()
                torch.testing.assert_close(moment, (z**power * p).sum())
            carried += t + 1 < rows and bool(now.mean()[k, t + 1, b].argmax() == batch.action[t + 1, b])
    assert carried > 5


@pytest.mark.parametrize("head", ["implicit_quantile", "quantile", "categorical", "bounded"])
def test_every_head_learns_from_sequences_of_the_replay(head, tmp_path):
    """With noise as the trainer draws it, which a made-up batch need not have."""
    words = (f"agent/head={head}", "agent/backup=bottleneck", "replay.length=4", "replay.batch_size=2")
    trainer = train(tmp_path / "run", *CARTPOLE, *words, "steps=100", "evaluation.every=null", "evaluation.final_episodes=1")
    assert trainer.agent.updates == 10
    assert trainer.source.batch_shape == (4, 2)


def test_a_batch_without_time_is_refused():
    batch = make_batch([0], [0], [1.0], [1.0], [0])
    with pytest.raises(ValueError, match="no axis of time"):
        Bottleneck()(view([[0.0]]), view([[0.0]], [[0.0]]), batch)


def test_repeated_backups_find_the_widest_path():
    """A graph of 4 layers of 3 states with 2 actions; the oracle tries every sequence of actions."""
    generator = torch.Generator().manual_seed(0)
    layers, states, actions = 4, 3, 2
    following = torch.randint(states, (layers, states, actions), generator=generator)
    reward = torch.rand((layers, states, actions), generator=generator)

    def width(state, choices):
        rewards = []
        for layer, action in enumerate(choices):
            rewards.append(reward[layer, state, action].item())
            state = following[layer, state, action].item()
        return min(rewards)

    widest = [max(width(state, choices) for choices in product(range(actions), repeat=layers)) for state in range(states)]
    q = torch.rand((layers + 1, states, actions), generator=generator)
    layer, state, action = torch.meshgrid(*map(torch.arange, reward.shape), indexing="ij")
    flat = [axis.flatten() for axis in (layer, state, action)]
    discount = (flat[0] < layers - 1).float()
    batch = make_batch(torch.zeros(1, len(discount)), flat[2][None], reward.flatten()[None], discount[None], torch.zeros(1, len(discount)))
    for _ in range(layers):
        ends = [q[flat[0], flat[1]], q[flat[0] + 1, following.flatten()]]
        network = SimpleNamespace(**{end: values(each[None, None]) for end, each in zip(("now", "next"), ends)})
        q[:layers] = Bottleneck()(network, network, batch).mean().view(reward.shape)
    assert q[0].amax(-1).tolist() == pytest.approx(widest)
