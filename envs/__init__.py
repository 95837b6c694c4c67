"""Environments: everything between `gymnasium` (or ALE, or MinAtar) and the collector.

    vector/      M copies of one environment behind `reset` and `step`: seeds, journals, failures, worker processes
    atari.py, classic.py, box2d.py, minatar.py, mujoco.py, gym.py, toy.py    the families: one `EnvChoice` each

Nothing is imported here, so that `deeprl.envs.games` can be imported without torch.
"""

if __name__ == "envs":  # a class imported under two names is two classes
    raise ImportError("this folder is imported as deeprl.envs; to use a package `envs` of your own, run `deeprl train`")
