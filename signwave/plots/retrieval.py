"""Pictures of a search: the similarity matrix, the contact sheet, and how soon queries are answered."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.metrics import Ranks
from signwave.plots.figure import COLOURS, RIGHT, WRONG, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LABELS = 60


def plot_similarity(
    scores: NDArray[np.float32],
    *,
    queries: Sequence[str],
    gallery: Sequence[str],
    relevant: NDArray[np.bool_] | None = None,
    title: str = "",
) -> "Figure":
    """Heat-map of query × gallery scores.

    Args:
        scores: (Q, G) float32, higher is nearer.
        queries: Q labels.
        gallery: G labels.
        relevant: (Q, G) bool, the true pairs: marked by a ring.
        title: one line above.

    Raises:
        ValueError: numbers of labels and scores differ.
    """
    if scores.shape != (len(queries), len(gallery)):
        raise ValueError(f"scores must be ({len(queries)}, {len(gallery)}) for these labels, got {scores.shape}")
    figure = new_figure(min(3 + 0.16 * len(gallery), 11), min(2 + 0.16 * len(queries), 9))
    ax = figure.subplots()
    image = ax.imshow(scores, aspect="auto", cmap="cividis", interpolation="nearest")
    if relevant is not None:
        rows, columns = np.nonzero(relevant)
        ax.scatter(columns, rows, s=14, facecolors="none", edgecolors=WRONG, linewidths=0.8)
    if len(gallery) <= _MOST_LABELS:
        ax.set_xticks(range(len(gallery)), list(gallery), fontsize=6, rotation=90)
    if len(queries) <= _MOST_LABELS:
        ax.set_yticks(range(len(queries)), list(queries), fontsize=6)
    ax.set_xlabel(f"gallery ({len(gallery)})", fontsize=8)
    ax.set_ylabel(f"queries ({len(queries)})", fontsize=8)
    ax.set_title(title, fontsize=9)
    figure.colorbar(image, ax=ax, label="score", pad=0.01)
    return figure


class SheetHit(NamedTuple):
    """One picture of a contact sheet.

    picture: (H, W, 3) uint8 RGB; correct: None where the truth is unknown.
    """

    picture: NDArray[np.uint8]
    label: str
    score: float
    correct: bool | None = None


def plot_contact_sheet(rows: Sequence[tuple[str, Sequence[SheetHit]]], *, num_columns: int = 6) -> "Figure":
    """Query text, then its best hits as pictures; the border says right or wrong, and so does a mark.

    Args:
        rows: (query, hits best first).
        num_columns: hits shown per query.
    """
    figure = new_figure(1.5 * (num_columns + 1), 1.7 * max(len(rows), 1))
    axes = figure.subplots(max(len(rows), 1), num_columns + 1, squeeze=False)
    for ax in axes.ravel():
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    for line, (query, hits) in zip(axes, rows, strict=False):
        line[0].text(0.5, 0.5, query, ha="center", va="center", fontsize=11, transform=line[0].transAxes)
        for ax, hit in zip(line[1:], hits, strict=False):
            ax.imshow(hit.picture)
            mark = "" if hit.correct is None else (" ✓" if hit.correct else " ✗")
            score = "–" if math.isnan(hit.score) else f"{hit.score:.2f}"
            ax.set_title(f"{hit.label} {score}{mark}", fontsize=7)
            if hit.correct is not None:
                ax.spines[:].set_visible(True)
                ax.spines[:].set_color(RIGHT if hit.correct else WRONG)
                ax.spines[:].set_linewidth(2.5)
    return figure


class RankLine(NamedTuple):
    """One kind of query: ranks of its queries, and those of a perfect model."""

    label: str
    ranks: Ranks
    ceiling: Ranks


def plot_ranks(panels: Mapping[str, Sequence[RankLine]]) -> "Figure":
    """Recall@K over K beside a histogram of ranks, one row per panel.

    Args:
        panels: title, "text to video" say, → a line for each kind of query. The gallery of the first gives chance,
            which is dashed; ceilings are dotted in the colour of their line.
    """
    figure = new_figure(9.0, 2.8 * max(len(panels), 1))
    axes = figure.subplots(max(len(panels), 1), 2, squeeze=False)
    for (curve, histogram), (title, lines) in zip(axes, panels.items(), strict=False):
        _draw_recall(curve, lines)
        _draw_histogram(histogram, lines)
        curve.set_title(f"{title}: recall@K, %", fontsize=9)
        histogram.set_title(f"{title}: queries by rank", fontsize=9)
    return figure


def _draw_recall(ax: "Axes", lines: Sequence[RankLine]) -> None:
    for line, colour in zip(lines, itertools.cycle(COLOURS)):
        places = _places(line.ranks.num_gallery)
        for ranks, style in ((line.ranks, "-"), (line.ceiling, ":")):
            label = line.label if style == "-" else None
            recalls = [100 * ranks.recall(k) for k in places]
            ax.plot(places, recalls, style, color=colour, linewidth=1.3, label=label)
    for line in lines[:1]:
        places = _places(line.ranks.num_gallery)
        ax.plot(places, [100 * k / line.ranks.num_gallery for k in places], "--", color="0.5", linewidth=1,
                label="chance")  # fmt: skip
    ax.set_xscale("log")
    ax.set_ylim(0, 102)
    ax.set_xlabel("K", fontsize=8)
    ax.tick_params(labelsize=7)
    if lines:
        ax.legend(fontsize=7, frameon=False)


def _draw_histogram(ax: "Axes", lines: Sequence[RankLine]) -> None:
    most = max((line.ranks.num_gallery for line in lines), default=1)
    edges = [1.0]
    while edges[-1] <= most:  # rank 1 alone, then 2-3, 4-7 …
        edges.append(2 * edges[-1])
    starts = np.arange(len(edges) - 1)
    width = 0.8 / max(len(lines), 1)
    for number, (line, colour) in enumerate(zip(lines, itertools.cycle(COLOURS))):
        counts, _ = np.histogram(line.ranks.expected, bins=edges)
        ax.bar(starts + (number - (len(lines) - 1) / 2) * width, counts, width, color=colour, label=line.label)
    labels = [
        f"{low:.0f}" if high - low == 1 else f"{low:.0f}–{high - 1:.0f}" for low, high in itertools.pairwise(edges)
    ]
    ax.set_xticks(starts, labels, fontsize=7, rotation=45)
    ax.set_xlabel("rank of the first right group", fontsize=8)
    ax.tick_params(axis="y", labelsize=7)


def _places(num_gallery: int) -> list[int]:
    """Values of K, close together at first."""
    return sorted({int(k) for k in np.geomspace(1, num_gallery, 60).round()})
