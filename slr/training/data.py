"""From a manifest of clips to batches of frames, keypoints or hands: reading, labels, tempo, padding."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from signwave.errors import LabelError, ManifestError
from signwave.manifest import Clip
from signwave.media.video import DEFAULT_PICTURE_FPS
from signwave.sampling import Draw
from slr.keypoints.layout import NUM_KEYPOINTS
from slr.reading import Needs, Reading, find_poses, read
from slr.training.augmentation import NUM_CHANCES
from slr.training.batch import UNKNOWN_FRAME, SignBatch

log = logging.getLogger(__name__)

DEFAULT_RATE_HZ = 25.0


class SignItem(NamedTuple):
    """One clip on its way into a batch.

    inputs: (T, …), see slr.models.interface.Reads.
    labels: token ids; glosses that the vocabulary lacks are missing here, not in `text`.
    frame_labels: (T,) int64, see SignBatch; None where no frame's label is known.
    text: the glosses as they are scored.
    points: (T, 63, 3) float32 keypoints beside frames.
    take: (T',) int64 frames that a change of tempo leaves.
    chances: (R,) float32 in [0, 1), for augmentation on the device.
    """

    id: str
    inputs: NDArray[Any]
    labels: list[int]
    frame_labels: NDArray[np.int64] | None = None
    text: str = ""
    points: NDArray[np.float32] | None = None
    take: NDArray[np.int64] | None = None
    chances: NDArray[np.float32] | None = None

    @property
    def num_frames(self) -> int:
        """Frames after the change of tempo."""
        return len(self.inputs if self.take is None else self.take)


def collate(items: Sequence[SignItem], *, corpus: str = "") -> SignBatch:
    """Pad items to a batch; `corpus` names the auxiliary one that they are from."""
    num_frames = [item.num_frames for item in items]
    labels = [torch.tensor(item.labels, dtype=torch.int64) for item in items]
    if all(len(row) == 0 for row in labels):
        labels[0] = torch.zeros(1, dtype=torch.int64)  # the kernel wants a column
    unknown = [np.full(len(item.inputs), UNKNOWN_FRAME, dtype=np.int64) for item in items]
    known = [rest if item.frame_labels is None else item.frame_labels for item, rest in zip(items, unknown)]
    return SignBatch(
        inputs=_pad([item.inputs for item in items]),
        num_frames=torch.tensor(num_frames, dtype=torch.int64),
        labels=pad_sequence(labels, batch_first=True),
        num_labels=torch.tensor([len(item.labels) for item in items], dtype=torch.int64),
        ids=tuple(item.id for item in items),
        frame_labels=_pad(known, fill=UNKNOWN_FRAME),
        points=_pad_all([item.points for item in items]),
        chances=_pad_all([item.chances for item in items]),
        take=_pad_all([item.take for item in items]),
        num_valid=sum(num_frames),
        texts=tuple(item.text for item in items),
        corpus=corpus,
    )


def _pad(arrays: Sequence[NDArray[Any]], *, fill: float = 0) -> Tensor:
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    return pad_sequence(tensors, batch_first=True, padding_value=fill)


def _pad_all(arrays: Sequence[NDArray[Any] | None]) -> Tensor | None:
    """Padded arrays, or None unless every item has one."""
    there = [array for array in arrays if array is not None]
    return _pad(there) if len(there) == len(arrays) else None


class Reader(Protocol):
    """Reads clips for a data set."""

    def __call__(self, clip: Clip, *, seed: int | None) -> Reading:
        """The clip; where it exists in several variants the seed of a training draw chooses one."""


class Labeller(Protocol):
    """Turns glosses into labels: a vocabulary, or one with extra tokens."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""

    def unknown(self, text: str) -> list[str]:
        """The tokens of a text that have no id."""


class Tempo(NamedTuple):
    """How far the tempo of a training clip may change: it gets `slowest` to `fastest` times as many frames.

    Reference: TwoStream-SLR resamples by 0.5 to 1.5, VAC by 0.8 to 1.2.
    """

    fewest: float = 0.8
    most: float = 1.2
    max_frames: int = 400
    """Longer clips are sped up to this length; cutting them would leave labels without their signs."""


class ClipDataset:
    """Recorded clips with the glosses of their manifest.

    Args:
        clips: rows with `num_frames` and `rate_hz` (as `slr prepare` writes them).
        vocabulary: tokens of the glosses.
        needs: what the model reads.
        tempo: None leaves clips at their own (validation).
        augmented: draw chances for the augmentation on the device.
        stride: input frames per step; a change of tempo leaves a clip enough steps for its labels.
        reader: reads a clip, given the draw's seed in training and None elsewhere; None reads its file as `needs` says.
        known_only: False drops labels that the vocabulary lacks (dev and test); the text that is scored keeps them.
        corpus: name of an auxiliary corpus, for its batches; "" for the target.

    Raises:
        ManifestError: a clip is of another kind, its length isn't known, or no clip has the keypoints that are read.
        LabelError: a gloss is not in the vocabulary.
    """

    def __init__(
        self,
        clips: Iterable[Clip],
        *,
        vocabulary: Labeller,
        needs: Needs,
        tempo: Tempo | None = None,
        augmented: bool = False,
        stride: int = 4,
        reader: Reader | None = None,
        known_only: bool = True,
        corpus: str = "",
    ) -> None:
        self.clips = list(clips)
        self.corpus = corpus
        self.needs = needs
        self.tempo = tempo
        self.augmented = augmented
        self.stride = stride
        self.read: Reader = reader or partial(read_clip, needs=needs)
        self.labels = [_labels(clip, vocabulary, known_only=known_only) for clip in self.clips]
        self.num_frames = [_num_frames(clip, needs) for clip in self.clips]
        if reader is None and "keypoints" in needs.reads:
            _check_keypoints(self.clips, needs)

    @property
    def lengths(self) -> list[int]:
        """Frames of each clip at its slowest, what the budget counts."""
        if self.tempo is None:
            return self.num_frames
        most, limit = max(1.0, self.tempo.most), self.tempo.max_frames
        return [max(1, min(round(size * most), limit)) for size in self.num_frames]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> SignItem:
        """One clip; tempo and chances come from nothing but the draw's seed."""
        clip, labels = self.clips[draw.index], self.labels[draw.index]
        reading = self.read(clip, seed=draw.seed if self.augmented else None)
        rng = np.random.default_rng(draw.seed)
        return SignItem(
            id=clip.id,
            inputs=reading.inputs,
            labels=labels,
            text=" ".join(clip.text.split()),
            points=_points(reading, self.needs),
            take=None if self.tempo is None else _take(len(reading.inputs), labels, rng, self.tempo, self.stride),
            chances=rng.random(NUM_CHANCES, dtype=np.float32) if self.augmented else None,
        )

    def collate(self, items: list[SignItem]) -> SignBatch:
        """Pad items to a batch."""
        return collate(items, corpus=self.corpus)


def read_clip(clip: Clip, *, needs: Needs, seed: int | None = None) -> Reading:
    """The frames or keypoints of a clip's span; the same for every seed."""
    del seed
    return read(
        clip.path,
        needs,
        start_seconds=clip.start_seconds,
        end_seconds=clip.end_seconds,
        poses_path=clip.poses_path,
        picture_fps=clip.rate_hz or DEFAULT_PICTURE_FPS,
    )


def _points(reading: Reading, needs: Needs) -> NDArray[np.float32] | None:
    """Keypoints beside frames; of a clip that has none, none is seen, so that its batch keeps those of the others."""
    if reading.points is None and needs.reads == "frames+keypoints":
        return np.zeros((len(reading.inputs), NUM_KEYPOINTS, 3), dtype=np.float32)
    return reading.points


def _check_keypoints(clips: Sequence[Clip], needs: Needs) -> None:
    """Say before training, not at its first batch, that keypoints are missing."""
    without = [clip.id for clip in clips if find_poses(clip.path, clip.poses_path) is None]
    if not without:
        return
    if len(without) == len(clips):
        raise ManifestError(
            f"none of {len(clips)} clips has keypoints, such as '{without[0]}', and this model reads {needs.reads}; "
            "prepare the corpus with `slr prepare … --poses`"
        )
    log.warning("%d of %d clips have no keypoints (%s …)", len(without), len(clips), ", ".join(without[:3]))


def _take(
    num_frames: int, labels: Sequence[int], rng: np.random.Generator, tempo: Tempo, stride: int
) -> NDArray[np.int64]:
    """Frames of the clip at another tempo: evenly spread, rising, each at least once where there are more."""
    wanted = min(round(num_frames * rng.uniform(tempo.fewest, tempo.most)), tempo.max_frames)
    num_repeats = sum(a == b for a, b in itertools.pairwise(labels))
    needed = stride * (len(labels) + num_repeats)
    size = max(1, wanted, min(needed, num_frames))
    return ((np.arange(size) + 0.5) * num_frames / size).astype(np.int64)


def _labels(clip: Clip, vocabulary: Labeller, *, known_only: bool) -> list[int]:
    unknown = set(vocabulary.unknown(clip.text))
    if unknown and known_only:
        names = ", ".join(repr(token) for token in sorted(unknown)[:3])
        raise LabelError(
            f"clip '{clip.id}': {names} not among the glosses of the vocabulary; build it from all training texts, or "
            "relabel an auxiliary corpus for this target"
        )
    return vocabulary.encode(" ".join(token for token in clip.text.split() if token not in unknown))


def _num_frames(clip: Clip, needs: Needs) -> int:
    kinds = ("pose",) if needs.reads == "hands" else ("video",) if "frames" in needs.reads else ("video", "pose")
    if clip.kind not in kinds:
        advice = "extract them with `slr prepare … --poses`" if clip.kind == "video" else "prepare the videos"
        raise ManifestError(f"clip '{clip.id}' is of kind '{clip.kind}', and this model reads {needs.reads}; {advice}")
    if clip.duration_seconds is None or clip.rate_hz is None:
        raise ManifestError(f"clip '{clip.id}' has no length; write the manifest with `slr prepare`")
    rate_hz = needs.rate_hz or clip.rate_hz
    return max(1, round(clip.duration_seconds * rate_hz))
