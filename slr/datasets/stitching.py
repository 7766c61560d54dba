"""Words out of recorded letters: joined on the fly with chance speeds, cut ends and moves between the letters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError, require
from signwave.rundir import atomic_path
from signwave.sampling import Draw
from signwave.text import Vocabulary
from slr.datasets.fingerspelling import PACKAGE, RATE_HZ, Letter, load_alphabets, spell
from slr.keypoints.hand_transforms import Augmentation, FloatArray, augment, blend, rotation, sample_at, turn_hands
from slr.training.batch import SignBatch
from slr.training.data import SignItem, collate

_MIN_LETTER_FRAMES = 5
_LETTER_ROTATION_DEGREES = 12.0
_MOVE_FRAMES = (2, 7)
_MOVE_FRAMES_SAME_LETTER = (4, 8)
"""Two equal letters in a row need a move that no model step can skip."""
_SHARE_WITH_LEAD = 0.3
"""Words that begin with the hand coming up, and words that end with it going down."""


class Stitched(NamedTuple):
    """A word.

    hands: (T, 42, 3) float32 at 25 Hz.
    spans: frames [start, stop) of each letter.
    """

    hands: FloatArray
    spans: list[tuple[int, int]]


class SpelledWord(NamedTuple):
    """A word to be made: its id, and a recording for each letter."""

    id: str
    letters: tuple[Letter, ...]

    @property
    def text(self) -> str:
        """The letters separated by spaces."""
        return " ".join(letter.label for letter in self.letters)


def stitch(letters: Sequence[Letter], rng: np.random.Generator, *, vary_letters: bool = False) -> Stitched:
    """Join letters to a word.

    Args:
        letters: recordings, at least one.
        rng: the only source of chance: speeds from 0.7 to 1.8, up to a fifth cut at each end, moves of 2 to 7 frames.
        vary_letters: also turn each letter a little and bend its time, for training.
    """
    speed = rng.uniform(0.8, 1.6)
    parts: list[FloatArray] = []
    spans: list[tuple[int, int]] = []
    num_frames = 0
    for place, letter in enumerate(letters):
        first = place == 0 and rng.random() < _SHARE_WITH_LEAD
        last = place == len(letters) - 1 and rng.random() < _SHARE_WITH_LEAD
        hands = _perform(letter, rng, speed=speed, whole_start=first, whole_end=last, vary=vary_letters)
        if parts:
            same = letters[place - 1].label == letter.label
            size = int(rng.integers(*(_MOVE_FRAMES_SAME_LETTER if same else _MOVE_FRAMES)))
            move = _move(parts[-1][-1:], hands[:1], size)
            parts.append(move)
            num_frames += len(move)
        parts.append(hands)
        spans.append((num_frames, num_frames + len(hands)))
        num_frames += len(hands)
    return Stitched(np.concatenate(parts), spans)


def _perform(
    letter: Letter, rng: np.random.Generator, *, speed: float, whole_start: bool, whole_end: bool, vary: bool
) -> FloatArray:
    cut = max(1, (letter.stop - letter.start) // 5)
    start, stop = letter.start + int(rng.integers(0, cut)), letter.stop - int(rng.integers(0, cut))
    start, stop = 0 if whole_start else start, len(letter.hands) if whole_end else stop
    num_frames = max(_MIN_LETTER_FRAMES, round((stop - start) / (speed * rng.uniform(0.85, 1.15))))
    time = np.linspace(0, 1, num_frames)
    if vary:
        time = (time + 0.07 * rng.uniform(-1, 1) * np.sin(np.pi * time)).clip(0, 1)
    hands = sample_at(letter.hands, start + time * (stop - 1 - start))
    return turn_hands(hands, rotation(rng.normal(0, _LETTER_ROTATION_DEGREES, 3))) if vary else hands


def _move(before: FloatArray, after: FloatArray, num_frames: int) -> FloatArray:
    weight = np.linspace(0, 1, num_frames + 2, dtype=np.float32)[1:-1]
    return blend(np.repeat(before, num_frames, axis=0), np.repeat(after, num_frames, axis=0), weight)


class StitchedWords:
    """Words made anew each time they are drawn.

    Args:
        words: what to make.
        vocabulary: letters as tokens.
        augmentation: for training; None makes each word the same way every time (tests), whatever the draw's seed.
    """

    def __init__(
        self, words: Sequence[SpelledWord], *, vocabulary: Vocabulary, augmentation: Augmentation | None = None
    ) -> None:
        self.words = list(words)
        self.vocabulary = vocabulary
        self.augmentation = augmentation
        self.lengths = [_expected_frames(word) for word in self.words]

    def __len__(self) -> int:
        return len(self.words)

    def stitched(self, index: int) -> Stitched:
        """Word `index` as tests see it."""
        return stitch(self.words[index].letters, np.random.default_rng([index, len(self.words[index].letters)]))

    def __getitem__(self, draw: Draw) -> SignItem:
        """A word with the label of each frame."""
        word = self.words[draw.index]
        if self.augmentation is None:
            made = self.stitched(draw.index)
        else:
            rng = np.random.default_rng(draw.seed)
            made = stitch(word.letters, rng, vary_letters=True)
            made = made._replace(hands=augment(made.hands, rng, self.augmentation))
        labels = self.vocabulary.encode(word.text)
        frame_labels: NDArray[np.int64] = np.zeros(len(made.hands), dtype=np.int64)
        for label, (start, stop) in zip(labels, made.spans, strict=True):
            frame_labels[start:stop] = label
        return SignItem(word.id, made.hands.reshape(len(made.hands), -1), labels, frame_labels, text=word.text)

    def collate(self, items: list[SignItem]) -> SignBatch:
        """Pad items to a batch."""
        return collate(items)


def _expected_frames(word: SpelledWord) -> int:
    """Frames at the mean speed; the sampler's budget needs no more than that."""
    return sum(round(0.75 * (letter.stop - letter.start)) + 4 for letter in word.letters)


