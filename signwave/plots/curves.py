"""Training curves from a run's metrics.csv, and error rates with intervals from its results.json."""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from signwave.errors import ArtefactError
from signwave.plots.figure import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Series(NamedTuple):
    """One logged metric: the optimiser step of each value."""

    steps: list[int]
    values: list[float]


def read_metrics(path: str | Path) -> dict[str, Series]:
    """Read metrics.csv; each row holds some of the columns.

    Returns:
        metric name → its series, in the order of the columns; values that aren't finite are left out.
    """
    found: dict[str, Series] = defaultdict(lambda: Series([], []))
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                step = int(float(row.get("step") or 0))
                for name, text in row.items():
                    if name in ("step", "epoch", "seconds") or not text or not math.isfinite(value := float(text)):
                        continue
                    found[name].steps.append(step)
                    found[name].values.append(value)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: can't be read as metrics ({error}); is it a run's metrics.csv?") from error
    return dict(found)


def plot_training_curves(metrics: Mapping[str, Series]) -> "Figure":
    """One panel per kind of metric (the part after the slash), a line per split.

    Args:
        metrics: as `read_metrics` returns them.
    """
    panels: dict[str, dict[str, Series]] = defaultdict(dict)
    for name, series in metrics.items():
        split, _, kind = name.rpartition("/")
        panels[kind or name][split] = series
    count = max(len(panels), 1)
    num_columns = min(count, 3)
    num_rows = math.ceil(count / num_columns)
    figure = new_figure(4.0 * num_columns, 2.4 * num_rows)
    axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for ax, (kind, lines) in zip(axes, sorted(panels.items()), strict=False):
        for colour, (split, series) in zip(COLOURS, sorted(lines.items()), strict=False):
            marker = "." if len(series.steps) < 30 else ""
            ax.plot(series.steps, series.values, color=colour, marker=marker, linewidth=1.2, label=split or None)
        ax.set_title(kind, fontsize=9)
        ax.set_xlabel("step", fontsize=8)
        ax.tick_params(labelsize=7)
        if any(lines):
            ax.legend(fontsize=7, frameon=False)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    return figure


class Bar(NamedTuple):
    """One figure of a bar chart, with its interval where it has one."""

    label: str
    value: float
    interval: tuple[float, float] | None = None


def plot_rates(groups: Mapping[str, Sequence[Bar]], *, title: str = "", unit: str = "%") -> "Figure":
    """Horizontal bars with intervals, one colour per group; values are fractions and drawn in percent."""
    bars = [(name, bar) for name, members in groups.items() for bar in members]
    figure = new_figure(7.0, 0.6 + 0.32 * max(len(bars), 1))
    ax = figure.subplots()
    colour_of = dict(zip(groups, COLOURS, strict=False))
    for row, (name, bar) in enumerate(bars):
        low, high = bar.interval or (bar.value, bar.value)
        spread = [[100 * max(bar.value - low, 0.0)], [100 * max(high - bar.value, 0.0)]]
        ax.barh(row, 100 * bar.value, xerr=spread, color=colour_of.get(name, COLOURS[-1]), height=0.7,
                error_kw={"elinewidth": 1, "capsize": 2})  # fmt: skip
        ax.text(100 * max(high, bar.value) + 1, row, f"{100 * bar.value:.1f}", va="center", fontsize=8)
    ax.set_yticks(range(len(bars)), [f"{name}: {bar.label}" if name else bar.label for name, bar in bars], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel(unit, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(title, fontsize=9)
    return figure
