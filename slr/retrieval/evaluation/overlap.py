"""What a test set shares with the training set: captions, signers, recordings, ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slr.retrieval.evaluation.score_matrix import ScoredClip, ScoredText, as_compared

_NAMED = 5
_LISTED = 50


@dataclass(frozen=True)
class CaptionOverlap:
    """What of a test set is also in training.

    Attributes:
        num_captions: key of the captions → captions of the test set, one of each group and text.
        verbatim: key → groups whose caption is a training caption, but for case and gaps.
        num_test_clips: clips of the test set.
        shared_ids: ids in both.
        shared_persons: signers in both.
        num_test_persons: signers of the test set.
        shared_recordings: recordings (broadcasts, videos) that clips of both were cut from.
        num_test_recordings: recordings of the test set.
    """

    num_captions: Mapping[str, int]
    verbatim: Mapping[str, tuple[str, ...]]
    num_test_clips: int
    shared_ids: tuple[str, ...]
    shared_persons: tuple[str, ...]
    num_test_persons: int
    shared_recordings: tuple[str, ...]
    num_test_recordings: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values; long lists are cut off, counts aren't."""
        return {
            "captions": {
                key: {"num": number, "num_verbatim": len(self.verbatim[key]), "groups": [*self.verbatim[key][:_LISTED]]}
                for key, number in self.num_captions.items()
            },
            "num_test_clips": self.num_test_clips,
            "num_shared_ids": len(self.shared_ids),
            "shared_ids": list(self.shared_ids[:_LISTED]),
            "num_shared_persons": len(self.shared_persons),
            "num_test_persons": self.num_test_persons,
            "num_shared_recordings": len(self.shared_recordings),
            "num_test_recordings": self.num_test_recordings,
            "shared_recordings": list(self.shared_recordings[:_LISTED]),
        }

    def source_lines(self) -> list[str]:
        """Lines about what isn't text: signers, recordings, and the clips themselves."""
        lines = [
            f"in training too: {num_shared} of {number} {what} of the test clips"
            for num_shared, number, what in (
                (len(self.shared_persons), self.num_test_persons, "signers"),
                (len(self.shared_recordings), self.num_test_recordings, "recordings"),
            )
            if number
        ]
        if self.shared_ids:
            named = ", ".join(self.shared_ids[:_NAMED])
            lines.append(f"{len(self.shared_ids)} test clips ARE training clips by their ids: {named}")
        return lines


def caption_overlap(
    train_texts: Iterable[ScoredText],
    train_clips: Iterable[ScoredClip],
    test_texts: Sequence[ScoredText],
    test_clips: Sequence[ScoredClip],
) -> CaptionOverlap:
    """Compare a training set and a test set.

    Args:
        train_texts: captions that a model learned from.
        train_clips: clips likewise.
        test_texts: captions that it is measured with.
        test_clips: clips that it is measured on.
    """
    known = {(text.key, as_compared(text.text)) for text in train_texts}
    num_captions: dict[str, int] = {}
    verbatim: dict[str, dict[str, None]] = {}
    for text in dict.fromkeys(test_texts):
        num_captions[text.key] = num_captions.get(text.key, 0) + 1
        groups = verbatim.setdefault(text.key, {})
        if (text.key, as_compared(text.text)) in known:
            groups[text.group] = None
    train_clips = list(train_clips)
    persons = {clip.person for clip in test_clips} - {""}
    recordings = {clip.recording for clip in test_clips} - {""}
    return CaptionOverlap(
        num_captions=num_captions,
        verbatim={key: tuple(groups) for key, groups in verbatim.items()},
        num_test_clips=len(test_clips),
        shared_ids=tuple(sorted({clip.id for clip in train_clips} & {clip.id for clip in test_clips})),
        shared_persons=tuple(sorted(persons & {clip.person for clip in train_clips})),
        num_test_persons=len(persons),
        shared_recordings=tuple(sorted(recordings & {clip.recording for clip in train_clips})),
        num_test_recordings=len(recordings),
    )
