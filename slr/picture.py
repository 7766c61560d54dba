"""The picture of a recognition: posteriors over a strip of thumbnails, with the glosses and their times."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError
from signwave.media.drawing import draw_pose
from signwave.media.poses import LAYOUTS, PoseFrames, read_pose
from signwave.media.video import open_video
from signwave.plots.figure import COLOURS, new_figure, to_png
from signwave.transcript import Transcript, Word
from slr.decoded import Posteriors
from slr.medium import POSE_SUFFIXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

PANEL_SECONDS = 12.0
"""A longer clip goes on in the next row."""
_NUM_ROWS = 10
_NUM_THUMBNAILS = 10
_THUMBNAIL_PX = 96  # the shorter side
_WIDTH_INCHES = 12.0
_STRIP_INCHES = (0.9, 11.0)
"""About how high and wide the strip of thumbnails comes out."""
_LABEL_LEVELS = 3


def draw(transcript: Transcript, posteriors: Posteriors | None, tokens: Sequence[str]) -> bytes:
    """PNG bytes of a recognised clip; equal clips give equal bytes.

    Args:
        transcript: what was recognised.
        posteriors: what the model saw; None where it saw nothing (no hand, say), which the picture then says.
        tokens: the vocabulary.
    """
    return to_png(figure_of(transcript, posteriors, tokens))


def figure_of(transcript: Transcript, posteriors: Posteriors | None, tokens: Sequence[str]) -> Figure:
    """The figure: for every PANEL_SECONDS thumbnails, the glosses with their times, and a heat-map; see `draw`."""
    if posteriors is None or not len(posteriors.probabilities):
        figure = new_figure(_WIDTH_INCHES, 1.2)
        figure.suptitle(f"{Path(transcript.file).name}: {'; '.join(transcript.warnings) or 'nothing to draw'}")
        return figure
    begin = max(0.0, posteriors.first_seconds)
    end = posteriors.first_seconds + len(posteriors.probabilities) * posteriors.stride_seconds
    num_panels = max(1, int(np.ceil((end - begin) / PANEL_SECONDS - 1e-6)))
    seconds = PANEL_SECONDS if num_panels > 1 else end - begin
    figure = new_figure(_WIDTH_INCHES, 0.4 + 3.9 * num_panels)
    grid = figure.subplots(3 * num_panels, 1, squeeze=False, height_ratios=[1.0, 0.9, 2.2] * num_panels)
    for panel in range(num_panels):
        span = (begin + panel * seconds, begin + (panel + 1) * seconds)
        strip, labels, heat = (grid[3 * panel + row, 0] for row in range(3))
        _draw_strip(strip, posteriors.path, span, min(span[1], end))
        _draw_glosses(labels, transcript.words, span)
        _draw_heat(heat, posteriors, tokens, transcript.words, span)
    shown = "" if end >= transcript.duration_seconds - 1 else f", the first {end:.0f} s of"
    figure.suptitle(f"{Path(transcript.file).name}{shown} {transcript.duration_seconds:.2f} s", fontsize=9)
    return figure


def thumbnails(path: str, times_seconds: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """What a clip shows at some times: frames of a video, or the drawn skeleton of a `.pose` file.

    Args:
        path: the clip.
        times_seconds: (K,) rising; one past the last frame gives that frame.

    Returns:
        (K, H, W, 3) uint8 RGB.

    Raises:
        MediaError: the clip can't be read.
    """
    if Path(path).suffix.lower() in POSE_SUFFIXES:
        return _skeletons(path, times_seconds)
    with open_video(path) as video:
        scale = _THUMBNAIL_PX / min(video.height_px, video.width_px)
        size_px = (max(1, round(video.height_px * scale)), max(1, round(video.width_px * scale)))
        last = max(0.0, (video.num_frames - 1) / video.fps)
    with open_video(path, size_px=size_px) as small:
        pixels = small.frames_at_seconds(np.minimum(times_seconds, last).tolist()).pixels
    return np.asarray(pixels.transpose(0, 2, 3, 1))


def _skeletons(path: str, times_seconds: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    pose = read_pose(path, layout=LAYOUTS["all"])
    chosen = np.clip((times_seconds * pose.fps + 1e-3).astype(np.int64), 0, len(pose) - 1)
    few = PoseFrames(
        points=pose.points[chosen],
        confidence=pose.confidence[chosen],
        fps=pose.fps,
        names=pose.names,
        limbs=pose.limbs,
        width_px=pose.width_px,
        height_px=pose.height_px,
    )
    side = 2 * _THUMBNAIL_PX
    return np.stack([picture.transpose(1, 2, 0) for picture in draw_pose(few, size_px=(side, side), fit=True)])


def _draw_strip(ax: Axes, path: str, span: tuple[float, float], end: float) -> None:
    width = (span[1] - span[0]) / _NUM_THUMBNAILS
    middles = span[0] + width * (np.arange(_NUM_THUMBNAILS) + 0.5)
    middles = middles[middles < end] if (middles < end).any() else middles[:1]
    ax.set_xlim(span)
    ax.set_axis_off()
    try:
        pictures = thumbnails(path, middles)
    except (UserError, ValueError) as error:
        # The recognition stands without its thumbnails: a pipe that has been read can't be read again.
        log.warning("%s: no thumbnails (%s)", path, error)
        return
    seconds_per_inch = (span[1] - span[0]) / _STRIP_INCHES[1]
    height_px, width_px = pictures.shape[1:3]
    # As high as the strip, or as wide as its place, whichever comes first: no picture is stretched.
    tallest = 0.5 * _STRIP_INCHES[0] * width_px / height_px * seconds_per_inch
    half, share = min(0.48 * width, tallest), min(1.0, 0.48 * width / tallest)
    for picture, middle in zip(pictures, middles, strict=True):
        extent = (middle - half, middle + half, 0.5 - share / 2, 0.5 + share / 2)
        ax.imshow(picture, extent=extent, aspect="auto")
    ax.set_xlim(span)
    ax.set_ylim(0, 1)


def _draw_glosses(ax: Axes, words: Sequence[Word], span: tuple[float, float]) -> None:
    ax.set_xlim(span)
    ax.set_ylim(0, _LABEL_LEVELS)
    ax.set_axis_off()
    for number, word in enumerate(
        word for word in words if word.end_seconds > span[0] and word.start_seconds < span[1]
    ):
        level = number % _LABEL_LEVELS
        middle = float(np.clip((word.start_seconds + word.end_seconds) / 2, *span))
        ax.plot([word.start_seconds, word.end_seconds], [level + 0.06] * 2, color=COLOURS[1], linewidth=2.5)
        times = f"{word.start_seconds:.2f}–{word.end_seconds:.2f} s"
        align = "left" if middle < span[0] + 0.04 * (span[1] - span[0]) else "center"
        ax.text(middle, level + 0.14, f"{word.text} {times}", fontsize=6, ha=align, va="bottom", clip_on=True)


def _draw_heat(
    ax: Axes, posteriors: Posteriors, tokens: Sequence[str], words: Sequence[Word], span: tuple[float, float]
) -> None:
    stride, first = posteriors.stride_seconds, posteriors.first_seconds
    low = max(0, int((span[0] - first) / stride))
    high = min(len(posteriors.probabilities), int(np.ceil((span[1] - first) / stride)))
    part = posteriors.probabilities[low:high]
    rows = _rows(part, tokens, [word.text for word in words if span[0] <= word.start_seconds < span[1]])
    extent = (first + low * stride, first + high * stride, len(rows) - 0.5, -0.5)
    ax.imshow(part[:, rows].T, aspect="auto", extent=extent, vmin=0, vmax=1, cmap="cividis", interpolation="nearest")
    ax.set_yticks(range(len(rows)), [tokens[row] for row in rows], fontsize=6)
    ax.tick_params(axis="x", labelsize=7)
    ax.set_xlim(span)
    ax.set_xlabel("seconds; brightness = posterior from 0 to 1", fontsize=7)
    for word in words:
        place = next((number for number, row in enumerate(rows) if tokens[row] == word.text), None)
        if place is not None and word.end_seconds > span[0] and word.start_seconds < span[1]:
            ax.plot([word.start_seconds, word.end_seconds], [place + 0.42] * 2, color=COLOURS[1], linewidth=2)


def _rows(part: NDArray[np.float32], tokens: Sequence[str], recognised: Sequence[str]) -> list[int]:
    """Tokens to show: the recognised ones in their order, then the strongest, and the blank last."""
    strongest = (np.argsort(-part[:, 1:].max(axis=0, initial=0.0), kind="stable") + 1).tolist()
    found = [tokens.index(text) for text in dict.fromkeys(recognised) if text in tokens[1:]]
    ordered = list(dict.fromkeys([*found, *strongest]))
    return [*ordered[: max(_NUM_ROWS, len(found))], 0]
