"""A contestant: PPO of rejax, with gymnax's CartPole in the compiled graph, of the sizes that ours has.

    python -m benchmarks.speed.jax_rejax NUM LENGTH MINIBATCHES WARM_UP

In an environment of its own: pip install rejax "gymnax<1". Policy and value are 64-64 with tanh each, four passes, and each has an Adam of
its own; the value has its clip. There are no evaluations, logs or checkpoints. Truncated episodes are not bootstrapped, and V(s') is never
computed but at the end of a rollout, which is one pass of two networks less than ours. A unit is an environment step; compiling belongs to
the warm-up.
"""

from __future__ import annotations

import sys

import jax
from rejax import PPO

from benchmarks.speed.gate import Gate


def main() -> None:
    num, length, minibatches, warm_up = (int(word) for word in sys.argv[1:])
    algorithm = PPO.create(
        env="CartPole-v1", num_envs=num, num_steps=length, num_epochs=4, num_minibatches=minibatches, learning_rate=1e-3,
        max_grad_norm=0.5, agent_kwargs={"hidden_layer_sizes": (64, 64), "activation": "tanh"},
    )  # fmt: skip
    iteration = jax.jit(algorithm.train_iteration, donate_argnums=0)
    state = jax.jit(algorithm.init_state)(jax.random.key(0))
    gate = Gate(warm_up)
    while True:
        state = jax.block_until_ready(iteration(state))
        gate.passed(num * length)


if __name__ == "__main__":
    main()
