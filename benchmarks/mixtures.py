"""A recurrent core that learns to predict bits of a source that changes, beside the exact Bayesian mixture of that source.

    python -m benchmarks.mixtures ptw lin static            trains a core on each, 20,000 updates, and prints nats a sequence
    python -m benchmarks.mixtures ptw --steps 2000 --seed 1
    python -m benchmarks.mixtures static --reset 8          memory is emptied before every 8th bit: exact is KT of those since
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
from deeprl_lab.mathematics.mixtures import kt, losses, sequence

FILE = Path(__file__).resolve().parent / "results" / "mixtures.json"
CORES: dict[str, CoreChoice] = {"lstm": LSTM(64), "gru": GRU(64)}
SOURCES = ("static", "ptw", "lin")
LENGTH, BATCH, TESTED = 32, 128, 2000
SETTINGS = ("core", "reset", "seed", "steps", "rate")
EXACT = {"static": "kt", "ptw": "ptw", "lin": "lin"}


class Predictor(nn.Module):
    """Core, ReLU, linear head: the logit of a 1."""

    def __init__(self, core: CoreChoice, seed: int):
        super().__init__()
        built = core.build(1, 1)
        assert built is not None
        self.core = built
        self.head = MLP(1, [self.core.features, 1], activate_last=False)
        initialise(self, seed, "predictor")
        self.requires_grad_()

    def forward(self, bits: Tensor, reset: int) -> Tensor:
        """bits (B, T) float -> logits of bits 1 … T − 1, (B, T − 1). The memory is emptied before every `reset`-th bit."""
        x = (2 * bits[:, :-1] - 1).T[None, :, :, None]
        first = (torch.arange(x.shape[1]) % reset == 0)[:, None].expand(x.shape[1:3])
        y, _ = unroll(self.core, x, self.core.start(len(bits)), first)
        return self.head(y.relu().flatten(1, 2)).reshape(x.shape[1:3]).T


def drawn(source: str, count: int, random: np.random.Generator) -> Tensor:
    return torch.from_numpy(np.stack([sequence(source, LENGTH, random)[0] for _ in range(count)])).float()


def trained(source: str, core: str, steps: int, seed: int, reset: int, rate: float) -> Predictor:
    torch.set_num_threads(1)
    random = np.random.default_rng([seed, 1])
    predictor = Predictor(CORES[core], seed)
    optimizer = torch.optim.Adam(predictor.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=rate / 10)
    for _ in range(steps):
        bits = drawn(source, BATCH, random)
        loss = F.binary_cross_entropy_with_logits(predictor(bits, reset), bits[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(predictor.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return predictor


def compared(predictor: Predictor, source: str, seed: int, reset: int) -> dict[str, float]:
    """Mean nats of a fresh sequence, without its first bit: of the network, of each exact predictor, and of the KT of the bits since the
    last reset."""
    bits = drawn(source, TESTED, np.random.default_rng([seed, 2]))
    with torch.no_grad():
        network = F.binary_cross_entropy_with_logits(predictor(bits, reset), bits[:, 1:], reduction="none").sum(1).mean()
    words = bits.long().numpy()
    exact = {name: losses(words, name)[:, 1:].sum(1).mean() for name in ("kt", "ptw", "lin")}
    return {"network": float(network), **{name: float(value) for name, value in exact.items()}, "since": since(words, reset)}


def since(words: np.ndarray, reset: int) -> float:
    """Mean nats of words (N, T) without their first bits, by the KT of the bits since the last reset. The bit
    that is read first after a reset is predicted by those before it."""
    found = 0.0
    for start in range(0, words.shape[1] - 1, reset):
        found -= (kt(words[:, start : start + reset + 1])[:, -1] - np.log(0.5)).mean()
    return float(found)


def table(rows: list[dict]) -> str:
    exact = ("kt", "ptw", "lin", "since")
    names = "".join(f"{name:>9}" for name in ("network", *exact))
    lines = [f"{'source':8}{'core':6}{'reset':>6}{'seed':>5}{'updates':>9}{'rate':>7}{names}  above exact"]
    for row in rows:
        above = row["network"] / row["since" if row["reset"] < LENGTH else EXACT[row["source"]]] - 1
        said = f"{row['source']:8}{row['core']:6}{row['reset']:>6}{row['seed']:>5}{row['steps']:>9,}{row['rate']:>7g}"
        lines.append(said + "".join(f"{row[name]:9.3f}" for name in ("network", *exact)) + f"  {above:+.2%}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", choices=[[], *SOURCES], default=[])
    parser.add_argument("--core", choices=CORES, default="lstm")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3, help="of Adam, which falls to a tenth")
    parser.add_argument(
        "--reset", type=int, default=LENGTH, help="bits until the memory is emptied; of the static source, whose optimum is known"
    )
    parser.add_argument("--table", action="store_true", help="print the stored rows")
    parser.add_argument("--keep", action="store_true", help="add the rows to the stored ones")
    options = parser.parse_args()
    stored = json.loads(FILE.read_text()) if FILE.exists() else []
    if options.table:
        print(table(stored))
        return
    rows = []
    sources = options.sources or SOURCES
    if options.reset < 1 or (options.reset < LENGTH and set(sources) != {"static"}):
        parser.error(f"--reset must be 1 or more, and below {LENGTH} the source static, not {options.reset} with {' '.join(sources)}")
    for source in sources:
        began = time.monotonic()
        predictor = trained(source, options.core, options.steps, options.seed, options.reset, options.rate)
        row = {"source": source, **{name: getattr(options, name) for name in SETTINGS}}
        rows.append({**row, **compared(predictor, source, options.seed, options.reset), "seconds": round(time.monotonic() - began)})
        print(table(rows[-1:]), flush=True)
    if options.keep:
        new = [[row[name] for name in ("source", *SETTINGS)] for row in rows]
        kept = [row for row in stored if [row[name] for name in ("source", *SETTINGS)] not in new]
        FILE.write_text(json.dumps([*kept, *rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
