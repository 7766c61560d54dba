"""What recognising one input gives, speech or signs: text, segments, words with times and confidences; plain data."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from signwave.command import Failure, Status

SCHEMA_VERSION = 1
"""Of the record that `to_dict` gives; it changes when a key changes its meaning or goes."""


@dataclass(frozen=True)
class Word:
    """One spoken word or one gloss, in [start, end) of its file; `score` is a confidence in [0, 1]."""

    text: str
    start_seconds: float
    end_seconds: float
    score: float


@dataclass(frozen=True)
class Segment:
    """Words between two pauses. `score` is the mean of its words'."""

    words: tuple[Word, ...]

    @property
    def start_seconds(self) -> float:
        return self.words[0].start_seconds

    @property
    def end_seconds(self) -> float:
        return self.words[-1].end_seconds

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def score(self) -> float:
        return sum(word.score for word in self.words) / len(self.words)


@dataclass(frozen=True)
class ModelName:
    """Which model it was: its name and the digest of its bundle."""

    name: str = ""
    sha: str = ""


@dataclass(frozen=True)
class Transcript:
    """The transcript of one input, or why there is none.

    `status` is ok, empty (nothing said or signed; not an error), skipped (its results were there already) or failed.
    `rtf` is processing time divided by duration: below 1 is faster than real time.
    `details` are further keys of the record, plain values (n-best lists, the latency of a stream).
    """

    file: str = ""
    status: Status = "ok"
    segments: tuple[Segment, ...] = ()
    duration_seconds: float = 0.0
    rtf: float = field(default=0.0, compare=False)
    sha256: str = ""
    language: str = ""
    model: ModelName = ModelName()
    warnings: tuple[str, ...] = ()
    error: Failure | None = None
    details: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def text(self) -> str:
        """All that was said or signed, in one line."""
        return " ".join(segment.text for segment in self.segments)

    def without_segments(self) -> "Transcript":
        """Return the record without its text, for keeping thousands of them."""
        return replace(self, segments=(), details={})

    @property
    def words(self) -> tuple[Word, ...]:
        """All words in order."""
        return tuple(word for segment in self.segments for word in segment.words)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values; times in seconds, to the millisecond."""
        return {
            "schema_version": SCHEMA_VERSION,
            "file": self.file,
            "sha256": self.sha256,
            "status": self.status,
            "text": self.text,
            "language": self.language,
            "segments": [_segment_dict(segment) for segment in self.segments],
            "duration": round(self.duration_seconds, 3),
            "rtf": round(self.rtf, 4),
            "model": {"name": self.model.name, "sha": self.model.sha},
            "warnings": list(self.warnings),
            "error": {"kind": self.error.kind, "message": self.error.message} if self.error else None,
            **self.details,
        }


def split_at_pauses(words: Iterable[Word], *, pause_seconds: float) -> tuple[Segment, ...]:
    """Return words as segments; a new one begins where nothing was said or signed for `pause_seconds` or longer.

    >>> [s.text for s in split_at_pauses([Word("a", 0, 1, 1), Word("b", 1.5, 2, 1)], pause_seconds=0.5)]
    ['a', 'b']
    """
    groups: list[list[Word]] = []
    for word in words:
        if not groups or word.start_seconds - groups[-1][-1].end_seconds >= pause_seconds:
            groups.append([])
        groups[-1].append(word)
    return tuple(Segment(tuple(group)) for group in groups)


def _segment_dict(segment: Segment) -> dict[str, Any]:
    words = [
        {"w": w.text, "start": round(w.start_seconds, 3), "end": round(w.end_seconds, 3), "score": round(w.score, 4)}
        for w in segment.words
    ]
    return {
        "start": round(segment.start_seconds, 3),
        "end": round(segment.end_seconds, 3),
        "text": segment.text,
        "score": round(segment.score, 4),
        "words": words,
    }