def write_word(word: str, alphabet: str, out: str | Path, *, raw: str | Path = PACKAGE) -> Path:
    """Write a fingerspelled word as a `.pose` file with all the points of the recordings: a clip to try a model on.

    Args:
        word: letters that the alphabet has.
        alphabet: code of the sign language.
        out: file to write.
        raw: see `prepare`.

    Raises:
        UserError: the alphabet can't spell the word.
    """
    letters = spell(word, load_alphabets([alphabet], raw=raw)[alphabet])
    if not letters:
        raise UserError(f"the alphabet '{alphabet}' has no letters for all of '{word}'; choose another word")
    pose_format = require("pose_format", extra="poses")
    body_class = require("pose_format.numpy.pose_body", extra="poses").NumPyPoseBody
    poses = [pose_format.Pose.read(Path(letter.path).read_bytes()) for letter in letters]
    data, confidence = _join_poses(letters, poses)
    body = body_class(RATE_HZ, np.ma.masked_array(data, np.repeat(confidence[..., None] == 0, 3, -1)), confidence)
    with atomic_path(Path(out)) as temporary, open(temporary, "wb") as file:
        pose_format.Pose(poses[0].header, body).write(file)
    return Path(out)


def _join_poses(letters: Sequence[Letter], poses: Sequence[Any]) -> tuple[FloatArray, FloatArray]:
    """Data (T, 1, J, 3) and confidence (T, 1, J) of the word, the hand coming up first and going down at the end."""
    data: list[FloatArray] = []
    confidence: list[FloatArray] = []
    for place, (letter, pose) in enumerate(zip(letters, poses, strict=True)):
        start = 0 if place == 0 else letter.start
        stop = len(letter.hands) if place == len(letters) - 1 else letter.stop
        frames = np.arange(start, stop) * pose.body.fps / RATE_HZ
        frames = np.rint(frames).astype(np.int64).clip(0, len(pose.body.data) - 1)
        part = np.ma.getdata(pose.body.data)[frames].astype(np.float32)
        part_confidence = np.asarray(np.ma.filled(pose.body.confidence, 0), dtype=np.float32)[frames]
        if data:
            for weight in np.linspace(0, 1, 6)[1:-1]:
                data.append((data[-1][-1:] * (1 - weight) + part[:1] * weight).astype(np.float32))
                confidence.append(np.minimum(confidence[-1][-1:], part_confidence[:1]))
        data.append(part)
        confidence.append(part_confidence)
    return np.concatenate(data), np.concatenate(confidence)
