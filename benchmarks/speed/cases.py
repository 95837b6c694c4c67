"""What races against what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.speed.contrib import POSITIONS


@dataclass(frozen=True)
class Contestant:
    name: str
    command: tuple[str, ...]
    peer: bool = False


@dataclass(frozen=True)
class Case:
    name: str
    what: str
    unit: str
    slice: int
    """units in a turn"""
    base: str
    """whose rate is one"""
    contestants: Callable[[int], list[Contestant]]
    threads: tuple[int, ...] = (1, 2)


def ours(name: str, kind: str, warm_up: int, overrides: str) -> Callable[[int], Contestant]:
    def make(threads: int) -> Contestant:
        return Contestant(name, ("benchmarks.speed.ours", kind, str(warm_up), *overrides.split(), f"runtime.threads={threads}"))

    return make


def peer(name: str, warm_up: int, task: str) -> Callable[[int], Contestant]:
    return lambda threads: Contestant(name.upper(), ("benchmarks.speed.peers", name, task, str(warm_up)), peer=True)


def floor(overrides: str, kind: str = "update") -> Callable[[int], Contestant]:
    name, warm_up = ("products alone", "20") if kind == "update" else ("products, environment", "200")
    return lambda threads: Contestant(name, ("benchmarks.speed.floor", kind, warm_up, *overrides.split(), f"runtime.threads={threads}"))


def jax_td3(threads: int) -> Contestant:
    return Contestant("JAX", ("benchmarks.speed.jax_td3", "100", "17", "6"), peer=True)


MODES = ("reference", "fast", "compiled")

CASES: dict[str, Case] = {}


def case(name: str, what: str, unit: str, slice: int, base: str, *makers, threads: tuple[int, ...] = (1, 2)) -> None:
    CASES[name] = Case(name, what, unit, slice, base, lambda count: [make(count) for make in makers], threads)


def updates(name: str, what: str, slice: int, overrides: str, *more, kind: str = "update", threads: tuple[int, ...] = (1, 2)) -> None:
    """Our three modes against the products of the same update."""
    modes = [ours(mode, kind, 50, f"{overrides} accelerate={mode}") for mode in MODES]
    case(name, what, "updates", slice, "products alone", *modes, floor(overrides), *more, threads=threads)


def loops(name: str, what: str, slice: int, base: str, overrides: str, task: str, *peers: str, threads: tuple[int, ...] = (1, 2)) -> None:
    """Whole runs, ours and the peers', and the least that any of them has to do. Nobody is measured before step 1,500."""
    overrides += " replay.learning_starts=1000 steps=10000000"
    modes = [ours(f"deeprl, {mode}", "loop", 1500, f"{overrides} accelerate={mode}") for mode in MODES[1:]]
    others = [peer(library, 1500, task) for library in peers]
    case(name, what, "steps", slice, base, *modes, floor(overrides, "loop"), *others, threads=threads)


MINATAR = "env=minatar/breakout replay.capacity=100000"
FLAT = f"{MINATAR} agent/torso=mlp agent.torso.hidden=[120,84]"
CARTPOLE = "agent=dqn env=classic/cartpole agent.torso.hidden=[120,84] replay.batch_size=128 replay.capacity=10000 replay.n_step=1"
ATARI = "agent=dqn env=atari/breakout env/protocol=nature agent/torso=nature agent.torso.padding=valid replay.capacity=20000"
TD3 = "agent=td3 env=mujoco/half_cheetah"

updates("td3_update", "TD3, HalfCheetah's shapes, 256x256, batch 256", 200, TD3, jax_td3)
updates("dqn_minatar", "DQN, MinAtar's convolution, batch 32", 500, f"agent=dqn {MINATAR}", threads=(1,))
updates("dqn_cartpole", "DQN, 4-120-84-2, batch 128", 1000, CARTPOLE, threads=(1,))
updates("dqn_atari", "DQN, Nature network without padding, batch 32", 30, ATARI)
PRIORITIZED = f"agent=dqn {MINATAR} replay=prioritized"
updates("prioritized", "DQN on MinAtar, prioritised, sampling included", 500, PRIORITIZED, kind="learn", threads=(1,))

R2D2 = "agent=r2d2 env=classic/cartpole_positions replay.batch_size=32 replay.capacity=10000 agent.core.width=64"
for length, burn_in in ((16, 8), (80, 40)):
    modes = MODES if length <= 32 else MODES[:2]  # a longer unroll compiles for minutes
    words = f"{R2D2} replay.length={length} replay.burn_in={burn_in}"
    case(
        f"r2d2_update_{length}", f"R2D2, LSTM of 64, {burn_in} rows of burn-in and {length}, batch 32", "updates", 20, "products alone",
        *(ours(mode, "update", 10, f"{words} accelerate={mode}") for mode in modes), floor(words), threads=(1,),
    )  # fmt: skip

