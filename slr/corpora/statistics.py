"""What a corpus of glossed clips holds: counts, vocabulary, words that training never shows, clips too short to learn.

found = statistics({"train": train, "dev": dev, "test": test})
found.table()                                     # for people
found.to_dict()                                   # for prepare.json
found.warnings(phoenix2014.PUBLISHED)             # where it isn't what was published
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from signwave.manifest import Clip
from slr.datasets.annotations import Published

TRAIN = "train"
DEFAULT_STRIDE = 4
_NUM_NAMED = 3


class TooShort(NamedTuple):
    """A clip that CTC can't align: its glosses need more steps than it has.

    Attributes:
        id: of the clip.
        num_frames: frames.
        num_steps: steps of a model of the stride.
        num_needed: glosses, and a blank between each two that are equal.
    """

    id: str
    num_frames: int
    num_steps: int
    num_needed: int


@dataclass(frozen=True)
class SplitStatistics:
    """Counts of one split; the last five compare it with the train split and are None for that one itself.

    Attributes:
        num_clips: clips.
        num_frames: of all clips whose length is known; None where none is.
        hours: of all clips whose length is known.
        num_tokens: glosses.
        vocabulary: different glosses.
        singletons: glosses that occur once.
        num_persons: signers.
        num_groups: different groups: broadcasts, or sentences that several people sign.
        longest_tokens: glosses of the longest label.
        longest_frames: frames of the longest clip.
        too_short: clips that are too short for their label.
        oov_tokens: glosses, each time they occur, that train doesn't have.
        oov_types: different ones of them.
        sequences_in_train: clips whose whole label is that of a training clip.
        groups_in_train: groups that train has too.
        persons_in_train: signers that train has too.
    """

    num_clips: int
    num_frames: int | None
    hours: float
    num_tokens: int
    vocabulary: int
    singletons: int
    num_persons: int
    num_groups: int
    longest_tokens: int
    longest_frames: int | None
    too_short: tuple[TooShort, ...] = field(repr=False, default=())
    oov_tokens: int | None = None
    oov_types: int | None = None
    sequences_in_train: int | None = None
    groups_in_train: int | None = None
    persons_in_train: int | None = None


@dataclass(frozen=True)
class Statistics:
    """Counts by split, at a stride (input frames of one output step)."""

    splits: Mapping[str, SplitStatistics]
    stride: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        splits = {name: dataclasses.asdict(split) for name, split in self.splits.items()}
        for split in splits.values():
            split["too_short"] = [clip._asdict() for clip in split["too_short"]]
            split["hours"] = round(split["hours"], 6)
        return {"stride": self.stride, "splits": splits}

    def table(self) -> str:
        """A line for each count and a column for each split; counts that no split has are left out."""
        rows = [("", *self.splits)]
        for label, show in _LINES.items():
            cells = [show(split) for split in self.splits.values()]
            if any(cell not in ("", "0") for cell in cells):
                rows.append((label, *cells))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join(
            "  ".join(
                [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            ).rstrip()
            for row in rows
        )

    def warnings(self, published: Mapping[str, Published] | None = None) -> list[str]:
        """What somebody should know before training: counts that differ from the published ones, clips too short."""
        found = []
        for name, expected in (published or {}).items():
            split = self.splits.get(name)
            if split is None:
                found.append(f"{name}: no clip, but {expected.clips} are published")
                continue
            counted = {
                "clips": split.num_clips,
                "frames": split.num_frames,
                "glosses": split.num_tokens,
                "vocabulary": split.vocabulary,
                "singletons": split.singletons,
            }
            for key, number in counted.items():
                wanted = getattr(expected, key)
                if number is not None and wanted is not None and number != wanted:
                    found.append(f"{name}: {number} {_NAMES[key]}, but {wanted} are published")
        return found + [self._too_short(name, split) for name, split in self.splits.items() if split.too_short]

    def _too_short(self, name: str, split: SplitStatistics) -> str:
        clips = split.too_short
        some = "; ".join(
            f"{clip.id}: {clip.num_frames} frames are {clip.num_steps} steps, needs {clip.num_needed}"
            for clip in clips[:_NUM_NAMED]
        )
        more = f"; and {len(clips) - _NUM_NAMED} more" if len(clips) > _NUM_NAMED else ""
        noun = "clip is" if len(clips) == 1 else "clips are"
        text = f"{name}: label_too_long: {len(clips)} {noun} too short for the label at stride {self.stride}"
        return f"{text}; kept, but CTC learns nothing from it ({some}{more})"


def statistics(splits: Mapping[str, Sequence[Clip]], *, stride: int = DEFAULT_STRIDE) -> Statistics:
    """Count.

    Args:
        splits: clips by split; `text` holds the glosses, blanks between them. The others are compared with "train".
        stride: input frames of one output step of the model that is to be trained.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    train = splits.get(TRAIN)
    return Statistics(
        {name: _count(clips, None if name == TRAIN else train, stride) for name, clips in splits.items()}, stride
    )


