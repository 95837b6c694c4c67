"""A contestant: plain PyTorch, made fast in the way that LeanRL showed: `torch.compile` of the update with its optimizers, and of the
policy, and on a GPU one CUDA graph of what that gives. Replay, noise and optimizers are on the device, and an update draws its batch there.

    python -m benchmarks.speed.lean_torch update td3|sac|dqn|dqn_nature WARM_UP [cpu|cuda]
    python -m benchmarks.speed.lean_torch loop td3|sac WARM_UP [cpu|cuda]

`update` is the update alone, `loop` acts in HalfCheetah, stores and updates, once a step. Networks and batches are those of the presets:
256-256 and batch 256 on HalfCheetah's shapes, MinAtar's convolution, the Nature network.
"""

from __future__ import annotations

import copy
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.gate import Gate

OBSERVATION, ACTION, WIDTH, DISCOUNT, TAU, LR = 17, 6, 256, 0.99, 0.005, 3e-4
ROWS, SYNC = 2000, 1000
"""Rows of the replay; DQN's updates between two copies of the target network"""
Update = Callable[[], None]
Act = Callable[[Tensor], Tensor]
"""(1, OBSERVATION) -> (1, ACTION)"""


class MLP(nn.Module):
    """A stack of multilayer perceptrons, (B, in) -> (stack, B, out)."""

    def __init__(self, *sizes: int, stack: int = 1):
        super().__init__()
        pairs = list(itertools.pairwise(sizes))
        self.weights = nn.ParameterList([(torch.rand(stack, a, b) * 2 - 1) / math.sqrt(a) for a, b in pairs])
        self.biases = nn.ParameterList([torch.zeros(stack, 1, b) for _, b in pairs])
        self.stack = stack

    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(self.stack, *x.shape[-2:])
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            x = torch.baddbmm(bias, x, weight)
            if i + 1 < len(self.weights):
                x = x.relu()
        return x


class Rows(NamedTuple):
    """A replay, or a batch of it."""

    obs: Tensor
    action: Tensor
    reward: Tensor
    after: Tensor

    def draw(self, size: int) -> Rows:
        index = torch.randint(ROWS, (size,), device=self.obs.device)
        return Rows(*(column[index] for column in self))

    def store(self, place: int, *values: Any) -> None:
        for column, value in zip(self, values):
            column[place] = torch.as_tensor(value, dtype=column.dtype)


class Learner(NamedTuple):
    """Rows, and functions that read them."""

    rows: Rows
    updates: list[Update]
    """The last one of two takes its turn after some updates: TD3's delayed one in place of the other, DQN's copy of the target after it"""
    act: Act | None = None


def adam(parameters: Iterator[nn.Parameter], device: str) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=LR, capturable=device == "cuda")


def descend(optimizer: torch.optim.Adam, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module) -> None:
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), TAU)


def vectors(device: str) -> Rows:
    shapes = ((OBSERVATION,), (ACTION,), (), (OBSERVATION,))
    return Rows(*(torch.randn(ROWS, *shape, device=device).clamp(-1, 1) for shape in shapes))


def twins(device: str) -> tuple[nn.Module, nn.Module]:
    """Two critics and their targets."""
    critic = MLP(OBSERVATION + ACTION, WIDTH, WIDTH, 1, stack=2).to(device)
    return critic, copy.deepcopy(critic)


def td3(device: str) -> Learner:
    rows, (critic, target_critic) = vectors(device), twins(device)
    actor = MLP(OBSERVATION, WIDTH, WIDTH, ACTION).to(device)
    target_actor = copy.deepcopy(actor)
    critic_adam, actor_adam = adam(critic.parameters(), device), adam(actor.parameters(), device)

    def update(delayed: bool) -> None:
        batch = rows.draw(256)
        with torch.no_grad():
            noise = (0.2 * torch.randn_like(batch.action)).clamp(-0.5, 0.5)
            action = (target_actor(batch.after)[0].tanh() + noise).clamp(-1, 1)
            value = target_critic(torch.cat([batch.after, action], -1)).amin(0).squeeze(-1)
            goal = batch.reward + DISCOUNT * value
        found = critic(torch.cat([batch.obs, batch.action], -1)).squeeze(-1)
        descend(critic_adam, (found - goal).square().mean(-1).sum())
        if delayed:
            action = actor(batch.obs)[0].tanh()
            descend(actor_adam, -critic(torch.cat([batch.obs, action], -1))[0].mean())
            follow(target_actor, actor)
            follow(target_critic, critic)

    @torch.no_grad()
    def act(obs: Tensor) -> Tensor:
        return (actor(obs)[0].tanh() + 0.1 * torch.randn(1, ACTION, device=device)).clamp(-1, 1)

    return Learner(rows, [lambda: update(False), lambda: update(True)], act)


