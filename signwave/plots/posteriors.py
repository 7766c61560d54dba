"""The CTC posterior heat-map: what the model saw when, under thumbnails or a waveform."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.plots.figure import COLOURS, new_figure
from signwave.rundir import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Posteriors:
    """What one recognition leaves for its picture; stored as .npz without pickle.

    probabilities: (T, V) float32 in [0, 1], row t is the step that starts at t * stride_seconds, V[0] the blank
    tokens: V names
    stride_seconds: seconds a step
    span_tokens, spans: (N,) names and (N, 2) float64 seconds of the recognised tokens
    reference: what should have come out, '' if unknown
    thumbnails, thumbnail_seconds: (K, H, W, 3) uint8 RGB pictures and the (K,) second of each
    audio, rate_hz: (S,) float32 in [-1, 1] and its rate; empty where there is none
    """

    probabilities: NDArray[np.float32]
    tokens: tuple[str, ...]
    stride_seconds: float
    span_tokens: tuple[str, ...]
    spans: NDArray[np.float64]
    reference: str = ""
    thumbnails: NDArray[np.uint8] | None = None
    thumbnail_seconds: NDArray[np.float64] | None = None
    audio: NDArray[np.float32] | None = None
    rate_hz: float = 16000.0

    def save(self, path: str | Path) -> None:
        """Write the .npz file, atomically."""
        arrays: dict[str, Any] = {
            "probabilities": self.probabilities.astype(np.float16),
            "tokens": np.array(self.tokens, dtype=np.str_),
            "stride_seconds": np.float64(self.stride_seconds),
            "span_tokens": np.array(self.span_tokens, dtype=np.str_),
            "spans": self.spans.reshape(-1, 2),
            "reference": np.array(self.reference, dtype=np.str_),
            "rate_hz": np.float64(self.rate_hz),
        }
        optional = {"thumbnails": self.thumbnails, "thumbnail_seconds": self.thumbnail_seconds, "audio": self.audio}
        arrays.update({name: value for name, value in optional.items() if value is not None})
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Posteriors":
        """Read the .npz file.

        Raises:
            ArtefactError: it isn't one of these files.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(
                    probabilities=file["probabilities"].astype(np.float32),
                    tokens=tuple(file["tokens"].tolist()),
                    stride_seconds=float(file["stride_seconds"]),
                    span_tokens=tuple(file["span_tokens"].tolist()),
                    spans=file["spans"],
                    reference=str(file["reference"]),
                    thumbnails=file.get("thumbnails", None),
                    thumbnail_seconds=file.get("thumbnail_seconds", None),
                    audio=file.get("audio", None),
                    rate_hz=float(file["rate_hz"]),
                )
        except (OSError, KeyError, ValueError) as error:
            raise ArtefactError(f"{path}: not a posterior file ({error})") from error


def plot_posteriors(posteriors: Posteriors, *, num_rows: int = 12) -> "Figure":
    """Heat-map of the strongest tokens over seconds, the blank in the last row, recognised spans drawn in.

    Args:
        posteriors: what a recognition left.
        num_rows: how many tokens besides the blank to show; those recognised come first, then the strongest.
    """
    pictures = posteriors.thumbnails is not None and len(posteriors.thumbnails) > 0
    above = pictures or posteriors.audio is not None
    figure = new_figure(10.0, 4.4 if above else 3.2)
    grid = figure.subplots(2, 1, sharex=True, squeeze=False, height_ratios=[1.2, 3]) if above else None
    heat = grid[1, 0] if grid is not None else figure.subplots()
    if grid is not None and pictures:
        _draw_thumbnails(grid[0, 0], posteriors)
    elif grid is not None:
        _draw_waveform(grid[0, 0], posteriors)
    draw_heat(heat, posteriors, num_rows)
    figure.suptitle(_title(posteriors), fontsize=9)
    return figure


def _title(posteriors: Posteriors) -> str:
    recognised = f"recognised: {' '.join(posteriors.span_tokens)}"
    return f"reference: {posteriors.reference}\n{recognised}" if posteriors.reference else recognised


def _shown_rows(posteriors: Posteriors, num_rows: int) -> list[int]:
    strongest = np.argsort(-posteriors.probabilities[:, 1:].max(axis=0, initial=0.0), kind="stable") + 1
    recognised = [posteriors.tokens.index(t) for t in posteriors.span_tokens if t in posteriors.tokens[1:]]
    ordered = dict.fromkeys([*recognised, *strongest.tolist()])
    return [*list(ordered)[: max(num_rows, len(set(recognised)))], 0]


def draw_heat(ax: "Axes", posteriors: Posteriors, num_rows: int) -> None:
    """The heat-map alone, on axes of somebody else's figure; see `plot_posteriors`."""
    rows = _shown_rows(posteriors, num_rows)
    seconds = len(posteriors.probabilities) * posteriors.stride_seconds
    extent = (0.0, max(seconds, posteriors.stride_seconds), len(rows) - 0.5, -0.5)
    image = ax.imshow(
        posteriors.probabilities[:, rows].T, aspect="auto", extent=extent, vmin=0, vmax=1, cmap="cividis",
        interpolation="nearest",
    )  # fmt: skip
    ax.set_yticks(range(len(rows)), [posteriors.tokens[row] for row in rows], fontsize=7)
    ax.set_xlabel("seconds", fontsize=8)
    ax.tick_params(axis="x", labelsize=7)
    for token, (start, end) in zip(posteriors.span_tokens, posteriors.spans, strict=True):
        if token in posteriors.tokens and (index := posteriors.tokens.index(token)) in rows:
            row = rows.index(index)
            ax.plot([start, end], [row + 0.42] * 2, color=COLOURS[1], linewidth=2, solid_capstyle="butt")
    if ax.figure is not None:
        ax.figure.colorbar(image, ax=ax, label="posterior", pad=0.01)


def _draw_thumbnails(ax: "Axes", posteriors: Posteriors) -> None:
    pictures, at = posteriors.thumbnails, posteriors.thumbnail_seconds
    if pictures is None or at is None:
        return
    width = len(posteriors.probabilities) * posteriors.stride_seconds / max(len(pictures), 1)
    for picture, second in zip(pictures, at, strict=True):
        ax.imshow(picture, extent=(second - 0.48 * width, second + 0.48 * width, 0, 1), aspect="auto")
    ax.set_ylim(0, 1)
    ax.set_axis_off()


def _draw_waveform(ax: "Axes", posteriors: Posteriors) -> None:
    audio = posteriors.audio
    if audio is None or audio.size == 0:
        return
    # Peaks of ~2,000 slices: every sample of a long file would cost seconds and look the same.
    slices = np.array_split(audio, min(2000, audio.size))
    seconds = np.cumsum([len(part) for part in slices]) / posteriors.rate_hz
    ax.fill_between(seconds, [part.min() for part in slices], [part.max() for part in slices], color=COLOURS[0])
    ax.set_ylim(-1, 1)
    ax.set_yticks([])
    ax.spines[["top", "right", "left"]].set_visible(False)
