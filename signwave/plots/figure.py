"""Figures without a display or global style, and their deterministic bytes."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from signwave.rundir import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey when printed in this order.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
RIGHT, WRONG = "#009E73", "#D55E00"


def new_figure(width_inches: float = 8.0, height_inches: float = 3.0) -> "Figure":
    """An empty figure that no window and no global state knows."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inches, height_inches), layout="constrained")


def to_png(figure: "Figure", *, dots_per_inch: int = 110) -> bytes:
    """PNG bytes of a figure; equal figures give equal bytes (no date, no version inside)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def save_png(figure: "Figure", path: str | Path) -> None:
    """Write a figure as a PNG file, atomically."""
    atomic_write(path, to_png(figure))
