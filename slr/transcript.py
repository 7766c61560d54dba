"""What recognition says about one clip: glosses with times and confidences. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from signwave.command import Failure

TranscriptStatus = Literal["ok", "empty", "skipped", "failed"]


@dataclass(frozen=True)
class Gloss:
    """One recognised sign, shown in [start_seconds, end_seconds) of the file; confidence in [0, 1]."""

    text: str
    start_seconds: float
    end_seconds: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """What a clip says.

    Attributes:
        path: the file as it was given.
        glosses: in order of time.
        duration_seconds: length of the clip.
        warnings: why it may say less than it should.
        processing_seconds: time that reading and recognising took.
        failure: why there is no result.
        was_skipped: an earlier result was left as it is.
    """

    path: str
    glosses: tuple[Gloss, ...]
    duration_seconds: float
    warnings: tuple[str, ...] = ()
    processing_seconds: float = field(default=0.0, compare=False)
    failure: Failure | None = None
    was_skipped: bool = False

    @property
    def status(self) -> TranscriptStatus:
        """ok, empty (nothing recognised), skipped or failed."""
        if self.failure is not None:
            return "failed"
        if self.was_skipped:
            return "skipped"
        return "ok" if self.glosses else "empty"

    @property
    def text(self) -> str:
        """The glosses separated by spaces."""
        return " ".join(gloss.text for gloss in self.glosses)

    @property
    def tokens(self) -> list[str]:
        """The glosses one by one."""
        return [gloss.text for gloss in self.glosses]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; times in seconds."""
        record: dict[str, Any] = {
            "file": self.path,
            "status": self.status,
            "text": self.text,
            "segments": self._segments(),
            "duration": round(self.duration_seconds, 3),
            "rtf": round(self.processing_seconds / self.duration_seconds, 4) if self.duration_seconds else None,
            "warnings": list(self.warnings),
        }
        if self.failure is not None:
            record["error"] = {"kind": self.failure.kind, "message": self.failure.message}
        return record

    def _segments(self) -> list[dict[str, Any]]:
        words = [
            {
                "w": gloss.text,
                "start": round(gloss.start_seconds, 3),
                "end": round(gloss.end_seconds, 3),
                "score": round(gloss.confidence, 4),
            }
            for gloss in self.glosses
        ]
        if not words:
            return []
        score = round(sum(gloss.confidence for gloss in self.glosses) / len(words), 4)
        start, end = words[0]["start"], words[-1]["end"]
        return [{"start": start, "end": end, "text": self.text, "score": score, "words": words}]
