"""A recurrent core that learns to predict bits of a source that changes, beside the exact Bayesian mixture of that source.

    python -m benchmarks.mixtures ptw lin static            trains a core on each, 20,000 updates, and prints nats a sequence
    python -m benchmarks.mixtures ptw --steps 2000 --seed 1
    python -m benchmarks.mixtures --table                   the stored rows

The network sees the bits before, and its loss is the mean of −ln P of all bits but the first, which no predictor can know. Exact are the
predictors KT (static), PTW and LIN of `deeprl_lab.mathematics.mixtures`, on the same fresh sequences.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.cores import GRU, LSTM, CoreChoice, unroll
from deeprl.learning.networks.mlp import MLP
from deeprl_lab.mathematics.mixtures import losses, sequence

FILE = Path(__file__).resolve().parent / "results" / "mixtures.json"
CORES: dict[str, CoreChoice] = {"lstm": LSTM(64), "gru": GRU(64)}
SOURCES = ("static", "ptw", "lin")
LENGTH, BATCH, TESTED = 32, 128, 2000
EXACT = {"static": "kt", "ptw": "ptw", "lin": "lin"}


class Predictor(nn.Module):
    """Core, ReLU, linear head: the logit of a 1."""

    def __init__(self, core: CoreChoice, seed: int):
        super().__init__()
        self.core = core.build(1, 1)
        self.head = MLP(1, [self.core.features, 1], activate_last=False)
        initialise(self, seed, "predictor")
        self.requires_grad_()

    def forward(self, bits: Tensor) -> Tensor:
        """bits (B, T) float -> logits of bits 1 … T − 1, (B, T − 1)."""
        x = (2 * bits[:, :-1] - 1).T[None, :, :, None]
        y, _ = unroll(self.core, x, self.core.start(len(bits)), torch.zeros(x.shape[1:3], dtype=torch.bool))
        return self.head(y.relu().flatten(1, 2)).reshape(x.shape[1:3]).T


def drawn(source: str, count: int, random: np.random.Generator) -> Tensor:
    return torch.from_numpy(np.stack([sequence(source, LENGTH, random)[0] for _ in range(count)])).float()


def trained(source: str, core: str, steps: int, seed: int) -> Predictor:
    torch.set_num_threads(1)
    random = np.random.default_rng([seed, 1])
    predictor = Predictor(CORES[core], seed)
    optimizer = torch.optim.Adam(predictor.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-4)
    for _ in range(steps):
        bits = drawn(source, BATCH, random)
        loss = F.binary_cross_entropy_with_logits(predictor(bits), bits[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(predictor.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return predictor


def compared(predictor: Predictor, source: str, seed: int) -> dict[str, float]:
    """Mean nats of a fresh sequence, without its first bit: of the network, and of each exact predictor."""
    bits = drawn(source, TESTED, np.random.default_rng([seed, 2]))
    with torch.no_grad():
        network = F.binary_cross_entropy_with_logits(predictor(bits), bits[:, 1:], reduction="none").sum(1).mean()
    exact = {name: np.mean([losses(word, name)[1:].sum() for word in bits.long().numpy()]) for name in ("kt", "ptw", "lin")}
    return {"network": float(network), **{name: float(value) for name, value in exact.items()}}


def table(rows: list[dict]) -> str:
    lines = [f"{'source':8}{'core':6}{'seed':>5}{'updates':>9}{'network':>10}{'KT':>9}{'PTW':>9}{'LIN':>9}  above the exact one"]
    for row in rows:
        above = row["network"] / row[EXACT[row["source"]]] - 1
        cells = "".join(f"{row[name]:9.3f}" for name in ("kt", "ptw", "lin"))
        lines.append(f"{row['source']:8}{row['core']:6}{row['seed']:>5}{row['steps']:>9,}{row['network']:10.3f}{cells}  {above:+.1%}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", choices=[[], *SOURCES], default=[])
    parser.add_argument("--core", choices=CORES, default="lstm")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print the stored rows")
    parser.add_argument("--keep", action="store_true", help="add the rows to the stored ones")
    options = parser.parse_args()
    stored = json.loads(FILE.read_text()) if FILE.exists() else []
    if options.table:
        print(table(stored))
        return
    rows = []
    for source in options.sources or SOURCES:
        began = time.monotonic()
        predictor = trained(source, options.core, options.steps, options.seed)
        row = {"source": source, "core": options.core, "seed": options.seed, "steps": options.steps}
        rows.append({**row, **compared(predictor, source, options.seed), "seconds": round(time.monotonic() - began)})
        print(table(rows[-1:]), flush=True)
    if options.keep:
        names = ("source", "core", "seed", "steps")
        new = [tuple(row[name] for name in names) for row in rows]
        kept = [row for row in stored if tuple(row[name] for name in names) not in new]
        FILE.write_text(json.dumps([*kept, *rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
