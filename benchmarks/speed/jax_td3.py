"""A contestant: one TD3 update in JAX, jitted with donated state, as an expert would write it (float32, optax' Adam).

python -m benchmarks.speed.jax_td3 WARM_UP OBSERVATION ACTION
"""

from __future__ import annotations

import itertools
import sys
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.speed.gate import Gate

BATCH, WIDTH, DISCOUNT, TAU, SMOOTHING, CLIP, LR = 256, 256, 0.99, 0.005, 0.2, 0.5, 3e-4
adam = optax.adam(LR)


class State(NamedTuple):
    actor: list
    critic: list
    target_actor: list
    target_critic: list
    actor_adam: optax.OptState
    critic_adam: optax.OptState


def network(key, sizes: tuple[int, ...], stack: tuple[int, ...] = ()) -> list:
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        key, one, two = jax.random.split(key, 3)
        bound = inputs**-0.5
        weight = jax.random.uniform(one, (*stack, inputs, outputs), minval=-bound, maxval=bound)
        layers.append((weight, jax.random.uniform(two, (*stack, 1, outputs), minval=-bound, maxval=bound)))
    return layers


def run(layers: list, x):
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def policy(actor, obs):
    return jnp.tanh(run(actor, obs))


def q(critic, obs, action):
    """(2, B)"""
    return run(critic, jnp.concatenate([obs, action], -1))[..., 0]


def critic_loss(critic, state: State, batch):
    obs, action, reward, discount, after, noise = batch
    smoothed = jnp.clip(policy(state.target_actor, after) + jnp.clip(SMOOTHING * noise, -CLIP, CLIP), -1, 1)
    goal = reward + discount * q(state.target_critic, after, smoothed).min(0)
    return jnp.square(q(critic, obs, action) - jax.lax.stop_gradient(goal)).mean(-1).sum()


def actor_loss(actor, critic, obs):
    first = [(weight[0], bias[0]) for weight, bias in critic]
    return -run(first, jnp.concatenate([obs, policy(actor, obs)], -1)).mean()


@partial(jax.jit, static_argnums=2, donate_argnums=0)
def update(state: State, batch, delayed: bool) -> State:
    gradients = jax.grad(critic_loss)(state.critic, state, batch)
    changes, critic_adam = adam.update(gradients, state.critic_adam)
    critic = optax.apply_updates(state.critic, changes)
    state = state._replace(critic=critic, critic_adam=critic_adam)
    if not delayed:
        return state
    gradients = jax.grad(actor_loss)(state.actor, critic, batch[0])
    changes, actor_adam = adam.update(gradients, state.actor_adam)
    actor = optax.apply_updates(state.actor, changes)
    slow = partial(jax.tree.map, lambda old, new: old + TAU * (new - old))
    return State(actor, critic, slow(state.target_actor, actor), slow(state.target_critic, critic), actor_adam, critic_adam)


def main() -> None:
    warm_up, obs, action = map(int, sys.argv[1:])
    actor = network(jax.random.key(0), (obs, WIDTH, WIDTH, action))
    critic = network(jax.random.key(1), (obs + action, WIDTH, WIDTH, 1), (2,))
    copy = partial(jax.tree.map, jnp.copy)
    state = State(actor, critic, copy(actor), copy(critic), adam.init(actor), adam.init(critic))
    random = np.random.default_rng(0)
    shapes = ((obs,), (action,), (), (), (obs,), (action,))
    numbers = [[random.normal(size=(BATCH, *shape)).astype(np.float32) for shape in shapes] for _ in range(8)]
    at_hand = itertools.cycle([tuple(map(jnp.asarray, each)) for each in numbers])
    waits = jax.default_backend() == "cpu"  # a GPU computes while the host launches
    gate = Gate(warm_up, lambda: jax.block_until_ready(state))
    for i in itertools.count(1):
        state = update(state, next(at_hand), i % 2 == 0)
        if waits:
            jax.block_until_ready(state)
        gate.passed()


if __name__ == "__main__":
    main()
