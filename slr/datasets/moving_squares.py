"""Moving squares instead of signers: clips of frames or keypoints made in memory, for a recipe's --smoke.

Each gloss moves the square, or the hands, in a direction of its own. For trying that the parts of a recipe fit
together; nothing is learnt from it. tools/made_up_signers draws signers that something can be learnt from.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from signwave.manifest import Clip
from signwave.text import BLANK_TOKEN, Vocabulary
from slr.models.interface import Reads
from slr.training.corpus import Corpus, CorpusConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slr.reading import Needs, Reading
    from slr.training.data import Reader

_GLOSS_FRAMES = 12


@dataclass
class MovingSquares(CorpusConfig):
    """Size of the made-up clips."""

    height_px: int = 32
    width_px: int = 32
    num_glosses: int = 4
    num_clips: int = 4
    feature_dim: int = 16

    def load(self) -> Corpus:
        """Twelve frames a gloss."""
        glosses = tuple(f"G{number}" for number in range(1, self.num_glosses + 1))
        splits = []
        for split in ("train", "dev", "test"):
            rng = np.random.default_rng(len(split))
            texts = [" ".join(rng.choice(glosses, int(rng.integers(1, 4)))) for _ in range(self.num_clips)]
            splits.append([_clip(f"{split}-{place}", text) for place, text in enumerate(texts)])
        return MadeUp(self, tuple(splits), Vocabulary((BLANK_TOKEN, *glosses)), self.feature_dim)


def _clip(name: str, text: str) -> Clip:
    size = _GLOSS_FRAMES * len(text.split())
    return Clip(id=name, path=name, kind="video", num_frames=size, rate_hz=25.0, text=text, person="nobody")


@dataclass(frozen=True)
class MadeUp(Corpus):
    """Clips that are drawn instead of read."""

    feature_dim: int = field(default=16)

    def reader(self, needs: "Needs") -> "Reader":
        """Draws."""
        return partial(draw, reads=needs.reads, size_px=needs.size_px, feature_dim=self.feature_dim)


def draw(
    clip: Clip, *, reads: Reads, size_px: tuple[int, int] | None, feature_dim: int, seed: int | None = None
) -> "Reading":
    """The clip as a model reads it; the same every time."""
    del seed
    from slr.reading import Reading

    offsets = np.concatenate([_path(int(gloss[1:])) for gloss in clip.text.split()])
    points = _points(offsets) if "keypoints" in reads else None
    if reads == "keypoints" and points is not None:
        return Reading(points, None, len(offsets) / 25)
    if reads == "features":
        made = np.tile(offsets, (1, feature_dim // 2 + 1))[:, :feature_dim].astype(np.float16)
        return Reading(made, None, len(offsets) / 25)
    height, width = size_px or (32, 32)
    frames = np.full((len(offsets), 3, height, width), 40, dtype=np.uint8)
    for frame, (across, down) in zip(frames, offsets):
        left, top = int((0.4 + 0.3 * across) * width), int((0.4 + 0.3 * down) * height)
        frame[:, top : top + height // 5, left : left + width // 5] = 220
    return Reading(frames, points, len(offsets) / 25)


def _path(gloss: int) -> "NDArray[np.float64]":
    """(12, 2) float64 in [-1, 1], a way out and back."""
    angle = 2.4 * gloss
    reach = np.sin(np.linspace(0, np.pi, _GLOSS_FRAMES))
    return np.stack([np.cos(angle) * reach, np.sin(angle) * reach], axis=1)


def _points(offsets: "NDArray[np.float64]") -> "NDArray[np.float32]":
    points = np.ones((len(offsets), 63, 3), dtype=np.float32)
    points[..., :2] = np.random.default_rng(0).normal(scale=0.2, size=(63, 2))
    points[:, :42, :2] += offsets[:, None].astype(np.float32)
    return points
