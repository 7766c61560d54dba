"""From manifests with captions to groups: what trains (P performances, K captions a group) and what is searched."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.sampling import Draw
from slr.captions.swap import swap_words
from slr.retrieval.evaluation.score_matrix import VARIANT_MARK
from slr.retrieval.learning.batch import CaptionItem, ClipItem, GroupItem, RetrievalBatch, collate_groups
from slr.retrieval.texts import TextReader

log = logging.getLogger(__name__)

GroupBy = Literal["group", "clip"]


class ClipReader(Protocol):
    """Reads clips for the sign tower."""

    def read(self, clip: Clip) -> NDArray[np.float32]:
        """(T, F) float32.

        Raises:
            UserError: the clip can't be used.
        """


class Captioned(NamedTuple):
    """The clips of one sentence and its captions.

    captions: language, or "LANGUAGE+KIND" of a variant → different texts.
    """

    name: str
    clips: list[Clip]
    captions: dict[str, list[str]]


class QueryText(NamedTuple):
    """A caption that should find the clips of its group; `group` is "SPLIT/…", `language` may be "LANGUAGE+KIND"."""

    group: str
    language: str
    text: str


def group_clips(
    clips: Iterable[Clip],
    *,
    languages: Sequence[str] = (),
    variants: Sequence[str] = (),
    by: GroupBy = "group",
) -> list[Captioned]:
    """Clips by group, with their captions; a clip without a group is a group of its own.

    Args:
        clips: rows of a manifest.
        languages: whose captions are wanted; () takes all.
        variants: kinds of variants that are wanted beside them: keywords, question, or a second language.
        by: "group" of the manifest, or "clip" where that means something else: each clip is a group of its own.

    Returns:
        Groups in the order of their first clips. Clips of groups without a caption are left out and counted in the log.
    """
    members: dict[str, list[Clip]] = {}
    for clip in clips:
        members.setdefault((clip.group if by == "group" else "") or clip.id, []).append(clip)
    found = [Captioned(name, group, _captions(group, languages, variants)) for name, group in members.items()]
    silent = [group for group in found if not group.captions]
    if silent:
        num = sum(len(group.clips) for group in silent)
        what = f" in {', '.join(languages)}" if languages else ""
        log.warning("%d clips have no caption%s and are left out, the first is '%s'", num, what, silent[0].clips[0].id)
    return [group for group in found if group.captions]


def _captions(clips: Sequence[Clip], languages: Sequence[str], variants: Sequence[str]) -> dict[str, list[str]]:
    texts: dict[str, dict[str, None]] = {}
    for clip in clips:
        for key, text in clip.captions.items():
            language, _, kind = key.partition(VARIANT_MARK)
            if (not languages or language in languages) and (not kind or kind in variants) and text.strip():
                texts.setdefault(key, {})[" ".join(text.split())] = None
    return {key: list(found) for key, found in texts.items()}


class GroupBatches:
    """Training items: one group with some of its performances and a caption of every language, drawn anew each time.

    Args:
        groups: what to train on.
        reader: reads a clip.
        texts: reads captions.
        num_performances: P, clips of a group in a batch at most.
        num_windows: of the longest clip, what the budget counts.
        num_passes: items of each group in an epoch.
        swap_probability: of swapping two words of a caption for the word half of the loss, as CiCo does; 0 never does.
    """

    def __init__(
        self,
        groups: Sequence[Captioned],
        *,
        reader: ClipReader,
        texts: TextReader,
        num_performances: int,
        num_windows: int,
        num_passes: int = 1,
        swap_probability: float = 0.5,
    ) -> None:
        self.groups = [*groups] * num_passes
        self.reader, self.texts = reader, texts
        self.num_performances, self.swap_probability = num_performances, swap_probability
        self.lengths = [num_windows * min(num_performances, len(group.clips)) for group in self.groups]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, draw: Draw) -> GroupItem:
        """One group; everything that is left to chance comes from the draw's seed."""
        rng = np.random.default_rng(draw.seed)
        group = self.groups[draw.index]
        num = min(self.num_performances, len(group.clips))
        chosen = [group.clips[i] for i in rng.permutation(len(group.clips))[:num]]
        captions = [self._caption(key, texts, rng) for key, texts in group.captions.items()]
        return GroupItem(group.name, [ClipItem(clip.id, self.reader.read(clip)) for clip in chosen], captions)

    def collate(self, items: list[GroupItem]) -> RetrievalBatch:
        """Pad items to a batch."""
        return collate_groups(items)

    def _caption(self, key: str, texts: Sequence[str], rng: np.random.Generator) -> CaptionItem:
        text = self.texts.normal(texts[int(rng.integers(len(texts)))])
        swapped = None
        if self.swap_probability > 0:
            swapped = self.texts.encode(swap_words(text, rng, probability=self.swap_probability))
        return CaptionItem(self.texts.encode(text), text, swapped)


class ClipGallery:
    """Clips as validation and test see them; their group is "SPLIT/GROUP".

    Args:
        splits: groups of each split.
        reader: reads a clip.
        num_windows: of the longest clip, what the budget counts.
    """

    def __init__(self, splits: Mapping[str, Sequence[Captioned]], *, reader: ClipReader, num_windows: int) -> None:
        self.reader = reader
        self.clips = [
            (f"{split}/{g.name}", clip) for split, groups in splits.items() for g in groups for clip in g.clips
        ]
        self.lengths = [num_windows] * len(self.clips)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> GroupItem:
        """A clip without captions."""
        group, clip = self.clips[draw.index]
        return GroupItem(group, [ClipItem(clip.id, self.reader.read(clip))])

    def collate(self, items: list[GroupItem]) -> RetrievalBatch:
        """Pad items to a batch."""
        return collate_groups(items)


def queries_of(split: str, groups: Iterable[Captioned]) -> list[QueryText]:
    """Every caption of a split."""
    return [
        QueryText(f"{split}/{group.name}", key, text)
        for group in groups
        for key, texts in group.captions.items()
        for text in texts
    ]


class Holder(Protocol):
    """Knows which clips it can read."""

    def has(self, clip: Clip) -> bool:
        """Whether it can read the clip."""

    def problem(self, clip: Clip) -> str:
        """Why it can't."""


def with_features(clips: Sequence[Clip], holder: Holder, *, split: str) -> list[Clip]:
    """The clips that can be read; the others are counted in the log.

    Raises:
        UserError: none is left.
    """
    kept = [clip for clip in clips if holder.has(clip)]
    missing = [clip for clip in clips if not holder.has(clip)]
    if missing:
        first = f"'{missing[0].id}': {holder.problem(missing[0])}"
        log.warning("%s: %d of %d clips have no features, the first is %s", split, len(missing), len(clips), first)
    if not kept:
        raise UserError(f"{split}: none of {len(clips)} clips has features; run `slr features` on its manifest")
    return kept
