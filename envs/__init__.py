"""Environments: everything between `gymnasium` (or ALE, or MinAtar) and the collector.

    spaces.py    what an agent may know of an environment, from its spaces; actions in [-1, 1] to actions as the environment takes them
    vector.py    M copies of one environment behind `reset` and `step`; seeds, journals, failures
    workers.py   one process a copy
    atari.py, classic.py, box2d.py, minatar.py, mujoco.py, gym.py, toy.py    the families: one `EnvChoice` each

Nothing is imported here, so that `envs.games` can be read without paying for torch.
"""
