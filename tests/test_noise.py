"""Every random number is a function of (seed, purpose, part, position)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deeprl.noise import PURPOSES, NoiseStream, episode_seed, seed_sequence, torch_generator


def draw(block, generator):
    return {"u": torch.rand(block, 3, generator=generator), "n": torch.randn(block, generator=generator)}


def stream(seed=0, purpose="update", part="agent", block=4):
    return NoiseStream(seed, purpose, part, draw, block)


def numbers(source: NoiseStream, count: int) -> list[list[float]]:
    return [[*row["u"].tolist(), row["n"].item()] for row in (source.next() for _ in range(count))]


def test_a_position_is_the_whole_state():
    whole = numbers(stream(), 11)
    for position in (0, 1, 3, 4, 7, 8, 10):  # inside of blocks and at their edges
        resumed = stream()
        resumed.load_state_dict({"position": position})
        assert numbers(resumed, 11 - position) == whole[position:]


def test_state_dict_holds_that_position_and_nothing_else():
    source = stream()
    numbers(source, 6)
    assert source.state_dict() == {"position": 6}


def test_going_back_repeats():
    source = stream()
    first = numbers(source, 6)
    source.load_state_dict({"position": 2})
    assert numbers(source, 4) == first[2:]


def test_a_block_longer_than_what_is_taken_of_it_at_once():
    """Forwards through two blocks of seventy, back into the first, and on over its end."""
    source = stream(block=70)
    first = numbers(source, 140)
    drawn = [draw(70, torch_generator(0, "update", "agent", block)) for block in (0, 1)]
    assert first == [[*u, n] for each in drawn for u, n in zip(each["u"].tolist(), each["n"].tolist())]
    for position in (3, 40, 69):
        source.load_state_dict({"position": position})
        assert numbers(source, 60) == first[position : position + 60]


def test_a_block_is_drawn_once_from_a_generator_of_its_own():
    calls = []

    def counting(block, generator):
        calls.append(generator.initial_seed())
        return draw(block, generator)

    source = NoiseStream(5, "replay", "index", counting, 4)
    numbers(source, 9)
    assert calls == [torch_generator(5, "replay", "index", block).initial_seed() for block in range(3)]
    assert len(set(calls)) == 3


def test_seeds_purposes_and_parts_are_independent():
    base = numbers(stream(), 8)
    others = [stream(seed=1), stream(part="other"), *(stream(purpose=p) for p in PURPOSES if p != "update")]
    for other in others:
        drawn = numbers(other, 8)
        assert not np.isin(np.array(drawn), np.array(base)).any()


def test_what_one_stream_draws_moves_no_other():
    alone = numbers(stream(), 6)
    one, other = stream(), stream(purpose="explore")
    mixed = []
    for _ in range(6):
        numbers(other, 2)
        mixed += numbers(one, 1)
    assert mixed == alone


def test_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    numbers(stream(), 5)
    assert torch.equal(before, torch.get_rng_state())


def test_names_enter_by_a_number_that_is_the_same_in_every_process():
    """As it was in another one, whatever the hash of a text is in this one."""
    assert torch_generator(7, "init", "online.head.weight_0", 2).initial_seed() == 1948288987485997439


def test_part_zero_is_a_number_and_a_name_is_its_crc():
    assert seed_sequence(1, "init", "abc").entropy == [1, 0, 0x352441C2, 0]
    assert seed_sequence(1, "evaluation", 3, 9).entropy == [1, 5, 3, 9]


def test_an_unknown_purpose_is_refused():
    with pytest.raises(ValueError):
        torch_generator(0, "fun")


# ---- seeds of episodes


def test_no_evaluation_seed_is_a_training_seed():
    training = {episode_seed(seed, i, e) for seed in range(3) for i in range(8) for e in range(100)}
    evaluation = {episode_seed(seed, i, e, evaluation=True) for seed in range(3) for i in range(8) for e in range(100)}
    assert training.isdisjoint(evaluation)
    # the reason, which no sample can show: one bit tells them apart
    assert {s % 2 for s in training} == {0}
    assert {s % 2 for s in evaluation} == {1}


def test_episodes_and_environments_have_seeds_of_their_own_that_environments_accept():
    seeds = [episode_seed(0, i, e) for i in range(16) for e in range(200)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0
    assert 2**30 < max(seeds) < 2**31
    assert episode_seed(0, 3, 7) == episode_seed(0, 3, 7) != episode_seed(1, 3, 7)
