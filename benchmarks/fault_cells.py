"""The cells of `benchmarks.faults`: an agent, an environment, a replay, and a way to run the environments."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple

from benchmarks.kill_and_resume import PROGRAM

COMMON = ("log.every=0.02", "evaluation.every=0.25", "evaluation.episodes=2", "evaluation.final_episodes=6", "checkpoint.every=0.05")
FAMILIES = {
    "classic": ("env.num=2", "steps=6000", "replay.learning_starts=500", "replay.capacity=3000", "replay.ratio=0.25"),
    "minatar": ("env.num=2", "steps=5000", "replay.learning_starts=500", "replay.capacity=3000", "replay.ratio=0.1"),
    "mujoco": ("env.num=2", "steps=4000", "replay.learning_starts=500", "replay.capacity=2500", "replay.ratio=0.25",
        "replay.batch_size=64"),
    "atari": (
        "env.num=2", "steps=1600", "replay.learning_starts=400", "replay.capacity=1000", "replay.ratio=0.05",
        "env.protocol.max_episode_steps=300",
    ),
    "box2d": ("env.num=2", "steps=5000", "replay.learning_starts=500", "replay.capacity=3000", "replay.ratio=0.25", "evaluation.num=2"),
    "minigrid": ("env.num=2", "steps=4000", "replay.learning_starts=500", "replay.capacity=2500", "replay.ratio=0.25",
        "agent.torso.hidden=[64]"),
    "highway": ("env.num=2", "steps=1200", "replay.learning_starts=200", "replay.capacity=1000", "replay.ratio=0.25",
        "agent.torso.hidden=[64]"),
    "own": ("env.num=2", "steps=4000", "replay.learning_starts=500", "replay.capacity=2500", "replay.ratio=0.25", "replay.batch_size=32"),
    "robotics": ("env.num=2", "steps=2000", "replay.learning_starts=300", "replay.capacity=1500", "replay.ratio=0.25",
        "replay.batch_size=32"),
    "tensor": ("env.num=4", "steps=6000", "replay.learning_starts=500", "replay.capacity=3000", "replay.ratio=0.25"),
    "goals": ("env.num=2", "steps=6000", "replay.learning_starts=500", "replay.capacity=3000", "replay.ratio=0.25", "replay.batch_size=32"),
    "stock": ("env.num=2", "steps=3000", "replay.learning_starts=500", "replay.capacity=2000", "replay.ratio=0.25", "replay.batch_size=32"),
    "parts": ("env.num=2", "steps=3000", "replay.learning_starts=500", "replay.capacity=2000", "replay.ratio=0.25", "replay.batch_size=32"),
}  # fmt: skip
PLAYED = ("replay.learning_starts", "replay.capacity")
"""Keys that data alone do not have"""
ROLLOUTS = {
    "classic": ("env.num=4", "steps=12000", "replay.length=32"),
    "minatar": ("env.num=8", "steps=12000", "replay.length=32", "replay.epochs=2", "replay.minibatches=4"),
    "mujoco": ("env.num=4", "steps=16000", "replay.length=64", "replay.epochs=2", "replay.minibatches=4"),
    "atari": ("env.num=4", "steps=3200", "replay.length=16", "replay.epochs=1", "env.protocol.max_episode_steps=300"),
    "minigrid": ("env.num=4", "steps=6000", "replay.length=32"),
    "own": ("env.num=4", "steps=8000", "replay.length=32"),
    "tensor": ("env.num=64", "steps=120000", "replay.length=32"),
    "parts": ("env.num=4", "steps=6000", "replay.length=32", "replay.epochs=2", "replay.minibatches=4"),
    "toy": ("env.num=4", "steps=8000", "replay.length=32", "replay.epochs=2", "replay.minibatches=4"),
}
"""The same for agents that learn from rollouts, which refuse the sizes of a memory."""
EPISODES = {"classic": ("env.num=2", "steps=6000", "replay.episodes=5", "replay.horizon=60")}
PLANNED = {"classic": ("env.num=2", "steps=6000", "replay.budget=300", "replay.horizon=60")}
LEVELS = {"classic": ("env.num=2", "steps=6000")}
TAILS = {"lab": ("steps=4000", "replay.episodes=40", "replay.horizon=6")}
OWN_DATA = {"lab": ("steps=3000",), "mujoco": ("steps=6000",)}
SOURCES = {
    "rollout": ROLLOUTS,
    "trajectories": EPISODES,
    "truncated": PLANNED,
    "multilevel": LEVELS,
    "random_tails": TAILS,
    "none": OWN_DATA,
}
"""Sizes of each replay that is no memory"""
SMALL = ("agent.torso.hidden=[64]", "agent.actor_torso.hidden=[64]")
BLOCKS = tuple(f"agent.{torso}.{key}" for torso in ("torso", "actor_torso") for key in ("width=16", "blocks=1"))
MODEL = (
    "replay.model.hidden=[16]", "replay.model.weight_decay=0", "replay.model.epochs=10", "replay.rollouts=200", "replay.period=300",
    "replay.horizon.end=3",
)  # fmt: skip
"""Of sources with a model: some twenty trainings, between and in which runs are killed, and a growing horizon"""
OPTIONS = {
    "sac": SMALL,
    "mbpo": (*SMALL, *MODEL),
    "vagram": (*SMALL, *MODEL, "replay.termination=learned"),
    "isac": (*SMALL, "agent.resets.period=200", "agent/normalize=running"),
    "redq": SMALL,
    "crossq": (*SMALL, "agent.torso.settle=200"),
    "aro_ddpg": (*SMALL, "discount=1"),
    "rvi_sac": (*SMALL, "discount=1", "agent.rate.hidden=[64]", "runtime.lag=1"),
    "droq": (*SMALL, "replay.ratio=0.25"),
    "bro": (*BLOCKS, "replay.ratio=0.25"),
    "tqc": SMALL,
    "flash_sac": BLOCKS,
}
"""Of agents, so that their cells hold every kind of state: temperature, chain, resets, running statistics, subset noise, average reward,
actions that are chosen a step ahead, masks of dropout, noise that lasts, scaled rewards."""
FOREIGN = {
    "minigrid/empty": ("MiniGrid-Empty-5x5-v0", "minigrid", "minigrid.wrappers.FlatObsWrapper"),
    "minigrid/dynamic": ("MiniGrid-Dynamic-Obstacles-5x5-v0", "minigrid", "minigrid.wrappers.FlatObsWrapper"),
    "minigrid/doorkey": ("MiniGrid-DoorKey-5x5-v0", "minigrid", "minigrid.wrappers.FlatObsWrapper"),
    "highway/highway": ("highway-fast-v0", "highway_env", "gymnasium.wrappers.FlattenObservation"),
    "robotics/point_maze": ("PointMaze_UMaze-v3", "gymnasium_robotics", ""),
}
"""Environments without a configuration of ours: id, package, wrapper."""
OWN = {
    "own/continuous": ("function", "Drift", ""),
    "own/discrete": ("function", "Drift", "{discrete: true}"),
    "own/nested": ("function", "Nested", ""),
    "own/held": ("function", "Held", "{discrete: true}"),
    "own/process": ("function", "ProcessWide", ""),
    "own/process_discrete": ("function", "ProcessWide", "{discrete: true}"),
    "own/thread": ("function", "Threaded", "{goal: 0}"),  # ARO-DDPG refuses what terminates
    "own/masks": ("function", "Masked", ""),
    "own/vector": ("vector", "Swarm", ""),
    "own/connect_four": ("function", "ConnectFour", ""),
}
"""Those of `benchmarks/hostile_envs.py`: the option of `env`, the class, its arguments."""
LAUNCHES = {
    "": PROGRAM,
    "ranks": ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "deeprl"),
    "ray": PROGRAM,
    "sweep": PROGRAM,
}
"""Arguments of Python that start the console script"""
PLAYER = ("agent=sac", "env=classic/pendulum", "steps=1500", "agent.torso.hidden=[32]", "agent.actor_torso.hidden=[32]", "replay.ratio=0.1")
"""A run whose transitions others learn from"""
JOBS = ("seed=0", "seed=1")
"""Of a sweep: overrides, and run folders below that of the sweep"""
WIDTH = ("agent.core.width=16",)
STORED = ("replay.length=8", "replay.burn_in=4", "replay.batch_size=8")
"""Of agents that remember: a short burn-in from the stored state"""
REMEMBERED = ("agent=dqn", "env=classic/cartpole_positions", "steps=1500", "agent/core=gru", *WIDTH, *STORED, "replay.ratio=0.1")
"""The same for agents that remember, whose states are stored with their transitions"""
IMAGINED = (
    *SMALL,
    "replay.model.hidden=[16]",
    "replay.model.weight_decay=0",
    "replay.model.epochs=5",
    "replay.period=500",
    "replay.rollouts=500",
)
SPECTRAL = ("agent/torso=spectral_impala", "agent.torso.channels=[4,4]", "agent.torso.head_hidden=[16]", "agent.head.samples=4")
NEEDS = {"own/connect_four": "pettingzoo"}


class Cell(NamedTuple):
    agent: str
    env: str
    replay: str
    vector: str
    extra: tuple[str, ...] = ()
    """Overrides beside those of its agent and its environment"""
    launch: str = ""
    """A key of `LAUNCHES`"""
    starts_from: tuple[str, ...] = ()
    """Overrides of a run whose weights it starts from, or whose transitions it learns from: with replay=stored as a data set of Minari"""

    @classmethod
    def of(cls, line: dict[str, Any]) -> Cell:
        """The cell of a line of results. Older ones lack some fields."""
        known = {field: line[field] for field in cls._fields if field in line}
        return cls(**{field: tuple(value) if isinstance(value, list) else value for field, value in known.items()})

    @property
    def name(self) -> str:
        beside = [f"{key.rpartition('.')[2]}={value}" for key, _, value in (word.partition("=") for word in self.extra[:1])]
        words = [*self[:4], *beside, *filter(None, [self.launch]), *(["init_from"] if self.starts_from else [])]
        return "-".join(words).replace("/", "_").replace(" ", "")

    @property
    def program(self) -> tuple[str, ...]:
        return LAUNCHES[self.launch]

    @property
    def jobs(self) -> tuple[str, ...]:
        """Run folders below the folder of the cell; empty: it is one itself."""
        return JOBS if self.launch == "sweep" else ("",)

    @property
    def overrides(self) -> list[str]:
        env = [f"env={self.env}"]
        if self.env in FOREIGN:
            name, package, wrapper = FOREIGN[self.env]
            env = ["env=gym", f"env.id={name}", f"env.package={package}", *([f"env.wrappers=[{wrapper}]"] if wrapper else [])]
        elif self.env in OWN:
            option, name, given = OWN[self.env]
            env = [f"env={option}", f"env.function=benchmarks.hostile_envs:{name}", *([f"env.kwargs={given}"] if given else [])]
        once = self.agent == "a2c"  # its gradient holds for one pass
        words = [f"agent={self.agent}", *env, f"replay={self.replay}{'_once' if once else ''}", "runtime.threads=1"]
        words += [] if self.vector == "vector" else [f"env.vector={self.vector}"]
        sizes = SOURCES.get(self.replay, FAMILIES)[self.env.split("/")[0]]
        if self.launch == "ray":
            sizes = tuple(word for word in sizes if not word.startswith("env.num"))
        if once:
            sizes = tuple(word for word in sizes if not word.startswith(("replay.epochs", "replay.minibatches")))
        if self.replay.startswith("stored"):
            sizes = tuple(word for word in sizes if not word.startswith(PLAYED))
        return [*words, *COMMON, *sizes, *OPTIONS.get(self.agent, ()), *self.extra]

    @property
    def allow(self) -> tuple[str, ...]:
        """Packages that its configuration names."""
        if self.env in OWN:
            return ("benchmarks",)
        return (FOREIGN[self.env][1], "gymnasium") if self.env in FOREIGN else ()

    @property
    def lacking(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        needed = [FOREIGN[self.env][1]] if self.env in FOREIGN else [NEEDS[self.env]] if self.env in NEEDS else []
        return [
            name
            for name in [*needed, *(["ray"] if self.launch == "ray" else []), *(["minari"] if self.replay == "stored" else [])]
            if find_spec(name) is None
        ]


CELLS = [
    Cell("dqn", "classic/cartpole", "uniform", "sync"),
    Cell("idqn", "classic/cartpole", "prioritized", "async"),
    Cell("noisy_dqn", "classic/cartpole", "prioritized", "sync"),
    Cell("double_dqn", "classic/acrobot", "uniform", "async"),
    Cell("dueling_dqn", "classic/mountain_car", "prioritized", "sync"),
    Cell("td3", "classic/pendulum", "uniform", "sync"),
    Cell("ddpg", "classic/pendulum", "prioritized", "async"),
    Cell("td3_paper", "classic/pendulum", "uniform", "async"),
    Cell("dqn", "minatar/breakout", "uniform", "sync"),
    Cell("dqn", "minatar/asterix", "prioritized", "async"),
    Cell("idqn", "minatar/breakout", "prioritized", "sync"),
    Cell("idqn", "minatar/seaquest", "uniform", "async"),
    Cell("double_dqn", "minatar/freeway", "uniform", "async"),
    Cell("noisy_dqn", "minatar/space_invaders", "prioritized", "sync"),
    Cell("td3", "mujoco/hopper", "uniform", "sync"),
    Cell("td3", "mujoco/half_cheetah", "prioritized", "async"),
    Cell("td3_paper", "mujoco/hopper", "uniform", "async"),
    Cell("td3_paper", "mujoco/walker2d", "prioritized", "sync"),
    Cell("ddpg", "mujoco/half_cheetah", "uniform", "sync"),
    Cell("ddpg", "mujoco/hopper", "prioritized", "async"),
    Cell("dqn", "atari/pong", "uniform", "sync"),
    Cell("dqn", "atari/breakout", "prioritized", "ale"),
    Cell("idqn", "atari/pong", "prioritized", "async"),
    Cell("idqn", "atari/space_invaders", "uniform", "ale"),
    Cell("double_dqn", "atari/breakout", "uniform", "async"),
    Cell("noisy_dqn", "atari/pong", "prioritized", "sync"),
    Cell("retrace_dqn", "minatar/breakout", "sequences", "async"),
    Cell("munchausen_iqn", "minatar/breakout", "uniform", "sync"),
    Cell("dvw", "classic/cartpole", "prioritized", "sync"),
    Cell("dqn", "minigrid/empty", "uniform", "sync"),
    Cell("idqn", "minigrid/dynamic", "prioritized", "async"),
    Cell("retrace_dqn", "minigrid/doorkey", "sequences", "sync"),
    Cell("dqn", "highway/highway", "prioritized", "sync"),
    Cell("munchausen_dqn", "highway/highway", "uniform", "async"),
    Cell("dqn", "box2d/lunar_lander", "uniform", "async"),
    Cell("rbis_dqn", "box2d/lunar_lander", "sequences", "sync"),
    Cell("td3", "box2d/bipedal_walker", "prioritized", "sync"),
    Cell("td3", "box2d/lunar_lander_continuous", "uniform", "async"),
    Cell("sac", "classic/pendulum", "uniform", "sync"),
    Cell("sac", "mujoco/half_cheetah", "prioritized", "async"),
    Cell("isac", "classic/pendulum", "prioritized", "async"),
    Cell("isac", "mujoco/hopper", "uniform", "sync"),
    Cell("redq", "classic/pendulum", "uniform", "async"),
    Cell("redq", "mujoco/hopper", "prioritized", "sync"),
    Cell("crossq", "classic/pendulum", "uniform", "sync"),
    Cell("crossq", "mujoco/half_cheetah", "prioritized", "async"),
    Cell("aro_ddpg", "classic/pendulum", "uniform", "sync"),
    Cell("aro_ddpg", "mujoco/half_cheetah", "uniform", "async"),
    Cell("rvi_sac", "classic/pendulum", "uniform", "async"),
    Cell("rvi_sac", "mujoco/hopper", "prioritized", "sync"),
    Cell("droq", "classic/pendulum", "prioritized", "sync"),
    Cell("droq", "mujoco/half_cheetah", "uniform", "async"),
    Cell("pqn", "classic/cartpole", "rollout", "sync"),
    Cell("pqn", "minatar/breakout", "rollout", "async"),
    Cell("pqn", "atari/pong", "rollout", "ale"),
    Cell("ppo", "classic/cartpole", "rollout", "async"),
    Cell("ppo", "mujoco/hopper", "rollout", "sync"),
    Cell("ppo", "atari/breakout", "rollout", "ale"),
    Cell("a2c", "classic/acrobot", "rollout", "sync"),
    Cell("a2c", "mujoco/half_cheetah", "rollout", "async"),
    Cell("flash_sac", "classic/pendulum", "uniform", "async"),
    Cell("flash_sac", "mujoco/hopper", "prioritized", "sync"),
    Cell("sac", "robotics/point_maze", "uniform", "sync"),
    Cell("isac", "box2d/lunar_lander_continuous", "uniform", "async"),
    Cell("flash_sac", "box2d/lunar_lander_continuous", "uniform", "sync"),
    Cell("crossq", "own/continuous", "uniform", "sync", ("runtime.lag=1",)),
    Cell("bro", "own/nested", "uniform", "sync", ("agent.resets.at=[300,600]",)),
    Cell("pqn", "own/connect_four", "rollout", "sync"),
    Cell("dvw_munchausen", "own/held", "prioritized", "sync"),
    Cell("dqn", "own/process_discrete", "uniform", "sync", ("env.num=1",)),
    Cell("gi_dqn", "minigrid/doorkey", "uniform", "sync"),
    Cell("lab/dtr", "lab/dtr", "none", "sync"),
    Cell("lab/ravi_ucb", "lab/garnet", "none", "sync"),
    Cell("lab/martingale", "lab/ornstein_uhlenbeck", "none", "sync", ("agent/criterion=martingale_loss",)),
    Cell("iqn", "own/connect_four", "uniform", "sync", ("accelerate.matmul_precision=bfloat16", "env.reseed_every=5")),
    Cell("sac", "own/continuous", "prioritized", "sync", ("accelerate.matmul_precision=bfloat16",)),
    Cell("ppo", "own/vector", "rollout", "vector"),
    Cell("dqn", "classic/cartpole", "uniform", "sync", ("checkpoint.minutes=0.01", "evaluation.video=true")),
    Cell("td3", "classic/pendulum", "lap", "sync", ("agent/explore=ornstein_uhlenbeck", "agent.head.loss=huber")),
    Cell("dqn", "classic/cartpole", "uniform", "sync", starts_from=("agent=dqn", "env=classic/cartpole", "steps=1000")),
    Cell("tqc", "own/nested", "prioritized", "async", ("env.num=3",)),
    Cell("droq", "own/process", "uniform", "async"),
    Cell("rvi_sac", "own/continuous", "uniform", "async"),
    Cell("ppo", "own/discrete", "rollout", "sync"),
    Cell("aro_ddpg", "own/thread", "uniform", "sync"),
    Cell("sac", "classic/pendulum", "uniform", "sync", ("learner=distributed",), launch="ranks"),
    Cell("td3", "classic/pendulum", "uniform", "sync", ("collect=ray", "collect.actors=2", "collect.ahead=1"), launch="ray"),
    Cell("a2c", "minigrid/empty", "rollout", "sync"),
    Cell("is_dqn", "box2d/lunar_lander", "prioritized", "sync"),
    Cell("mvi", "own/held", "uniform", "sync"),
    Cell("retrace_dqn", "own/masks", "sequences", "sync"),
    Cell("dqn", "own/masks", "prioritized", "sync", ("learner=distributed",), launch="ranks"),
    Cell("mvi", "highway/highway", "uniform", "sync"),
    Cell("dqn", "classic/cartpole", "uniform", "sync", launch="sweep"),
    Cell("r2d2", "classic/cartpole_positions", "recurrent_prioritized", "sync", (*STORED, *WIDTH)),
    Cell("ppo", "classic/cartpole_positions", "rollout", "async", ("agent/core=lstm", *WIDTH)),
    Cell("a2c", "classic/cartpole_positions", "rollout", "sync", ("agent/core=elstm_exact", *WIDTH)),
    Cell("pqn", "classic/cartpole_positions", "rollout", "sync", ("agent/core=gru", *WIDTH)),
    Cell("sac", "classic/pendulum_positions", "recurrent", "async", ("agent/core=lstm", *WIDTH, *STORED)),
    Cell("td3", "classic/pendulum_positions", "recurrent", "sync", ("agent/core=gru", *WIDTH, *STORED)),
    Cell("dqn", "own/masks", "recurrent", "sync", ("agent/core=lstm", *WIDTH, *STORED, "agent/normalize=running")),
    Cell(
        "r2d2",
        "classic/cartpole_positions",
        "recurrent_prioritized",
        "sync",
        ("collect=ray", "collect.actors=2", "collect.ahead=1", *WIDTH, *STORED),
        launch="ray",
    ),
    Cell("td3_bc", "classic/pendulum", "stored", "sync", ("agent/normalize=running",), starts_from=PLAYER),
    Cell(
        "qgpo",
        "classic/pendulum",
        "stored",
        "sync",
        ("agent.guidance.clone=40", "agent.hidden=[16]", "agent.guidance.candidates=2", "agent.guidance.evaluations=3"),
        starts_from=PLAYER,
    ),
    Cell("sac", "classic/pendulum", "mixed", "sync", starts_from=PLAYER),
    Cell("td3", "classic/pendulum", "mixed", "async", ("replay.share=null",), starts_from=PLAYER),
    Cell("sac", "classic/pendulum", "mixed", "async", ("replay.offline_steps=2000",), starts_from=PLAYER),
    Cell("dqn", "goals/bit_flip", "hindsight", "sync", ("env.bits=6",)),
    Cell("sac", "goals/reach", "hindsight", "async", ("replay.strategy=episode",)),
    Cell("mbpo", "classic/pendulum", "model", "sync"),
    Cell("vagram", "classic/pendulum_distracted", "model_value_gradient", "async", ("agent/normalize=running",)),
    Cell("td3", "classic/pendulum", "model_mse", "async", ("replay.real=0.5", *MODEL)),
    Cell("mbpo", "classic/pendulum", "model", "sync", ("collect=ray", "collect.actors=2", "collect.ahead=1"), launch="ray"),
    Cell("ppo", "tensor/cartpole", "rollout", "sync"),
    Cell("dqn", "tensor/acrobot", "uniform", "sync"),
    Cell("pqn", "tensor/minatar_breakout", "rollout", "sync"),
    Cell("dqn", "parts/marks", "prioritized", "sync"),
    Cell("sac", "parts/marks_continuous", "uniform", "async"),
    Cell("ppo", "parts/marks", "rollout", "sync"),
    Cell("ppo", "classic/acrobot", "rollout", "async", ("agent/intrinsic=rnd", "agent/kl=adaptive_rate", "agent/advantage=vtrace")),
    Cell("qrdqn", "stock/coins", "prioritized", "async", ("agent/utility=target", "discount=1")),
    Cell("iqn", "stock/coins", "uniform", "sync", ("agent/utility=cvar", "discount=0.9", "agent.chain.target_update_period=200")),
    Cell("sqirl", "lab/sparse_mdp", "random_tails", "sync", ("discount=1", "agent.depth=2")),
    Cell("lab/tagi", "mujoco/inverted_pendulum", "none", "sync", ("agent.interval=256",)),
    Cell("mac", "classic/acrobot", "multilevel", "sync"),
    Cell("pois", "classic/cartpole", "trajectories", "async"),
    Cell("harpg", "classic/pendulum", "trajectories", "sync", ("agent.ascent.lr=1e-6",)),  # steps are as large as returns
    Cell("reinforce", "classic/cartpole", "trajectories", "sync", ("env.num=3", "agent/normalize=running")),
    Cell("pois", "classic/cartpole", "truncated", "sync", ("agent.ascent.weights=decision",)),
    Cell("ppo", "toy/deep_sea", "rollout", "sync", ("agent/intrinsic=lpo",)),
    Cell("ppo", "toy/door_key", "rollout", "async", ("agent/intrinsic=annotated_ranking",)),
    Cell("btr", "minatar/breakout", "prioritized", "sync", ("agent.torso.pool=2", *SPECTRAL)),
    Cell("ravl", "classic/pendulum", "stored_model", "sync", ("replay.real=0.2", *IMAGINED), starts_from=PLAYER),
    Cell("r2d2", "classic/cartpole_positions", "mixed_sequences", "async", (*STORED, *WIDTH), starts_from=REMEMBERED),
    Cell("dqn", "classic/cartpole_positions", "stored_sequences", "sync", ("agent/core=gru", *WIDTH, *STORED), starts_from=REMEMBERED),
    Cell("r2d2_iiqn", "classic/cartpole_positions", "recurrent_prioritized", "sync", (*STORED, *WIDTH)),
    Cell("sac", "parts/marks_continuous", "recurrent", "async", ("agent/core=gru", *WIDTH, *STORED)),
]
