"""What a study found: rates of each condition and seed, paired comparisons, one table and one plot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from signwave.errors import UserError
from signwave.metrics import paired_bootstrap, paired_permutation
from slr.scoring import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Runs = Mapping[str, Mapping[int, Evaluation]]
"""Condition → seed → how the test split came out."""


@dataclass(frozen=True)
class Contrast:
    """Two conditions over the seeds they share; differences are first minus second, negative: the first is better.

    Attributes:
        first: a condition.
        second: another.
        difference: of the error rates over all seeds and clips, a fraction.
        interval_95: bootstrap over clips, each with all its seeds.
        p_value: two-sided permutation test, which swaps a clip with all its seeds.
        p_value_seeds: two-sided paired t-test over the rates of the seeds; None with fewer than two.
        seed_differences: seed → difference of the rates.
    """

    first: str
    second: str
    difference: float
    interval_95: tuple[float, float]
    p_value: float
    p_value_seeds: float | None
    seed_differences: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "interval_95": list(self.interval_95)}


def contrast(runs: Runs, first: str, second: str, *, num_resamples: int = 10_000) -> Contrast:
    """Compare two conditions, paired by clip and seed.

    The same clip under several seeds is one draw: its recognitions depend on each other, and the question is what
    holds for other clips. The t-test beside it asks what holds for other seeds.

    Raises:
        UserError: they share no seed, or their clips differ.
    """
    seeds = sorted(set(runs[first]) & set(runs[second]))
    if not seeds:
        raise UserError(f"{first} and {second} have no seed in common; run both with the same seeds")
    counts: tuple[list[Any], list[Any]] = ([], [])
    clips: list[str] = []
    for seed in seeds:
        one, two = runs[first][seed].pairs, runs[second][seed].pairs
        if [(pair.id, pair.reference) for pair in one] != [(pair.id, pair.reference) for pair in two]:
            raise UserError(f"{first} and {second} were tested on different clips (seed {seed}); run both again")
        counts[0].extend(pair.counts for pair in one)
        counts[1].extend(pair.counts for pair in two)
        clips += [pair.id for pair in one]
    drawn = paired_bootstrap(*counts, groups=clips, num_resamples=num_resamples)
    swapped = paired_permutation(*counts, groups=clips, num_resamples=num_resamples)
    differences = {seed: runs[first][seed].wer - runs[second][seed].wer for seed in seeds}
    return Contrast(
        first, second, drawn.difference, drawn.interval[:2], swapped.p_value, _t_test(list(differences.values())),
        differences,
    )  # fmt: skip


def _t_test(differences: Sequence[float]) -> float | None:
    if len(differences) < 2 or len(set(differences)) == 1:
        return None
    from scipy import stats

    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def summarise(runs: Runs) -> dict[str, dict[str, Any]]:
    """Condition → mean, standard deviation and each seed's error rate."""
    found = {}
    for name, seeds in runs.items():
        rates = {seed: evaluation.wer for seed, evaluation in sorted(seeds.items())}
        values = list(rates.values())
        found[name] = {
            "test_wer_mean": statistics.fmean(values),
            "test_wer_sd": statistics.stdev(values) if len(values) > 1 else None,
            "test_wer": {str(seed): rate for seed, rate in rates.items()},
        }
    return found


def to_markdown(
    summary: Mapping[str, Mapping[str, Any]], contrasts: Sequence[Contrast], *, labels: Mapping[str, str], first: str
) -> str:
    """One table: a condition a row, and how much `first` differs from it."""
    against = {found.second: found for found in contrasts if found.first == first}
    lines = [
        f"| condition | test WER, % (mean ± SD) | seeds | {first} minus it, points | 95 % interval | p (clips) "
        "| p (seeds) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, figures in summary.items():
        spread = "" if figures["test_wer_sd"] is None else f" ± {100 * figures['test_wer_sd']:.2f}"
        cells = [labels.get(name, name), f"{100 * figures['test_wer_mean']:.2f}{spread}", str(len(figures["test_wer"]))]
        lines.append(f"| {' | '.join([*cells, *_cells(against.get(name))])} |")
    return "\n".join(lines) + "\n"


def _cells(found: Contrast | None) -> list[str]:
    if found is None:
        return ["", "", "", ""]
    low, high = (100 * edge for edge in found.interval_95)
    seeds = "" if found.p_value_seeds is None else f"{found.p_value_seeds:.2g}"
    return [f"{100 * found.difference:+.2f}", f"{low:+.2f} to {high:+.2f}", f"{found.p_value:.2g}", seeds]


def plot(summary: Mapping[str, Mapping[str, Any]], *, labels: Mapping[str, str], title: str = "") -> Figure:
    """Each seed a dot, the mean a bar, a condition a row."""
    from signwave.plots.figure import COLOURS, new_figure

    figure = new_figure(7.5, 1.0 + 0.42 * len(summary))
    ax = figure.subplots()
    for row, figures in enumerate(summary.values()):
        rates = [100 * rate for rate in figures["test_wer"].values()]
        ax.plot([100 * figures["test_wer_mean"]] * 2, [row - 0.3, row + 0.3], color=COLOURS[1], linewidth=2.5)
        ax.plot(rates, [row] * len(rates), "o", color=COLOURS[0], alpha=0.6, markersize=5)
    ax.set_yticks(range(len(summary)), [labels.get(name, name) for name in summary], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    ax.set_xlabel("test WER, %  (dots: seeds, bar: mean)", fontsize=8)
    ax.tick_params(axis="x", labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(title, fontsize=9)
    return figure
