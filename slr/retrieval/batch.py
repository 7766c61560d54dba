"""The batch that retrieval trains on: clips and captions in groups, several of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from signwave.batch import Batch
from signwave.text import SPACE_TOKEN, Vocabulary
from slr.keypoints.hand_transforms import NUM_COORDS, NUM_POINTS, FloatArray
from slr.models.dual_encoder import PADDING, UNKNOWN


@dataclass(frozen=True, repr=False)
class RetrievalBatch(Batch):
    """Clips and captions; those with the same group number belong together.

    inputs: (A, T, 126) float32, hands (see slr.keypoints.hand_transforms), flattened; zero past num_frames.
    num_frames: (A,) int64, at least 1.
    clip_groups: (A,) int64, place of the group in `groups`.
    text_ids: (C, N) int64, characters, 0 past num_characters; C may be 0.
    num_characters: (C,) int64, at least 1.
    text_groups: (C,) int64, place of the group in `groups`.
    ids: A clip ids.
    groups: names of the groups.
    """

    inputs: Tensor
    num_frames: Tensor
    clip_groups: Tensor
    text_ids: Tensor
    num_characters: Tensor
    text_groups: Tensor
    ids: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def positive(self) -> Tensor:
        """(A, C) bool, clip and caption belong together."""
        return self.clip_groups[:, None] == self.text_groups[None, :]

    def check(self) -> None:
        """Raise ValueError if the fields contradict each other."""
        num_clips, num_texts = len(self.inputs), len(self.text_ids)
        if not len(self.num_frames) == len(self.clip_groups) == len(self.ids) == num_clips:
            raise ValueError(f"{num_clips} clips, {len(self.num_frames)} lengths, {len(self.ids)} ids")
        if not len(self.num_characters) == len(self.text_groups) == num_texts:
            raise ValueError(f"{num_texts} texts, {len(self.num_characters)} lengths, {len(self.text_groups)} groups")
        if int(self.num_frames.min()) < 1 or int(self.num_frames.max()) > self.inputs.shape[1]:
            raise ValueError(f"num_frames must lie in [1, {self.inputs.shape[1]}], got {self.num_frames.tolist()}")


class ClipItem(NamedTuple):
    """One performance on its way into a batch.

    hands: (T, 42, 3) float32, see slr.keypoints.hand_transforms.
    """

    id: str
    hands: FloatArray


class GroupItem(NamedTuple):
    """Performances and captions (ids of characters) of one group."""

    group: str
    clips: Sequence[ClipItem]
    captions: Sequence[Sequence[int]]


def known_characters(text: str, vocabulary: Vocabulary) -> list[str]:
    """The characters of a normalised text that the model knows, the space as `|`."""
    unknown = set(vocabulary.unknown(text))
    return [character for character in SPACE_TOKEN.join(text.split()) if character not in unknown]


def encode_query(text: str, vocabulary: Vocabulary) -> list[int]:
    """Ids of the characters that the model knows; a text without any is one UNKNOWN."""
    return [vocabulary.encode(character)[0] for character in known_characters(text, vocabulary)] or [UNKNOWN]


def pad_texts(texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Character ids (C, N) int64, PADDING past the lengths, and the lengths (C,) int64."""
    lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
    padded = torch.full((len(texts), max((len(text) for text in texts), default=0)), PADDING, dtype=torch.int64)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = torch.tensor(text, dtype=torch.int64)
    return padded, lengths


def pad_hands(clips: Sequence[FloatArray]) -> tuple[Tensor, Tensor]:
    """Hands (A, T, 126) float32, zero past the lengths, and the lengths (A,) int64."""
    lengths = torch.tensor([len(hands) for hands in clips], dtype=torch.int64)
    padded = torch.zeros(len(clips), int(lengths.max()), NUM_POINTS * NUM_COORDS)
    for row, hands in enumerate(clips):
        padded[row, : len(hands)] = torch.from_numpy(hands).flatten(1)
    return padded, lengths


def collate_groups(items: Sequence[GroupItem]) -> RetrievalBatch:
    """Pad groups to a batch; items of the same group name are one group."""
    groups = tuple(dict.fromkeys(item.group for item in items))
    place = {group: number for number, group in enumerate(groups)}
    inputs, num_frames = pad_hands([clip.hands for item in items for clip in item.clips])
    # A concept drawn twice gives new performances, but its captions are the same texts and count once.
    captions = {item.group: item.captions for item in items}
    text_ids, num_characters = pad_texts([text for group in groups for text in captions[group]])
    return RetrievalBatch(
        inputs=inputs,
        num_frames=num_frames,
        clip_groups=torch.tensor([place[item.group] for item in items for _ in item.clips], dtype=torch.int64),
        text_ids=text_ids,
        num_characters=num_characters,
        text_groups=torch.tensor([place[group] for group in groups for _ in captions[group]], dtype=torch.int64),
        ids=tuple(clip.id for item in items for clip in item.clips),
        groups=groups,
    )
