"""Finds the model that the last local run pushed, for commands that are not told which."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["announce", "last_push", "meaning_of_probability", "probability_of", "pushes"]

OUTPUTS = Path("outputs")


def pushes(outputs: Path = OUTPUTS) -> list[Path]:
    """Returns the folders of versions that runs pushed to, the last push first.

    Args:
        outputs: the folder of outputs; one output of a run is taken as well.
    """
    newest: dict[Path, float] = {}
    for pattern in ("*/serving/*/[0-9]*", "serving/*/[0-9]*"):
        for version in outputs.glob(pattern):
            if version.name.isdigit():
                base, changed = version.parent, version.stat().st_mtime
                newest[base] = max(changed, newest.get(base, changed))
    return sorted(newest, key=lambda base: newest[base], reverse=True)


def last_push(outputs: Path = OUTPUTS) -> Path | None:
    """Returns the folder of versions in which the newest version lies; None without any."""
    return next(iter(pushes(outputs)), None)


def announce(chosen: Path, option: str, outputs: Path = OUTPUTS) -> None:
    """Says on standard error which model was taken for the last, if there are others.

    Args:
        chosen: the folder that was taken.
        option: how another one is named, with `{folder}` and `{model}` in it.
        outputs: where pushes are looked for.
    """
    others = [base for base in pushes(outputs) if base != chosen]
    if not others:
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    told = [f"using {chosen.name}, the last that was pushed; to use another:"]
    told += [f"  {option.format(folder=base, model=base.name)}" for base in others]
    console.print(Text("\n".join(told), style="dim"))


def probability_of(label: Mapping[str, Any]) -> str:
    """Turns a configuration's label into words: `that big_tip is true (tips > 0.2 * fare)`."""
    rule = f" ({label['expression']})" if label.get("expression") else ""
    return f"that {label['name']} is {label.get('positive', 'true')}{rule}"


def meaning_of_probability(base: Path) -> str:
    """Words what a binary model gives the probability of, as its run's record has it.

    Args:
        base: the folder of versions that a local run pushed to.

    Returns:
        See `probability_of`; empty if no run is on record.
    """
    try:
        runs = json.loads((base / "ledger.json").read_text())["versions"]
        folder = base.parents[1] / "runs" / str(runs[-1]["run_id"])
        config = json.loads((folder / "summary.json").read_text())["record"]["config"]
        label = config["label"]
        return probability_of(label)
    except (OSError, ValueError, LookupError, TypeError):
        return ""