def steps_needed(glosses: Sequence[str]) -> int:
    """Steps that CTC needs for a label: one a gloss, and a blank between each two that are equal.

    >>> steps_needed(["RAIN", "RAIN", "SUN"])
    4
    """
    return len(glosses) + sum(left == right for left, right in itertools.pairwise(glosses))


def _count(clips: Sequence[Clip], train: Sequence[Clip] | None, stride: int) -> SplitStatistics:
    labels = [clip.text.split() for clip in clips]
    tokens = Counter(itertools.chain.from_iterable(labels))
    lengths = [clip.num_frames for clip in clips if clip.num_frames is not None]
    counted = SplitStatistics(
        num_clips=len(clips),
        num_frames=sum(lengths) if lengths else None,
        hours=sum(clip.duration_seconds or 0.0 for clip in clips) / 3600,
        num_tokens=sum(tokens.values()),
        vocabulary=len(tokens),
        singletons=sum(count == 1 for count in tokens.values()),
        num_persons=len(_persons(clips)),
        num_groups=len(_groups(clips)),
        longest_tokens=max(map(len, labels), default=0),
        longest_frames=max(lengths, default=None),
        too_short=tuple(_too_short(clips, labels, stride)),
    )
    return counted if train is None else _compared(counted, clips, tokens, train)


def _compared(
    counted: SplitStatistics, clips: Sequence[Clip], tokens: Counter[str], train: Sequence[Clip]
) -> SplitStatistics:
    known = {token for clip in train for token in clip.text.split()}
    sequences = {tuple(clip.text.split()) for clip in train}
    unknown = {token: count for token, count in tokens.items() if token not in known}
    return dataclasses.replace(
        counted,
        oov_tokens=sum(unknown.values()),
        oov_types=len(unknown),
        sequences_in_train=sum(bool(clip.text) and tuple(clip.text.split()) in sequences for clip in clips),
        groups_in_train=len(_groups(clips) & _groups(train)),
        persons_in_train=len(_persons(clips) & _persons(train)),
    )


def _too_short(clips: Sequence[Clip], labels: Sequence[list[str]], stride: int) -> list[TooShort]:
    found = []
    for clip, label in zip(clips, labels, strict=True):
        if clip.num_frames is None:
            continue
        num_steps, num_needed = -(-clip.num_frames // stride), steps_needed(label)
        if num_needed > num_steps:
            found.append(TooShort(clip.id, clip.num_frames, num_steps, num_needed))
    return found


def _persons(clips: Sequence[Clip]) -> set[str]:
    return {clip.person for clip in clips if clip.person}


def _groups(clips: Sequence[Clip]) -> set[str]:
    return {clip.group for clip in clips if clip.group}


def _number(name: str) -> Callable[[SplitStatistics], str]:
    def show(split: SplitStatistics) -> str:
        value = getattr(split, name)
        return "" if value is None else f"{value:,}"

    return show


_NAMES = {
    "clips": "clips",
    "frames": "frames",
    "glosses": "glosses",
    "vocabulary": "different glosses",
    "singletons": "glosses that occur once",
}
_LINES: Mapping[str, Callable[[SplitStatistics], str]] = {
    "clips": _number("num_clips"),
    "frames": _number("num_frames"),
    "hours": lambda split: f"{split.hours:.2f}" if split.hours else "",
    "glosses": _number("num_tokens"),
    "different glosses": _number("vocabulary"),
    "  that occur once": _number("singletons"),
    "  not in train": _number("oov_types"),
    "glosses not in train": _number("oov_tokens"),
    "longest label": _number("longest_tokens"),
    "longest clip, frames": _number("longest_frames"),
    "labels also in train": _number("sequences_in_train"),
    "signers": _number("num_persons"),
    "  also in train": _number("persons_in_train"),
    "groups": _number("num_groups"),
    "  groups also in train": _number("groups_in_train"),
    "too short for the label": lambda split: str(len(split.too_short)) if split.too_short else "",
}
