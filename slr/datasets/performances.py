"""Fingerspelled words as clips, made fast: one gather from all recordings, for training batches and for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.manifest import Clip
from signwave.manifest import write as write_manifest
from signwave.media.poses import write_pose
from signwave.sampling import Draw
from slr.datasets.fingerspelled_concepts import Concept, Performance
from slr.datasets.spelled_clips import CUT, HAND_COMPONENTS, HAND_LIMBS, LETTER_SECONDS, PICTURE_PX, in_picture
from slr.keypoints.hand_transforms import NUM_HAND_POINTS, Augmentation, FloatArray, augment, blend
from slr.retrieval.learning.batch import CaptionItem, ClipItem, GroupItem, RetrievalBatch, collate_groups
from slr.retrieval.texts import TextReader

_MOVE_SECONDS = (0.08, 0.24)
_ARM_POINTS = ("LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST")


class Spelled(NamedTuple):
    """A performance.

    hands: (T, 42, 3) float32, see slr.keypoints.hand_transforms.
    spans: frames [start, stop) of each letter.
    """

    hands: FloatArray
    spans: list[tuple[int, int]]


class Speller:
    """Joins letters to words by one interpolated look-up in the recordings of all letters.

    Args:
        performances: whose letters to hold.
        rate_hz: frames a second of what it makes.
    """

    def __init__(self, performances: Sequence[Performance], *, rate_hz: float) -> None:
        letters = {letter.path: letter for performance in performances for letter in performance.letters}
        self.rate_hz = rate_hz
        self._start: dict[str, int] = {}
        num_frames = 0
        for path, letter in letters.items():
            self._start[path] = num_frames
            num_frames += letter.stop - letter.start
        self._bank = np.concatenate([letter.hands[letter.start : letter.stop] for letter in letters.values()])

    def spell(self, performance: Performance, rng: np.random.Generator) -> Spelled:
        """One performance with chance speeds, cut ends and moves between the letters."""
        num_frames = rng.uniform(*LETTER_SECONDS) * self.rate_hz * rng.uniform(0.8, 1.2, len(performance.letters))
        cuts = rng.random((len(performance.letters), 2))
        moves = np.rint(rng.uniform(*_MOVE_SECONDS, len(performance.letters)) * self.rate_hz).astype(int).clip(1)
        before: list[NDArray[np.float64]] = []
        after: list[NDArray[np.float64]] = []
        weight: list[NDArray[np.float64]] = []
        spans: list[tuple[int, int]] = []
        at = 0
        for place, letter in enumerate(performance.letters):
            size, first = letter.stop - letter.start, self._start[letter.path]
            low, high = np.floor((CUT[0] + (CUT[1] - CUT[0]) * cuts[place]) * (size - 1))
            positions = first + np.linspace(low, size - 1 - high, max(2, round(num_frames[place])))
            if place:
                count = int(moves[place])
                before.append(np.full(count, before[-1][-1]))
                after.append(np.full(count, np.floor(positions[0])))
                weight.append(np.arange(1, count + 1) / (count + 1))
                at += count
            whole = np.floor(positions)
            before.append(whole)
            after.append(np.minimum(whole + 1, first + size - 1))
            weight.append(positions - whole)
            spans.append((at, at + len(positions)))
            at += len(positions)
        rows = [np.concatenate(part).astype(np.int64) for part in (before, after)]
        share = np.concatenate(weight).astype(np.float32)
        return Spelled(blend(self._bank[rows[0]], self._bank[rows[1]], share), spans)

    def expected_frames(self, performance: Performance) -> int:
        """Frames at the mean speed."""
        seconds = (sum(LETTER_SECONDS) + sum(_MOVE_SECONDS)) / 2
        return max(1, round(len(performance.letters) * seconds * self.rate_hz))


class ConceptBatches:
    """Training items: one concept with some of its performances, drawn anew each time, and its captions.

    Args:
        performances: all that may be drawn.
        captions: language → caption of each concept.
        texts: reads captions.
        rate_hz: frames a second.
        num_performances: of an item; the languages of the words take turns.
        num_passes: items of each concept in an epoch.
        augmentation: of the hands.
    """

    def __init__(
        self,
        performances: Sequence[Performance],
        *,
        captions: Mapping[int, Mapping[str, str]],
        texts: TextReader,
        rate_hz: float,
        num_performances: int,
        num_passes: int,
        augmentation: Augmentation,
    ) -> None:
        self.speller = Speller(performances, rate_hz=rate_hz)
        self.num_performances = num_performances
        self.augmentation = augmentation
        self._choices: dict[int, dict[str, list[Performance]]] = {}
        for performance in performances:
            self._choices.setdefault(performance.concept, {}).setdefault(performance.language, []).append(performance)
        self._concepts = sorted(self._choices) * num_passes
        self._captions = {
            row: [CaptionItem(texts.encode(word), texts.normal(word)) for word in captions[row].values()]
            for row in self._choices
        }
        longest = {
            row: max(self.speller.expected_frames(p) for options in choices.values() for p in options)
            for row, choices in self._choices.items()
        }
        self.lengths = [num_performances * longest[row] for row in self._concepts]

    def __len__(self) -> int:
        return len(self._concepts)

    def __getitem__(self, draw: Draw) -> GroupItem:
        """One concept; everything that is left to chance comes from the draw's seed."""
        rng = np.random.default_rng(draw.seed)
        row = self._concepts[draw.index]
        languages = list(self._choices[row])
        turn = int(rng.integers(len(languages)))
        clips = []
        for place in range(self.num_performances):
            options = self._choices[row][languages[(place + turn) % len(languages)]]
            chosen = options[rng.integers(len(options))]
            hands = augment(self.speller.spell(chosen, rng).hands, rng, self.augmentation)
            clips.append(ClipItem(chosen.id, hands.reshape(len(hands), -1)))
        return GroupItem(str(row), clips, self._captions[row])

    def collate(self, items: list[GroupItem]) -> RetrievalBatch:
        """Pad items to a batch."""
        return collate_groups(items)


