from benchmarks.exploring import first_above


def test_mean_of_a_few_lucky_episodes_reaches_no_goal():
    """The log of PPO on DoorKey with seed 2: its very first episodes won."""
    means = {1_504: 0.803, 6_000: 0.35, 42_000: 0.76, 46_512: 0.857, 51_008: 0.876}
    lines = [{"step": 1_000}, *({"step": step, "rollout/ep_rew_mean": mean} for step, mean in means.items())]
    assert first_above(lines, goal=0.8, least=28_672) == 46_512
    assert first_above(lines, goal=0.9, least=28_672) is None
