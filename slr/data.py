"""From a manifest of pose clips to batches of keypoints: reading, labels, padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from signwave.errors import LabelError, ManifestError
from signwave.manifest import Clip
from signwave.sampling import Draw
from signwave.text import Vocabulary
from slr.batch import UNKNOWN_FRAME, SignBatch
from slr.poses import read_hands
from slr.transforms import Augmentation, FloatArray, augment

DEFAULT_RATE_HZ = 25.0


class SignItem(NamedTuple):
    """One clip on its way into a batch.

    hands: (T, 42, 3) float32, see slr.transforms.
    labels: token ids.
    frame_labels: (T,) int64, see SignBatch; None where no frame's label is known.
    """

    id: str
    hands: FloatArray
    labels: list[int]
    frame_labels: NDArray[np.int64] | None


def collate(items: Sequence[SignItem]) -> SignBatch:
    """Pad items to a batch."""
    num_frames = torch.tensor([len(item.hands) for item in items], dtype=torch.int64)
    num_labels = torch.tensor([len(item.labels) for item in items], dtype=torch.int64)
    size = int(num_frames.max())
    inputs = torch.zeros(len(items), size, items[0].hands[0].size)
    labels = torch.zeros(len(items), max(1, int(num_labels.max())), dtype=torch.int64)
    frame_labels = torch.full((len(items), size), UNKNOWN_FRAME, dtype=torch.int64)
    for row, item in enumerate(items):
        inputs[row, : len(item.hands)] = torch.from_numpy(item.hands).flatten(1)
        labels[row, : len(item.labels)] = torch.tensor(item.labels, dtype=torch.int64)
        if item.frame_labels is not None:
            frame_labels[row, : len(item.hands)] = torch.from_numpy(item.frame_labels)
    return SignBatch(
        inputs=inputs,
        num_frames=num_frames,
        labels=labels,
        num_labels=num_labels,
        ids=tuple(item.id for item in items),
        frame_labels=frame_labels,
    )


class PoseDataset:
    """Recorded clips of poses with the glosses of their manifest.

    Args:
        clips: rows of kind "pose" with `num_frames` and `rate_hz` (as `slr prepare poses` writes them).
        vocabulary: tokens of the glosses.
        rate_hz: frames a second that clips are brought to.
        augmentation: None leaves clips as recorded (validation).

    Raises:
        ManifestError: a clip is of another kind or its length isn't known.
        LabelError: a gloss is not in the vocabulary.
    """

    def __init__(
        self,
        clips: Iterable[Clip],
        *,
        vocabulary: Vocabulary,
        rate_hz: float = DEFAULT_RATE_HZ,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.clips = list(clips)
        self.rate_hz = rate_hz
        self.augmentation = augmentation
        self.labels = [_labels(clip, vocabulary) for clip in self.clips]
        self.lengths = [_num_frames(clip, rate_hz) for clip in self.clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> SignItem:
        """One clip, augmented by nothing but the draw's seed."""
        clip = self.clips[draw.index]
        hands = read_hands(
            clip.path, rate_hz=self.rate_hz, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds
        )
        if self.augmentation is not None:
            hands = augment(hands, np.random.default_rng(draw.seed), self.augmentation)
        return SignItem(clip.id, hands, self.labels[draw.index], None)

    def collate(self, items: list[SignItem]) -> SignBatch:
        """Pad items to a batch."""
        return collate(items)


def _labels(clip: Clip, vocabulary: Vocabulary) -> list[int]:
    try:
        return vocabulary.encode(clip.text)
    except LabelError as error:
        raise LabelError(f"clip '{clip.id}': {error}; build the vocabulary from all training texts") from error


def _num_frames(clip: Clip, rate_hz: float) -> int:
    if clip.kind != "pose":
        raise ManifestError(f"clip '{clip.id}' is of kind '{clip.kind}'; this data set reads poses, extract them first")
    if clip.duration_seconds is None:
        raise ManifestError(f"clip '{clip.id}' has no length; write the manifest with `slr prepare poses`")
    return max(1, round(clip.duration_seconds * rate_hz))
