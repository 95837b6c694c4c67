"""Our networks of normal weights beside those of the authors' library, pytagi: outputs, and weights after updates.

    ENV/bin/python -m benchmarks.tagi_oracle [--out FILE]

ENV is an environment of its own with numpy and pytagi==0.1.12 (0.2 needs a library of MPI). Networks of the same weights get the same
inputs, certain ones, and observations of the variance 4, 20 batches of 4. With a variance of 0.25, tried first, a large step of a bias
differs, which pytagi seems to cap. Confirmed, if no mean and no variance differs by more than 1e-4 of the largest number of its kind, in
float32 there and float64 here. Results: benchmarks/results/tagi_oracle.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from deeprl_lab.mathematics.tagi import BayesianLayer, IndependentNormal, backward, forward, observed

FILE = Path(__file__).parent / "results" / "tagi_oracle.json"
WIDTHS = (3, 16, 16, 2)
BATCHES, ROWS, NOISE = 20, 4, 4.0
WITHIN = 1e-4


def theirs(kinds: list[str]):
    """A network of pytagi, and its parts in order."""
    from pytagi.nn import Linear, ReLU, Sequential, Tanh

    layers, acts = [], {"tanh": Tanh, "relu": ReLU}
    for fan, out, kind in zip(WIDTHS[:-1], WIDTHS[1:], [*kinds, "identity"]):
        layers += [Linear(fan, out), *([acts[kind]()] if kind in acts else [])]
    found = Sequential(*layers)
    found.set_threads(1)
    return found


def weights(net, kinds: list[str]) -> list[BayesianLayer]:
    """The same layers in our form."""
    state, found = net.state_dict(), []
    for name, fan, kind in zip(sorted(state, key=lambda name: int(name.split(".")[-1])), WIDTHS, [*kinds, "identity"]):
        parts = [np.array(part, float) for part in state[name]]
        weight = IndependentNormal(*(part.reshape(-1, fan) for part in parts[:2]))
        found.append(BayesianLayer(weight, IndependentNormal(*parts[2:]), kind))
    return found


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Of two arrays, in units of the largest number."""
    return float(np.abs(one - other).max() / np.abs(one).max())


def compared(kinds: list[str]) -> dict[str, float]:
    """Largest differences of outputs and of weights, over all batches."""
    import pytagi
    from pytagi.nn import OutputUpdater

    pytagi.manual_seed(0)
    net, random = theirs(kinds), np.random.default_rng(0)
    ours, updater, found = weights(net, kinds), OutputUpdater(net.device), {"outputs": 0.0, "weights": 0.0}
    for _ in range(BATCHES):
        x, y = random.standard_normal((ROWS, WIDTHS[0])), random.standard_normal((ROWS, WIDTHS[-1]))
        outputs = [np.array(part).reshape(ROWS, -1) for part in net(x.astype(np.float32).flatten())]
        units = forward(ours, IndependentNormal(x, np.zeros_like(x)))
        found["outputs"] = max(found["outputs"], *(difference(mine, part) for mine, part in zip(units[-1].z, outputs)))
        variance = np.full(y.size, NOISE, np.float32)
        updater.update(net.output_z_buffer, y.astype(np.float32).flatten(), variance, net.input_delta_z_buffer)
        net.backward()
        net.step()
        ours, _ = backward(ours, units, observed(units[-1], y, NOISE))
        for mine, their in zip(ours, weights(net, kinds)):
            pairs = zip((*mine.weight, *mine.bias), (*their.weight, *their.bias))
            found["weights"] = max(found["weights"], *(difference(one, other) for one, other in pairs))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FILE)
    lines = [{"hidden": "-".join(kinds), **compared(kinds)} for kinds in (["relu", "relu"], ["tanh", "relu"], ["tanh", "tanh"])]
    parser.parse_args().out.write_text(json.dumps(lines, indent=1) + "\n")
    for line in lines:
        outputs, changed = float(line["outputs"]), float(line["weights"])
        verdict = "confirmed" if max(outputs, changed) <= WITHIN else "not confirmed"
        print(f"{line['hidden']}: outputs {outputs:.1e}, weights {changed:.1e}: {verdict}")


if __name__ == "__main__":
    main()
