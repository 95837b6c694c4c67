"""The critics that serve an actor: their value of a pair (observation, action), at the cost of these critics alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from deeprl.learning.networks.blocks import Block, has_statistics
from deeprl.learning.networks.critics import Critics, ensemble_returns
from deeprl.learning.networks.value_network import Trunk, ValueNetwork
from deeprl.learning.parts.chains import Chain
from deeprl.learning.values.reduce import Reduction
from deeprl.learning.values.returns import Returns
from deeprl.types import Batch, NetworkNoise, Noise


class ActorValue:
    """Q(s, π(s)) for the actor's loss: the value of the iteration k that `acting` chooses, or the mean over k.

    Args:
        critics: builder of the critics.
        chain: holds them.
        reduce: reduction of an ensemble to one value.

    Raises:
        ValueError: the chain has no target network, or its rule of acting is of discrete agents alone.
    """

    def __init__(self, critics: Critics, chain: Chain, reduce: Reduction):
        self.ensemble, self.chain, self.reduce = critics.ensemble, chain, reduce
        if chain.anchors:
            raise ValueError(
                "chain=iterated_shared has no target network, which critics that serve an actor need: take another agent/chain"
            )
        if chain.length > 1:
            chain.rule.iteration(torch.zeros((), dtype=torch.float64))  # refuses rules of acting that only discrete agents have
        self.subset = self.subset_for(critics)

    def subset_for(self, critics: Critics) -> CriticSubset | None:
        """Evaluation of the critics that serve the actor; None if all of them do, or if the iterations share layers."""
        chain = self.chain
        iterations = 1 if chain.rule.serves_one else chain.length
        each = 1 if self.reduce.first_only else self.ensemble
        everything = (iterations, each) == (chain.length, self.ensemble) or chain.torsos < chain.length
        torso = chain.online.torso
        whole = has_statistics(torso) or chain.online.core is not None  # statistics and states are of the whole stack
        if everything or whole:
            return None
        single = replace(critics, ensemble=1, beside=lambda *_: None)  # one critic is one stack entry of the template
        n = iterations * each
        return CriticSubset(single("actor", stack=n, torsos=n, trunk=isinstance(torso, Trunk)), each)

    def __call__(self, x: Tensor, noise: Noise, taken: Batch | None = None) -> Tensor:
        """Values (*B,) of pairs (*B, S + D), with the random numbers of an update.

        Args:
            taken: with a core, the batch with the pairs that were played, which it remembers.
        """
        chain, online = self.chain, self.chain.online
        k = chain.rule.iteration(noise["iteration"]) if chain.length > 1 else None
        if self.subset is None:
            values = online(x, noise["critic"]) if taken is None else online.other(online.unrolled(taken), x, noise["critic"])
            value = self.reduce(ensemble_returns(values, self.ensemble), noise["actor_reduce"]).mean()  # (K, *B)
            return value.mean(0) if k is None else value.index_select(0, k)[0]
        entries = serving(k, chain.length, self.ensemble, self.reduce.first_only)
        return self.reduce(self.subset(online, entries, x, noise["critic"]), noise["actor_reduce"]).mean().mean(0)

    def typical(self, x: Tensor) -> Tensor:
        """Values (M,) of pairs (M, S + D) in evaluation."""
        return self.chain.rule.typical(self.reduce(ensemble_returns(self.chain.online(x), self.ensemble), {}).mean())


class Reading(nn.Module):
    """Module that evaluates a network's critics and takes their returns. Both happen within one `functional_call`, because an implicit head
    reads its weights only in `expect`."""

    def __init__(self, network: ValueNetwork, ensemble: int):
        super().__init__()
        self.network, self.ensemble = network, ensemble

    def forward(self, x: Tensor, noise: NetworkNoise) -> Returns:
        return ensemble_returns(self.network(x, noise), self.ensemble)


class CriticSubset:
    """Evaluation of some critics of an ensemble alone, because the others cost time: TD3 makes 6 % and i-TD3 with K = 3 makes 18 % more
    updates a second than with an evaluation of all (`python -m benchmarks.speed actor_critic_cost`).

    Args:
        template: a network of as many critics; only its structure is used, never its weights.
        ensemble: how many of them belong to one iteration.
    """

    def __init__(self, template: ValueNetwork, ensemble: int):
        self.names = {name for name, _ in template.named_parameters()}
        blocks = [(place, block) for place, block in template.named_modules() if isinstance(block, Block)]
        self.followers = {f"{place}.{name}".removeprefix(".") for place, block in blocks for name in block.followers}
        """Buffers with a stack axis, see `Block.carry`"""
        self.reading = Reading(template, ensemble).to("meta")

    def __call__(self, network: ValueNetwork, entries: Tensor | slice, x: Tensor, noise: NetworkNoise) -> Returns:
        """Returns of these critics, atoms (K', E', *B, N).

        Args:
            network: with all critics.
            entries: of the stack axis.
            x: (*B, S + D)
        """
        parameters = {name: parameter[entries] for name, parameter in network.named_parameters() if name in self.names}
        buffers = {name: buffer[entries] if name in self.followers else buffer for name, buffer in network.named_buffers()}
        noise = noise._replace(layers={name: numbers[entries] for name, numbers in noise.layers.items()})
        return functional_call(self.reading, {f"network.{name}": tensor for name, tensor in (parameters | buffers).items()}, (x, noise))


def serving(k: Tensor | None, length: int, ensemble: int, first_only: bool) -> Tensor | slice:
    """Entries of the stack of K·E critics that serve an actor, iteration by iteration.

    Args:
        k: (1,) int64 the iteration that serves; None: all.
        length, ensemble: K and E.
        first_only: only the first critic of an iteration serves.
    """
    each = slice(None, None, ensemble) if first_only else slice(None)  # of one iteration, or of the stack
    if k is None:
        return each
    entries = torch.arange(length * ensemble, device=k.device).unflatten(0, (length, ensemble))
    return entries.index_select(0, k)[0, each]