class Gallery:
    """Performances as tests see them: the same clip every time.

    Args:
        performances: what is to be found, by split.
        rate_hz: frames a second.
    """

    def __init__(self, performances: Mapping[str, Sequence[Performance]], *, rate_hz: float) -> None:
        self.performances = [(split, p) for split, members in performances.items() for p in members]
        self.speller = Speller([p for _, p in self.performances], rate_hz=rate_hz)
        self.lengths = [self.speller.expected_frames(p) for _, p in self.performances]

    def __len__(self) -> int:
        return len(self.performances)

    def spelled(self, index: int) -> Spelled:
        """Clip `index`."""
        return self.speller.spell(self.performances[index][1], np.random.default_rng([7, index]))

    def __getitem__(self, draw: Draw) -> GroupItem:
        """A clip without captions; its id begins with the language of its word."""
        split, performance = self.performances[draw.index]
        hands = self.spelled(draw.index).hands
        clip = ClipItem(f"{performance.language}/{performance.id}", hands.reshape(len(hands), -1))
        return GroupItem(f"{split}/{performance.concept}", [clip])

    def collate(self, items: list[GroupItem]) -> RetrievalBatch:
        """Pad items to a batch."""
        return collate_groups(items)


def write_gallery(
    folder: str | Path, performances: Sequence[Performance], table: Sequence[Concept], *, rate_hz: float, split: str
) -> Path:
    """Write performances as small `.pose` files (hands and shoulders) with a manifest beside them.

    The files hold real recordings that may not be passed on: they belong into a run folder.

    Args:
        folder: gets `manifest.jsonl` and `clips/`.
        performances: of one split; made exactly as the recipe's test makes them.
        table: the concepts, for the captions.
        rate_hz: frames a second.
        split: written into each row.

    Returns:
        The manifest.
    """
    folder = Path(folder)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    gallery = Gallery({split: performances}, rate_hz=rate_hz)
    clips = []
    for index, (_, performance) in enumerate(gallery.performances):
        hands = gallery.spelled(index).hands
        path = f"clips/{index:05d}.pose"
        write_hands(folder / path, hands, rate_hz=rate_hz)
        clips.append(
            Clip(
                id=performance.id,
                path=path,
                kind="pose",
                num_frames=len(hands),
                rate_hz=rate_hz,
                text=performance.word,
                language=performance.alphabet,
                person=performance.alphabet,
                group=table[performance.concept].name,
                captions=dict(table[performance.concept].words),
                split=split,
            )
        )
    write_manifest(folder / "manifest.jsonl", clips)
    return folder / "manifest.jsonl"


def write_hands(path: str | Path, hands: FloatArray, *, rate_hz: float) -> None:
    """Write hands as a `.pose` file in MediaPipe's names, the signing hand as the right one.

    Args:
        path: file to write.
        hands: (T, 42, 3) float32 in signer's units.
        rate_hz: frames a second.
    """
    points = hands.reshape(len(hands), 2, NUM_HAND_POINTS, 3)
    seen = np.stack([np.ones(len(hands), dtype=bool), points[:, 1].any(axis=(1, 2))], axis=1)
    arms = np.zeros((len(hands), len(_ARM_POINTS), 3), dtype=np.float32)
    arms[:, 0, 0], arms[:, 1, 0] = 0.5, -0.5  # the signer's left shoulder is on the viewer's right
    hand_seen = np.repeat(seen[:, ::-1], NUM_HAND_POINTS, axis=1)
    arm_seen = np.broadcast_to(np.arange(len(_ARM_POINTS)) < 2, (len(hands), len(_ARM_POINTS)))
    write_pose(
        path,
        components={**HAND_COMPONENTS, "POSE_LANDMARKS": _ARM_POINTS},
        points=in_picture(np.concatenate([points[:, 1], points[:, 0], arms], axis=1)),
        confidence=np.concatenate([hand_seen, arm_seen], axis=1).astype(np.float32),
        fps=rate_hz,
        size_px=(PICTURE_PX, PICTURE_PX),
        limbs=HAND_LIMBS,
    )
