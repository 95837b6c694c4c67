"""What a wrong word may mean: a name of another library or of the literature, or a key of another option. For messages."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from deeprl.running.config import settings, tuned
from deeprl.running.config.menu import options
from deeprl.running.config.overrides import unplaced

ELSEWHERE = {
    "total_timesteps": ["steps"], "gamma": ["discount"], "env_id": ["env.id"], "n_envs": ["env.num"], "num_envs": ["env.num"],
    "anneal_lr": ["agent.optimizer.schedule.end"], "net_arch": ["agent.torso.hidden"], "eval_freq": ["evaluation.every"],
    "n_eval_episodes": ["evaluation.episodes"], "save_freq": ["checkpoint.every"], "save_model": ["checkpoint.every"],
    "torch_deterministic": ["runtime.deterministic"], "buffer_size": ["replay.capacity"],
    "gradient_steps": ["replay.ratio"], "train_freq": ["replay.ratio"], "train_frequency": ["replay.ratio"],
    "n_steps": ["replay.length", "replay.n_step"], "num_steps": ["replay.length"],
    "n_epochs": ["replay.epochs"], "update_epochs": ["replay.epochs"], "num_minibatches": ["replay.minibatches"],
    "learning_rate": ["agent.optimizer.lr"], "q_lr": ["agent.optimizer.lr"], "policy_lr": ["agent.actor_optimizer.lr"],
    "tau": ["agent.chain.tau"], "target_update_interval": ["agent.chain.target_update_period", "agent.target_period"],
    "target_network_frequency": ["agent.chain.target_update_period", "agent.target_period"],
    "epsilon": ["agent.explore.schedule.end"], "eps": ["agent.explore.schedule.end"], "eps_decay": ["agent.explore.schedule.duration"],
    "epsilon_decay": ["agent.explore.schedule.duration"], "hidden_size": ["agent.torso.hidden"], "hidden_sizes": ["agent.torso.hidden"],
    "hidden_dim": ["agent.torso.hidden"], "width": ["agent.torso.hidden"], "layers": ["agent.torso.hidden"],
    "exploration_initial_eps": ["agent.explore.schedule.start"], "start_e": ["agent.explore.schedule.start"],
    "exploration_final_eps": ["agent.explore.schedule.end"], "end_e": ["agent.explore.schedule.end"],
    "exploration_fraction": ["agent.explore.schedule.duration"], "gae_lambda": ["agent.lam"], "clip_range": ["agent.surrogate.clip"],
    "clip_coef": ["agent.surrogate.clip"], "clip_range_vf": ["agent.surrogate.value_clip"], "clip_vloss": ["agent.surrogate.value_clip"],
    "normalize_advantage": ["agent.surrogate.normalize"], "norm_adv": ["agent.surrogate.normalize"],
    "ent_coef": ["agent.surrogate.entropy_weight", "agent.temperature.value"], "vf_coef": ["agent.surrogate.value_weight"],
    "target_kl": ["agent.kl.target"], "alpha": ["agent.temperature.value"], "policy_delay": ["agent.actor_period"],
    "policy_frequency": ["agent.actor_period"], "target_policy_noise": ["agent.backup.smoothing"],
    "policy_noise": ["agent.backup.smoothing"], "target_noise_clip": ["agent.backup.clip"], "noise_clip": ["agent.backup.clip"],
    "exploration_noise": ["agent.explore.std"], "v_min": ["agent.head.low"], "v_max": ["agent.head.high"],
}  # fmt: skip
"""What Stable-Baselines3 or CleanRL call a key (docs/coming_from.md): the keys that it may be, the first that a run has"""
PUBLISHED = {
    "agent=ddqn": "agent=double_dqn", "agent=d3qn": "agent=dueling_dqn", "agent=rlpd": "agent=redq replay=mixed",
    "agent=vpg": "agent=reinforce", "agent=her": "replay=hindsight", "replay=her": "replay=hindsight", "replay=per": "replay=prioritized",
    "policy=MlpPolicy": "agent/torso=mlp", "policy=CnnPolicy": "agent/torso=nature", "agent/torso=cnn": "agent/torso=nature",
    "agent/core=rnn": "agent/core=gru", "agent=recurrent_ppo": "agent=ppo agent/core=lstm", "agent=rppo": "agent=ppo agent/core=lstm",
    "agent=drqn": "agent=dqn agent/core=lstm", "agent=a3c": "agent=a2c",
}  # fmt: skip
"""Short names of the literature that resemble none of ours, or another one"""


def key_of_others(slot: str, name: str, chosen: dict[str, str], wanted: Collection[str] = ()) -> str:
    """' agent.chain.tau is a key of agent/chain=polyak.': of the other options of a slot, or, where it is the agent, of its slots and other
    agents; '' if none has such a key.

    Args:
        wanted: the only keys that are meant; empty: any of this name.
    """
    found: dict[str, list[str]] = {}
    for place in [slot, *(each for each in chosen if slot == "agent" and each.startswith("agent/"))]:
        group, _, package = place.partition("@")
        for option in sorted(options(group), key=lambda option: "/" in option):  # env=gym before what starts from it
            keys = []
            with contextlib.suppress(*tuned.UNREADABLE):  # a file of the user's that nobody chose
                keys = [key for key in tuned.values(group, option) if f".{key}".endswith(f".{name}") and not settings.is_setting(key)]
            for key in keys[:1] if group != "agent" or name in keys else ():
                found.setdefault(f"{package or group.replace('/', '.')}.{key}", []).append(unplaced(f"{place}={option}"))
    likely = sorted([key for key in found if not wanted or key in wanted], key=lambda key: key not in ELSEWHERE.get(name, ()))[:3]
    more = {key: " and others" if len(found[key]) > 3 else "" for key in likely}
    return "".join(f" {key} is a key of {', '.join(found[key][:3])}{more[key]}." for key in likely)