def sac(device: str) -> Learner:
    rows, (critic, target) = vectors(device), twins(device)
    actor = MLP(OBSERVATION, WIDTH, WIDTH, 2 * ACTION).to(device)
    log_alpha = nn.Parameter(torch.zeros((), device=device))
    critic_adam, actor_adam, alpha_adam = (adam(each, device) for each in (critic.parameters(), actor.parameters(), iter([log_alpha])))

    def sample(obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = actor(obs)[0].chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        noise = torch.randn_like(mean)
        u = mean + log_std.exp() * noise
        log_prob = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi) - 2 * (math.log(2) - u - F.softplus(-2 * u))
        return u.tanh(), log_prob.sum(-1)

    def update() -> None:
        batch, alpha = rows.draw(256), log_alpha.detach().exp()
        with torch.no_grad():
            action, log_prob = sample(batch.after)
            value = target(torch.cat([batch.after, action], -1)).amin(0).squeeze(-1)
            goal = batch.reward + DISCOUNT * (value - alpha * log_prob)
        found = critic(torch.cat([batch.obs, batch.action], -1)).squeeze(-1)
        descend(critic_adam, (found - goal).square().mean(-1).sum())
        action, log_prob = sample(batch.obs)
        descend(actor_adam, (alpha * log_prob - critic(torch.cat([batch.obs, action], -1)).amin(0).squeeze(-1)).mean())
        descend(alpha_adam, (log_alpha * (ACTION - log_prob.detach())).mean())
        follow(target, critic)

    @torch.no_grad()
    def act(obs: Tensor) -> Tensor:
        return sample(obs)[0]

    return Learner(rows, [update], act)


def dqn(device: str, online: nn.Module, shape: tuple[int, ...], actions: int) -> Learner:
    images = [torch.randint(256, (ROWS, *shape), dtype=torch.uint8, device=device) for _ in range(2)]
    rows = Rows(images[0], torch.randint(actions, (ROWS,), device=device), torch.randn(ROWS, device=device), images[1])
    online = online.to(device)
    target = copy.deepcopy(online)
    optimizer = adam(online.parameters(), device)

    def update() -> None:
        batch = rows.draw(32)
        with torch.no_grad():
            goal = batch.reward + DISCOUNT * target(batch.after.float() / 255).amax(-1)
        found = online(batch.obs.float() / 255).gather(-1, batch.action.unsqueeze(-1)).squeeze(-1)
        descend(optimizer, (found - goal).square().mean())

    @torch.no_grad()
    def sync() -> None:
        torch._foreach_copy_(list(target.parameters()), list(online.parameters()))

    return Learner(rows, [update, sync])


def minatar(device: str) -> Learner:
    layers = (nn.Conv2d(4, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 6))
    return dqn(device, nn.Sequential(*layers), (4, 10, 10), 6)


def nature(device: str) -> Learner:
    layers = (
        nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 6),
    )  # fmt: skip
    return dqn(device, nn.Sequential(*layers), (4, 84, 84), 6)


TASKS: dict[str, tuple[Callable[[str], Learner], int]] = {
    "td3": (td3, 2), "sac": (sac, 1), "dqn": (minatar, SYNC), "dqn_nature": (nature, SYNC),
}  # fmt: skip
"""Builder, and after how many updates the last one of two takes its turn"""


def captured(function: Callable[..., Any], device: str, *inputs: Tensor) -> Callable[[], Any]:
    """The compiled function of inputs at fixed places; on a GPU as one CUDA graph, whose result has a fixed place too."""
    compiled = torch.compile(function)
    if device != "cuda":
        return lambda: compiled(*inputs)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(5):
            compiled(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = compiled(*inputs)

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def turns(task: str, device: str) -> tuple[Learner, Callable[[int], None]]:
    """The learner, and the update of a number, counted from 1."""
    build, period = TASKS[task]
    learner = build(device)
    first, *last = [captured(update, device) for update in learner.updates]

    def update(number: int) -> None:
        turn = bool(last) and number % period == 0
        if not (turn and task == "td3"):
            first()
        if turn:
            last[0]()

    return learner, update


def loop(task: str, device: str, gate: Gate) -> None:
    import gymnasium as gym

    learner, update = turns(task, device)
    seen = torch.zeros(1, OBSERVATION, device=device)
    assert learner.act is not None
    act = captured(learner.act, device, seen)
    env = gym.make("HalfCheetah-v5")
    obs, _ = env.reset(seed=0)
    for i in itertools.count(1):
        seen.copy_(torch.as_tensor(obs, dtype=torch.float32).unsqueeze(0))
        action = act()[0].cpu().numpy()
        after, reward, terminated, truncated, _ = env.step(action)
        learner.rows.store(i % ROWS, obs, action, reward, after)
        obs = env.reset()[0] if terminated or truncated else after
        update(i)
        gate.passed()


def main() -> None:
    kind, task, warm_up, device = sys.argv[1], sys.argv[2], int(sys.argv[3]), (sys.argv[4:] or ["cpu"])[0]
    torch.manual_seed(0)
    gate = Gate(warm_up, torch.cuda.synchronize if device == "cuda" else None)
    if kind == "loop":
        loop(task, device, gate)
    _, update = turns(task, device)
    for i in itertools.count(1):
        update(i)
        gate.passed()


if __name__ == "__main__":
    main()
