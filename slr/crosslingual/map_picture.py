"""The picture of a mapping: how alike every auxiliary sign is to every target sign, the kept pairs on the diagonal."""

from __future__ import annotations

import numpy as np

from signwave.plots.figure import COLOURS, new_figure, to_png
from slr.crosslingual.building import Evidence
from slr.crosslingual.mapping import Mapping

_MOST = 60


def draw(evidence: Evidence, mapping: Mapping) -> bytes:
    """PNG bytes; of large dictionaries the surest rows and the targets that they need.

    Args:
        evidence: mean posteriors.
        mapping: its rows, the surest first; kept pairs have a frame, full where they choose each other.
    """
    places = {name: place for place, name in enumerate(evidence.sources)}
    rows = [row for row in mapping.rows if row.source in places][:_MOST]
    wanted = [row.target for row in rows if row.target in evidence.targets]
    columns = list(dict.fromkeys([*wanted, *evidence.targets]))[:_MOST]
    values = np.nan_to_num(evidence.posteriors[:, 1:])
    order = [evidence.targets.index(str(name)) for name in columns]
    shown = values[[places[row.source] for row in rows]][:, order]
    figure = new_figure(2.5 + 0.22 * len(columns), 1.8 + 0.2 * len(rows))
    ax = figure.subplots()
    image = ax.imshow(shown, aspect="auto", vmin=0, vmax=1, cmap="cividis", interpolation="nearest")
    ax.set_xticks(range(len(columns)), columns, rotation=90, fontsize=6)
    ax.set_yticks(range(len(rows)), [row.source for row in rows], fontsize=6)
    ax.set_xlabel(f"{mapping.header.get('target', 'target language')}", fontsize=7)
    ax.set_ylabel(f"{mapping.header.get('auxiliary', 'auxiliary language')}", fontsize=7)
    for place, row in enumerate(rows):
        if row.keep and row.target in columns:
            ax.plot(
                [columns.index(row.target)], [place], marker="s", markersize=9, markerfacecolor="none",
                markeredgecolor=COLOURS[1], linestyle="none", markeredgewidth=2.0 if row.mutual else 0.8,
            )  # fmt: skip
    left_out = len(mapping.rows) - len(rows)
    figure.suptitle(
        "mean posterior of the target's classifier; a square is a kept pair, a bold one a mutual one"
        + (f"; {left_out} rows not shown" if left_out else ""),
        fontsize=7,
    )
    figure.colorbar(image, ax=ax, fraction=0.03, pad=0.01).ax.tick_params(labelsize=6)
    return to_png(figure)
