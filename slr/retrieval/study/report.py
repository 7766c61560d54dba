"""A table and a picture of what a retrieval study found."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from signwave.plots.figure import new_figure, save_png
from signwave.rundir import atomic_write, environment, write_json
from slr.retrieval.evaluation.measured import DIRECTIONS, SHORT


def write(found: Mapping[str, Any], out: Path, name: str) -> str:
    """Write NAME.json, with the command and what it ran on, NAME.md and NAME.png; returns the table."""
    out.mkdir(parents=True, exist_ok=True)
    # As one types it in the repository, wherever that lies.
    script = "/".join(Path(sys.argv[0]).parts[-3:])
    document = {"command": shlex.join(["python", script, *sys.argv[1:]]), "environment": environment(), **found}
    write_json(out / f"{name}.json", document)
    text = table(found)
    atomic_write(out / f"{name}.md", text)
    picture(found, out / f"{name}.png")
    return text


def table(found: Mapping[str, Any]) -> str:
    """Markdown: R@1 of every condition by language, mean over seeds, and its difference to the reference's in one."""
    languages = list(next(iter(found["conditions"].values()))["mean"])
    columns = [f"{language} {SHORT[which]}" for language in languages for which in DIRECTIONS]
    reference = found["conditions"][found["reference"]]["label"]
    lines = [
        f"R@1 in %, mean of {len(found['seeds'])} seeds on the split {found['split']}; the last columns are the row "
        f"minus '{reference}' in {found['language']}, in points, with the 95 % interval over groups and p of a paired "
        "permutation.",
        "",
        f"| condition | {' | '.join(columns)} | difference, T2V | difference, V2T |",
        f"|---|{'---|' * (len(columns) + 2)}",
    ]
    for name, row in found["conditions"].items():
        cells = [
            f"{100 * row['mean'][language][which]['recall_at_1']:.1f}" for language in languages for which in DIRECTIONS
        ]
        tests = found["against_reference"].get(name)
        shown = [_difference(tests[which]) for which in DIRECTIONS] if tests else ["", ""]
        lines.append(f"| {row['label']} | {' | '.join([*cells, *shown])} |")
    spread = [f"{name}: {_spread(row)}" for name, row in found["conditions"].items() if _spread(row)]
    if spread:
        lines += [
            "",
            "Spread of ranks between languages, T2V (MRV, standard deviation; 0 is even): " + "; ".join(spread),
        ]
    lines.append("")
    return "\n".join(lines)


def picture(found: Mapping[str, Any], path: Path) -> None:
    """Bars of R@1 by condition in the language that all share, a dot for each seed."""
    language = found["language"]
    figure = new_figure(9.0, 0.45 * len(found["conditions"]) + 1.2)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, which in zip(axes, DIRECTIONS, strict=True):
        for place, row in enumerate(found["conditions"].values()):
            seeds = [one["by_query"][language][which]["recall_at_1"] for one in row["by_seed"]]
            axis.barh(place, 100 * float(np.mean(seeds)), color="#7aa6c2")
            axis.plot([100 * value for value in seeds], [place] * len(seeds), "o", color="#333", markersize=3)
        axis.set_yticks(range(len(found["conditions"])), [row["label"] for row in found["conditions"].values()])
        axis.set_xlabel(f"{SHORT[which]} R@1 in %, {language}")
    axes[0].invert_yaxis()
    save_png(figure, path)


def _difference(test: Mapping[str, Any]) -> str:
    low, high = test["interval_95"]
    return f"{100 * test['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}), p = {test['p_value']:.2g}"


def _spread(row: Mapping[str, Any]) -> str:
    values = [one["rank_spread"]["text_to_video"]["mrv_std"] for one in row["by_seed"] if one["rank_spread"]]
    return f"{np.mean(values):.2f}" if values else ""
