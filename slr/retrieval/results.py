"""What a search found, and why: which sign answered which part of the query, and when."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from signwave.index import Index
from slr.keypoints.hand_transforms import FloatArray


class Match(NamedTuple):
    """One part of the query and the sign that answers it best.

    similarity: cosine in [-1, 1].
    """

    query: str
    start_seconds: float
    end_seconds: float
    similarity: float


@dataclass(frozen=True)
class Hit:
    """One clip that was found; times are those of its file.

    Attributes:
        score: fine-grained score in [-1, 1].
        start_seconds: where the matching signs begin.
        end_seconds: where they end.
        text: what the manifest says about the clip.
        profile: (start_seconds, end_seconds, similarity to the best part of the query) of each sign.
    """

    id: str
    score: float
    path: str
    start_seconds: float
    end_seconds: float
    matches: tuple[Match, ...]
    text: str = ""
    language: str = ""
    group: str = ""
    profile: tuple[tuple[float, float, float], ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, rounded to what they are worth."""
        return {
            "id": self.id,
            "score": round(self.score, 4),
            "path": self.path,
            "start_seconds": round(self.start_seconds, 3),
            "end_seconds": round(self.end_seconds, 3),
            "text": self.text,
            "language": self.language,
            "group": self.group,
            "matches": [
                {
                    "query": match.query,
                    "start_seconds": round(match.start_seconds, 3),
                    "end_seconds": round(match.end_seconds, 3),
                    "similarity": round(match.similarity, 4),
                }
                for match in self.matches
            ],
        }


@dataclass(frozen=True)
class Answer:
    """What a query found, best first."""

    query: str
    hits: tuple[Hit, ...]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for --json."""
        return {"query": self.query, "hits": [hit.to_dict() for hit in self.hits], "warnings": list(self.warnings)}


def explain(index: Index, row: int, score: float, query: FloatArray, parts: Sequence[str]) -> Hit:
    """Say which signs of a clip answered which parts of the query. query: (N, D) float32, unit length."""
    payload = index.payload(row)
    times = [(float(start), float(end)) for start, end in payload["times"]]
    cosines = np.asarray(index.tokens(row), dtype=np.float32) @ query.T
    matches = []
    for place, part in enumerate(parts):
        if part:
            best = int(cosines[:, place].argmax())
            matches.append(Match(part, *times[best], float(cosines[best, place])))
    return Hit(
        id=index.id_of(row),
        score=score,
        path=os.path.normpath(index.folder / str(payload["path"])),
        start_seconds=min((match.start_seconds for match in matches), default=times[0][0]),
        end_seconds=max((match.end_seconds for match in matches), default=times[-1][1]),
        matches=tuple(matches),
        text=str(payload["text"]),
        language=str(payload["language"]),
        group=str(payload["group"]),
        profile=tuple((*span, float(value)) for span, value in zip(times, cosines.max(axis=1), strict=True)),
    )
