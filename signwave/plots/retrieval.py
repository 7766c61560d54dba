"""Pictures of a search: the similarity matrix and the contact sheet."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.plots.figure import RIGHT, WRONG, new_figure

if TYPE_CHECKING:
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
