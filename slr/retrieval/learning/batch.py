"""The batch that retrieval trains on: clips and captions in groups, several of each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.batch import Batch
from slr.models.dual_encoder import PADDING


@dataclass(frozen=True, repr=False)
class RetrievalBatch(Batch):
    """Clips and captions; those with the same group number belong together.

    inputs: (A, T, F) float32, frames or windows as the sign tower reads them, the shortest clip first; zero past
        num_frames.
    num_frames: (A,) int64, at least 1.
    clip_groups: (A,) int64, a number of the group that is the same in every process.
    text_ids: (C, N) int64, 0 past num_tokens; C may be 0.
    num_tokens: (C,) int64, at least 1.
    text_groups: (C,) int64, likewise.
    text_keys: (C,) int64, the same number for the same text, in every process.
    ids: A clip ids.
    sizes: A numbers, num_frames as plain values: the device isn't asked for them.
    groups: A names of the clips' groups.
    swapped_ids: (C, N') int64, the same captions with words swapped; None where training doesn't swap.
    num_swapped: (C,) int64, likewise.
    """

    inputs: Tensor
    num_frames: Tensor
    clip_groups: Tensor
    text_ids: Tensor
    num_tokens: Tensor
    text_groups: Tensor
    text_keys: Tensor
    ids: tuple[str, ...]
    sizes: tuple[int, ...]
    groups: tuple[str, ...]
    swapped_ids: Tensor | None = None
    num_swapped: Tensor | None = None

    @property
    def positive(self) -> Tensor:
        """(A, C) bool, clip and caption belong together; see `positives`."""
        return positives(self.clip_groups, self.text_groups, self.text_keys)

    def check(self) -> None:
        """Raise ValueError if the fields contradict each other."""
        num_clips, num_texts = len(self.inputs), len(self.text_ids)
        if not len(self.num_frames) == len(self.clip_groups) == len(self.ids) == len(self.sizes) == num_clips:
            raise ValueError(f"{num_clips} clips, {len(self.num_frames)} lengths, {len(self.ids)} ids")
        if not len(self.num_tokens) == len(self.text_groups) == len(self.text_keys) == num_texts:
            raise ValueError(f"{num_texts} texts, {len(self.num_tokens)} lengths, {len(self.text_groups)} groups")
        if int(self.num_frames.min()) < 1 or int(self.num_frames.max()) > self.inputs.shape[1]:
            raise ValueError(f"num_frames must lie in [1, {self.inputs.shape[1]}], got {self.num_frames.tolist()}")


def positives(clip_groups: Tensor, text_groups: Tensor, text_keys: Tensor) -> Tensor:
    """Which clips and texts belong together: the text is one of the clip's group, or the same as one of them.

    Args:
        clip_groups: (A,) int64, group of each clip.
        text_groups: (C,) int64, group of each text.
        text_keys: (C,) int64, equal for equal texts.

    Returns:
        (A, C) bool.
    """
    same_group = clip_groups[:, None] == text_groups[None, :]
    same_text = text_keys[:, None] == text_keys[None, :]
    return (same_group.float() @ same_text.float()) > 0


class ClipItem(NamedTuple):
    """One performance on its way into a batch.

    inputs: (T, F) float32, as the sign tower reads it.
    """

    id: str
    inputs: NDArray[np.float32]


class CaptionItem(NamedTuple):
    """One caption on its way into a batch.

    ids: of its tokens.
    text: normalised; equal texts are one text.
    swapped: ids of the text with words swapped, None where training doesn't swap.
    """

    ids: Sequence[int]
    text: str = ""
    swapped: Sequence[int] | None = None


class GroupItem(NamedTuple):
    """Performances and captions of one group."""

    group: str
    clips: Sequence[ClipItem]
    captions: Sequence[CaptionItem] = ()


def pad_texts(texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids (C, N) int64, PADDING past the lengths, and the lengths (C,) int64."""
    lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
    padded = torch.full((len(texts), max((len(text) for text in texts), default=0)), PADDING, dtype=torch.int64)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = torch.tensor(text, dtype=torch.int64)
    return padded, lengths


def pad_inputs(clips: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Inputs (A, T, F) float32, zero past the lengths, and the lengths (A,) int64. clips: (T, …) float32 each."""
    lengths = torch.tensor([len(clip) for clip in clips], dtype=torch.int64)
    flat = [torch.from_numpy(np.ascontiguousarray(clip)).float().flatten(1) for clip in clips]
    padded = torch.zeros(len(flat), int(lengths.max()), flat[0].shape[1])
    for row, clip in enumerate(flat):
        padded[row, : len(clip)] = clip
    return padded, lengths


def collate_groups(items: Sequence[GroupItem]) -> RetrievalBatch:
    """Pad groups to a batch; items of the same group name are one group."""
    groups = tuple(dict.fromkeys(item.group for item in items))
    members = sorted(((clip, item.group) for item in items for clip in item.clips), key=lambda one: len(one[0].inputs))
    inputs, num_frames = pad_inputs([clip.inputs for clip, _ in members])
    # A group drawn twice gives new performances, but its captions are the same texts and count once.
    captions = {item.group: item.captions for item in items}
    texts = [caption for group in groups for caption in captions[group]]
    text_ids, num_tokens = pad_texts([caption.ids for caption in texts])
    swapped = [caption.swapped for caption in texts if caption.swapped is not None]
    swapped_ids, num_swapped = pad_texts(swapped) if texts and len(swapped) == len(texts) else (None, None)
    owners = [group for group in groups for _ in captions[group]]
    # A caption without its text is a text of its own.
    names = [caption.text or f"{owner}\0{number}" for number, (caption, owner) in enumerate(zip(texts, owners))]
    return RetrievalBatch(
        inputs=inputs,
        num_frames=num_frames,
        clip_groups=_numbers([group for _, group in members]),
        text_ids=text_ids,
        num_tokens=num_tokens,
        text_groups=_numbers(owners),
        text_keys=_numbers(names),
        ids=tuple(clip.id for clip, _ in members),
        sizes=tuple(len(clip.inputs) for clip, _ in members),
        groups=tuple(group for _, group in members),
        swapped_ids=swapped_ids,
        num_swapped=num_swapped,
    )


def _numbers(names: Sequence[str]) -> Tensor:
    """(N,) int64, a number of each name that is the same in every process."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return torch.tensor([int.from_bytes(digest, "little", signed=True) for digest in digests], dtype=torch.int64)
