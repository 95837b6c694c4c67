"""Ensembles of models: the loss and its bounds by hand, noise that is recovered, calibration on transitions that no member has seen."""

from __future__ import annotations

import math

import pytest
import torch

from deeprl.agents.dynamics import Data, Likelihood, Squared
from deeprl.agents.model_ensemble import Bounds, DynamicsEnsemble, ModelEnsemble
from deeprl.agents.termination_model import base_entropy, cross_entropy, recall_and_precision
from deeprl.learning.networks.blocks import initialise

NOISE = torch.tensor([0.5, 0.1, 0.3])
"""Standard deviations of the reward and of the changes in the linear world"""


def linear_world(number: int, seed: int = 0, ends=None) -> Data:
    """r and s' − s are linear in two states and an action, plus noise."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 3, generator=generator) * torch.tensor([2.0, 1.0, 0.5]) + torch.tensor([5.0, 0.0, 0.0])
    mean = inputs @ torch.tensor([[0.5, -0.2, 0.1], [1.0, 0.3, 0.0], [0.0, 0.4, -0.5]])
    targets = mean + NOISE * torch.randn(number, 3, generator=generator)
    terminated = torch.zeros(number) if ends is None else ends(inputs).float()
    return Data(inputs, targets, terminated, inputs[:, :2] + targets[:, 1:], torch.zeros(number, 0, 2))


def trained(data: Data, ends: bool = False, **given) -> tuple[DynamicsEnsemble, dict[str, float]]:
    small = {"members": 3, "elites": 2, "hidden": (16,), "weight_decay": 0.0, "lr": 5e-3, "batch_size": 64, "epochs": 30}
    choice = ModelEnsemble(**small | given)
    model = choice.build(2, 1, ends, seed=0)
    return model, model.fit(data, None, torch.Generator().manual_seed(1), 0)


@pytest.fixture(scope="module")
def gaussian():
    return trained(linear_world(1200))


def test_the_likelihood_by_hand():
    mean, target = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 2.0]]])
    loss = Likelihood()(mean, torch.tensor([[[math.log(4.0), 0.0]]]), target, torch.zeros(1, 1, 0, 1), 0)
    assert loss.item() == pytest.approx((4 / 4 + math.log(4.0) + 0.0 + 0.0) / 2)
    assert Squared()(mean, mean, target, torch.zeros(1, 1, 0, 1), 0).item() == 2.0


def test_log_variances_stay_between_their_bounds():
    bounds = Bounds(1, 1, -10.0, 0.5)
    initialise(bounds, 0, "model")
    low, inside, high = bounds(torch.tensor([[[-100.0], [-4.0], [100.0]]])).flatten().tolist()
    assert (low, high) == (pytest.approx(-10.0, abs=1e-4), pytest.approx(0.5, abs=1e-3))
    below = 0.5 - math.log1p(math.exp(4.5))
    assert inside == pytest.approx(-10.0 + math.log1p(math.exp(below + 10.0)), abs=1e-5)
    assert bounds.cost().item() == pytest.approx(0.01 * 10.5)


def test_noise_is_recovered_and_held_out_targets_are_calibrated(gaussian):
    """Within 10 %; and 0.64 to 0.72 of the targets of transitions that no member has seen lie within one standard deviation."""
    model, shown = gaussian
    fresh = linear_world(2000, seed=7)
    _, log_variance = model.chunked(fresh.inputs)
    assert (0.5 * log_variance).exp().mean((0, 1)).tolist() == pytest.approx(NOISE.tolist(), rel=0.1)
    judged = model.judged(fresh)
    assert 0.64 < judged["model/calibration"] < 0.72
    assert shown["model/calibration"] == pytest.approx(judged["model/calibration"], abs=0.06)
    assert judged["model/squared_error"] == pytest.approx(NOISE.square().mean().item(), rel=0.1)


def test_a_reward_that_varies_much_is_learned():
    """Up to its noise, a ninth of its variance. In units of the environment its predicted variance began at the upper bound, e^0.5, where
    the gradient of its mean is small."""
    data = linear_world(400)
    targets = data.targets * torch.tensor([100.0, 1.0, 1.0])
    _, shown = trained(data._replace(targets=targets), epochs=20, lr=1e-2)
    assert 3 * shown["model/squared_error"] < 0.25 * targets[:, 0].var().item()


def test_inputs_are_divided_by_the_moments_of_what_is_not_held_out(gaussian):
    data = linear_world(1200)
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(1))
    assert torch.equal(gaussian[0].mean, data.inputs[order[240:]].mean(0))


def test_predictions_take_another_member_for_each_row_and_its_noise(gaussian):
    model, number = gaussian[0], 400
    obs, action = torch.tensor([[5.0, 0.0]]).expand(number, 2), torch.zeros(number, 1)
    found = model.predict(obs, action, torch.Generator().manual_seed(0))
    assert found.reward.std().item() == pytest.approx(0.5, rel=0.15)
    assert (found.obs - obs).std(0).tolist() == pytest.approx([0.1, 0.3], rel=0.2)
    assert not found.terminated.any()
    plain, _ = trained(linear_world(300), loss=Squared(), epochs=3)  # without noise as many predictions as members
    assert len(plain.predict(obs, action, torch.Generator().manual_seed(0)).reward.unique()) == 2


def test_each_member_keeps_its_best_epoch_and_the_elite_are_the_best():
    data, scores = linear_world(200), iter(torch.tensor([[3.0, 1.0, 2.0], [4.0, 0.5, 2.0], [5.0, 0.6, 1.0]]))
    model = ModelEnsemble(members=3, elites=2, hidden=(4,), weight_decay=0, epochs=3).build(2, 1, False, 0)
    seen = []

    def score(kept: Data) -> torch.Tensor:
        seen.append([weight.clone() for weight in model.weights])
        return next(scores)

    model.score = score
    shown = model.fit(data, None, torch.Generator().manual_seed(1), 0)
    assert all(torch.equal(weight[i], seen[best][k][i]) for i, best in enumerate((0, 1, 2)) for k, weight in enumerate(model.weights))
    assert model.elite.tolist() == [1, 2]
    assert shown["model/holdout_error"] == 0.75


def test_training_ends_when_no_member_has_gained_for_some_epochs():
    model = ModelEnsemble(members=1, elites=1, hidden=(4,), weight_decay=0, patience=2).build(2, 1, False, 0)
    scores = iter(torch.tensor([[1.0], [0.995], [0.98], [0.979], [0.978]]))  # less than 1 %, more, less, less
    model.score = lambda kept: next(scores)
    assert model.fit(linear_world(50), None, torch.Generator().manual_seed(1), 0)["model/epochs"] == 5.0


def test_terminations_are_learned_where_the_rule_is_not_known():
    model, _ = trained(linear_world(600, ends=lambda inputs: inputs[:, 1] > 0.5), ends=True, epochs=15)
    obs = torch.tensor([[5.0, -1.0], [5.0, 0.0], [5.0, 1.2], [5.0, 2.0]])
    assert model.predict(obs, torch.zeros(4, 1), torch.Generator().manual_seed(0)).terminated.tolist() == [False, False, True, True]


def edged(number: int, seed: int) -> Data:
    """A point in a plane whose episodes end beyond an edge: 3 % of the steps. Dynamics without noise."""
    generator = torch.Generator().manual_seed(seed)
    obs, action = (2 * torch.rand(number, size, generator=generator) - 1 for size in (2, 1))
    change = 0.3 * torch.cat([obs[:, 1:], action], 1)
    after = obs + change
    targets = torch.cat([-obs[:, :1].square(), change], 1)
    return Data(torch.cat([obs, action], 1), targets, (after[:, 0].abs() > 1.1).float(), after, torch.zeros(number, 0, 2))


def test_rare_terminations_are_learned_beside_a_likelihood():
    """As one more output of the networks of the dynamics none was recognised, because the gradient of the likelihood grows with e^−ℓ."""
    model, shown = trained(edged(1500, 0), ends=True, members=2, elites=1, hidden=(32, 32), lr=3e-3)
    fresh = edged(2000, 1)
    found = model.predict(fresh.inputs[:, :2], fresh.inputs[:, 2:], torch.Generator().manual_seed(0)).terminated
    recall, precision = recall_and_precision(found, fresh.terminated > 0)
    assert recall > 0.7
    assert precision > 0.7
    assert shown["model/termination_recall"] > 0.7
    assert shown["model/termination_precision"] > 0.7


def test_dynamics_are_the_same_whether_terminations_are_learned_or_given():
    """They shared layers and a loss, which in one world made the error of the dynamics 400 times as large."""
    data = linear_world(100, ends=lambda inputs: inputs[:, 1] > 0.5)
    given, learned = (trained(data, ends=ends, epochs=2)[0] for ends in (False, True))
    assert all(torch.equal(one, learned.state_dict()[name]) for name, one in given.state_dict().items())
    obs, action = data.inputs[:, :2], data.inputs[:, 2:]
    one, two = (model.predict(obs, action, torch.Generator().manual_seed(0)) for model in (given, learned))
    assert torch.equal(one.obs, two.obs)
    assert torch.equal(one.reward, two.reward)
    assert given.state().keys() == {"module", "optimizer"}


def test_terminations_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]])  # probabilities of 3/4 and 1/2
    assert cross_entropy(logits, torch.tensor([0.0, 1.0])).tolist() == pytest.approx([(math.log(4.0) + math.log(2.0)) / 2])
    said, terminated = torch.tensor([True, True, True, False, False]), torch.tensor([True, False, False, True, False])
    assert recall_and_precision(said, terminated) == (0.5, pytest.approx(1 / 3))
    assert all(math.isnan(each) for each in recall_and_precision(said & False, terminated & False))
    assert base_entropy(1, 6) == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))


def test_a_training_ends_where_nothing_terminates():
    """Its cross-entropy goes to 0, and relative gains of 1 % would have no end."""
    model, shown = trained(linear_world(200), ends=True, epochs=None, lr=2e-2, members=1, elites=1)
    assert not model.terminations.terminates(linear_world(200, seed=3).inputs).any()
    assert math.isnan(shown["model/termination_recall"])


def test_a_line_says_once_that_terminations_are_not_recognised(capsys):
    data, chance = linear_world(200), torch.rand(200, generator=torch.Generator().manual_seed(3)) < 0.3
    model, _ = trained(data._replace(terminated=chance.float()), ends=True, epochs=3)  # nothing that is seen decides about them
    model.fit(data._replace(terminated=chance.float()), None, torch.Generator().manual_seed(2), 0)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "terminations that it was not trained on" in said[0]
    assert "a method terminates(observations)" in said[0]


def test_the_decay_is_that_of_each_layer():
    data = linear_world(8)
    batch = Data(*(column.expand(1, *column.shape) for column in data))
    plain, decayed = (
        ModelEnsemble(members=1, elites=1, hidden=(4,), weight_decay=decay).build(2, 1, False, 0) for decay in (0, (0.1, 0.2))
    )
    squares = [decayed.network.weight(i).square().sum().item() for i in range(2)]
    assert (decayed.loss(batch, 0) - plain.loss(batch, 0)).item() == pytest.approx(0.05 * squares[0] + 0.1 * squares[1], rel=1e-4)


@pytest.mark.parametrize("ends", [False, True])
def test_loaded_it_goes_on_as_it_would_have(ends):
    one, other = (trained(linear_world(100), ends=ends, epochs=1)[0] for _ in range(2))
    other.fit(linear_world(50, seed=3), None, torch.Generator().manual_seed(2), 0)
    other.load({name: {key: value.clone() for key, value in part.items()} for name, part in one.state().items()})
    for model in (one, other):
        model.fit(linear_world(120), None, torch.Generator().manual_seed(5), 0)
    assert all(torch.equal(left, right) for left, right in zip(one.state_dict().values(), other.state_dict().values()))


NAN = torch.tensor(math.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"module": None}, "the stored model has None"),
        ({"module": {"mean": 3}}, "the stored model has mean, this one"),
        ({"mean": "three"}, "mean 'three', this one"),
        ({"mean": torch.zeros(5)}, r"mean \(5,\) torch.float32, this one \(3,\)"),
        ({"target_mean": NAN.expand(3)}, "a number in target_mean that is not finite"),
        ({"deviation": torch.zeros(3)}, "deviations or squares of gradients"),
        ({"elite": torch.tensor([0, 3])}, r"the elite \[0, 3\], not 2 of its 3 members"),
        ({"elite": torch.tensor([1, 1])}, r"the elite \[1, 1\]"),
        ({"optimizer": []}, "the stored optimizer of the model has"),
        ({"termination_optimizer": None}, "the stored termination optimizer of the model has None"),
        ({"terminations.deviation": torch.zeros(3)}, "deviations or squares of gradients"),
    ],
)
def test_a_state_that_none_can_have_is_refused(change, message):
    model = ModelEnsemble(members=3, elites=2, hidden=(2,), weight_decay=0).build(2, 1, True, 0)
    state = model.state()
    whole = {name: value for name, value in change.items() if name in state}
    inner = {name: value for name, value in change.items() if name not in state}
    with pytest.raises(ValueError, match=message):
        model.load({**state, "module": {**state["module"], **inner}, **whole})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"elites": 8}, "elites must be at most members=7, not 8"),
        ({"weight_decay": (1e-4, 1e-4)}, "weight_decay must be a number of at least 0, or 5 of them"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"weight_decay": True}, "weight_decay must be"),
        ({"high": "a"}, "high must be a number, not 'a'"),
        ({"holdout": 1.0}, "holdout must be between 0 and 0.9"),
        ({"holdout": 0}, "holdout must be above 0, not 0"),
        ({"lr": 0.0}, "lr must be above 0, not 0"),
        ({"loss": 3}, "loss must be that of a model"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
    ],
)
def test_what_is_out_of_range_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ModelEnsemble(**given)