SEPARATE = f"agent=idqn {MINATAR} agent/torso=mlp agent.torso.hidden=[128] agent.chain.torso=separate"
CHAINS = [
    ours(f"K = {k}, {mode}", "update", 50, f"{SEPARATE} agent.chain.length={k} accelerate={mode}") for k in (1, 5) for mode in MODES[1:]
]
case("idqn", "i-DQN on flat MinAtar, separate networks 400-128-6, batch 32", "updates", 500, "K = 1, fast", *CHAINS, threads=(1,))

loops(
    "td3_loop", "TD3 on HalfCheetah-v5, everything on: 10 episodes of evaluation every 5,000 steps", 1000, "SBX", TD3, "td3", "sbx", "sb3"
)
loops(
    "atari_loop",
    "DQN on Breakout, Nature network, batch 32, an update every 4 steps",
    400,
    "SB3",
    f"{ATARI} replay.ratio=0.25",
    "atari",
    "sb3",
)
SAC, TQC = "agent=sac env=mujoco/half_cheetah", "agent=tqc env=mujoco/half_cheetah agent.reduce.drop=2"
CRITICS = "critics of 512-512-512 with 25 quantiles, as td3_loop"
loops("sac_loop", "SAC on HalfCheetah-v5, everything on, as td3_loop", 1000, "SBX", SAC, "sac", "sbx", "sb3")
loops("tqc_loop", f"TQC on HalfCheetah-v5, 5 {CRITICS}", 100, "SB3", TQC, "tqc", "sb3", threads=(2,))
loops(  # SBX builds two critics, whatever it is asked for
    "tqc_two_loop", f"TQC on HalfCheetah-v5, 2 {CRITICS}", 100, "SB3", f"{TQC} agent.ensemble=2", "tqc_two", "sbx", "sb3", threads=(2,),
)  # fmt: skip
COSTS = {
    "TD3": TD3,
    "SAC": SAC,
    "i-TD3, K = 3": f"agent=itd3 agent.chain.length=3 {TD3.removeprefix('agent=td3 ')}",
    "i-SAC, K = 3": f"agent=isac agent.chain.length=3 {SAC.removeprefix('agent=sac ')}",
    # what an actor would cost that evaluates every critic: why `CriticSubset` is there
    "TD3, all to the actor": f"{TD3} agent/reduce@agent.actor_reduce=minimum",
    "i-TD3, all to the actor": f"agent=itd3 agent.chain.length=3 agent.chain.acting=mean agent/reduce@agent.actor_reduce=minimum "
    f"{TD3.removeprefix('agent=td3 ')}",
    "TD3, 25 quantiles": f"{TD3} agent/head=quantile agent.head.quantiles=25",
    "TD3, 51 categories": f"{TD3} agent/head=categorical",
}
case(
    "actor_critic_cost", "updates of the continuous family beside TD3's, compiled, batch 256", "updates", 200, "TD3",
    *(ours(name, "update", 50, f"{words} accelerate=compiled") for name, words in COSTS.items()), threads=(1,),
)  # fmt: skip
ALWAYS = "replay.ratio=1 evaluation.every=null"
loops(
    "minatar_loop", "DQN on MinAtar Breakout, convolution, batch 32, an update every step", 2000, "SB3",
    f"agent=dqn {MINATAR} {ALWAYS}", "minatar", "sb3", "sb3+flush", threads=(1,),
)  # fmt: skip
loops(
    "minatar_mlp_loop", "DQN on MinAtar Breakout, MLP 120-84, batch 32, an update every step", 2000, "SB3",
    f"agent=dqn {FLAT} {ALWAYS}", "minatar_mlp", "sb3", "sb3+flush", "sbx", threads=(1,),
)  # fmt: skip
loops(
    "cartpole_loop", "DQN on CartPole, MLP 120-84, batch 128, an update every 10 steps", 10_000, "SB3",
    f"{CARTPOLE} replay.ratio=0.1 evaluation.every=null", "cartpole", "sb3", "sbx", threads=(1,),
)  # fmt: skip


def rollouts(name: str, what: str, slice: int, base: str, overrides: str, *others: Callable[[int], Contestant]) -> None:
    """Whole runs of agents that learn from rollouts: a slice is several rollouts with their updates."""
    modes = [ours(f"deeprl, {mode}", "loop", slice, f"{overrides} steps=10000000 accelerate={mode}") for mode in MODES[1:]]
    case(name, what, "steps", slice, base, *modes, *others, threads=(1,))


def rejax(num: int, minibatches: int, warm_up: int) -> Callable[[int], Contestant]:
    command = ("benchmarks.speed.jax_rejax", str(num), "32", str(minibatches), str(warm_up))
    return lambda threads: Contestant("REJAX", command, peer=True)


