"""What stands beside a policy that is handed on: which run it is of, what it scored, and how it is used."""

from __future__ import annotations

import json
import shlex
from typing import Any

import torch

from deeprl.running.config.trust import argument_of_trust, words_of_trust
from deeprl.running.session.run import Run
from deeprl.system.strict_json import JsonObject


def card(run: Run, system: list[Any], file_name: str) -> str:
    """Markdown.

    Args:
        system: the starts of the run, from system.json.
        file_name: of the archive.
    """
    names, config = run.config["names"], run.config
    rows = {
        "agent": names["agent"],
        "environment": names["env"],
        "experiment": names.get("experiment", "none"),
        "step of the weights": f"{run.step:,} of {config['steps']:,}",
        "seed": config["seed"],
        "parameters": f"{sum(p.numel() for p in run.agent.parameters()):,}",
        **{f"{name} evaluation": scored(run.summary[name]) for name in ("final", "best") if run.summary},
        "made with": made_with(system),
    }
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    file, allow, argument = shlex.quote(file_name), words_of_trust(config), argument_of_trust(config)
    return f"""# {names["agent"]} on {names["env"]}

A policy that deeprl has trained. `config.yaml` has every setting of the run; there is no code in this archive.

| | |
|---|---|
{table}

```bash
deeprl eval {file}{allow}
deeprl unpack {file} FOLDER    # a run folder: deeprl record FOLDER{allow} films it, init_from=FOLDER trains on
```

```python
run = deeprl.load({json.dumps(file_name)}{argument})
action = run.act(observation)  # greedy
```
"""


def scored(found: JsonObject) -> str:
    return f"{found['mean']:.1f} ± {found.get('std', 0.0):.1f} over {found.get('episodes', 1)} episodes, step {found.get('step', 0):,}"


def made_with(system: list[Any]) -> str:
    """Versions of the last start; those of now where the run has no record."""
    packages = (system[-1].get("packages") if system and isinstance(system[-1], dict) else None) or {"torch": torch.__version__}
    return ", ".join(f"{name} {version}" for name, version in packages.items())