def worlds(name: str, what: str, slice: int, overrides: str, *others: Callable[[int], Contestant]) -> None:
    """Whole runs on tensor worlds beside what no loop can do without. A slice is several rollouts with their updates."""
    words = f"{overrides} evaluation.every=null steps=100000000"
    modes = [ours(f"deeprl, {mode}", "loop", 2 * slice, f"{words} accelerate={mode}") for mode in MODES[1:]]
    least = lambda threads: Contestant(  # noqa: E731
        "products, world", ("benchmarks.speed.floor", "rollouts", str(slice), *words.split(), f"runtime.threads={threads}")
    )
    case(name, what, "steps", slice, "products, world", *modes, least, *others, threads=(2,))


worlds(
    "ppo_cartpole_8", "PPO on Gymnasium's CartPole, 8 x 128 ticks, 4 passes of 4 updates", 1024 * 20,
    "agent=ppo env=classic/cartpole env.num=8", peer("sbx", 1024 * 40, "ppo_cartpole_8"),
)  # fmt: skip
for num, minibatches in ((64, 4), (1024, 16)):
    rollout = num * 32
    worlds(
        f"ppo_tensor_{num}", f"PPO on CartPole, {num} x 32 ticks, 4 passes of {minibatches} updates", rollout * (320 // num + 8),
        f"agent=ppo env=tensor/cartpole env.num={num} replay.minibatches={minibatches}", rejax(num, minibatches, rollout * 4),
    )  # fmt: skip
worlds(
    "pqn_tensor_breakout", "PQN on MinAtar's Breakout, 128 x 32 ticks, 2 passes of 32 updates", 4096 * 4,
    "agent=pqn env=tensor/minatar_breakout",
)  # fmt: skip


rollouts(
    "ppo_cartpole", "PPO on CartPole, 4 x 128 ticks, 4 passes of 4 updates", 512 * 20, "SBX",
    "agent=ppo env=classic/cartpole evaluation.every=null", peer("sb3", 512 * 20, "ppo_cartpole"), peer("sbx", 512 * 20, "ppo_cartpole"),
)  # fmt: skip
LSTM = (
    "agent=ppo agent/core=lstm agent.core.width=64 agent/torso=mlp agent.torso.hidden=[] agent.torso.head_hidden=[64] env.num=8 "
    "evaluation.every=null"
)
rollouts(
    "ppo_lstm_cartpole", "PPO with an LSTM of 64 each for policy and value on CartPole, 8 x 32 ticks, 20 passes of 1 update", 256 * 5,
    "SB3-CONTRIB", f"{LSTM} env=classic/cartpole replay.length=32 replay.epochs=20 replay.minibatches=1",
    peer("sb3-contrib", 256 * 5, "cartpole"),
)  # fmt: skip
COLUMNS = f"{{path:deeprl.envs.classic.Columns,kwargs:{{visible:{POSITIONS}}}}}".replace(" ", "")
rollouts(
    "ppo_lstm_cheetah", "the same on HalfCheetah-v5 without its velocities, 8 x 32 ticks, 10 passes of 4 updates", 256 * 5, "SB3-CONTRIB",
    f"{LSTM} env=gym env.id=HalfCheetah-v5 env.wrappers=[{COLUMNS}] replay.length=32 replay.epochs=10 replay.minibatches=4",
    peer("sb3-contrib", 256 * 5, "cheetah"),
)  # fmt: skip
rollouts(
    "ppo_cheetah", "PPO on HalfCheetah-v5, 2,048 ticks, 10 passes of 32 updates", 2048 * 3, "SBX",
    "agent=ppo env=mujoco/half_cheetah evaluation.every=null", peer("sb3", 2048 * 3, "ppo_cheetah"), peer("sbx", 2048 * 3, "ppo_cheetah"),
)  # fmt: skip
rollouts(
    "pqn_atari", "PQN on Breakout, 8 x 128 ticks, 4 passes of 4 updates, Nature network with layer normalisation", 1024, "plain PyTorch",
    "agent=pqn env=atari/breakout env.num=8 env.vector=ale replay.length=128 replay.epochs=4 replay.minibatches=4 "
    "agent/torso=nature agent.torso.layer_norm=true agent.torso.padding=valid evaluation.every=null",
    lambda threads: Contestant("plain PyTorch", ("benchmarks.speed.plain_pqn", "1024")),
)  # fmt: skip

for task, words in (("cartpole", CARTPOLE), ("minatar", f"agent=dqn {MINATAR}")):
    # a line every 500 steps, as a run of 100,000 has it by default
    words += " replay.ratio=0.1 replay.learning_starts=1000 steps=10000000 evaluation.every=null checkpoint.every=null accelerate=fast"
    case(
        f"logging_{task}", "cost of progress, TensorBoard and metrics files, a line every 500 steps", "steps", 5000, "all off",
        ours("all off", "silent", 1500, words), ours("all on", "loop", 1500, f"{words} log.every=500"), threads=(1,),
    )  # fmt: skip
