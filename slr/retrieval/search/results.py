"""What a search found, and why: which windows of a clip answered which part of the query, and when."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from slr.keypoints.hand_transforms import FloatArray
from slr.retrieval.texts import Part


class Match(NamedTuple):
    """One part of the query and the window that answers it best.

    similarity: cosine in [-1, 1], of a part of several tokens their mean.
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
        start_seconds: where the matching windows begin.
        end_seconds: where they end.
        text: what the manifest says about the clip.
        captions: language → sentence.
        profile: (start_seconds, end_seconds, similarity to the best part of the query) of each window.
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
    person: str = ""
    captions: Mapping[str, str] = field(default_factory=dict)
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
            "person": self.person,
            "captions": dict(self.captions),
            "matches": [
                {
                    "query": match.query,
                    "start_seconds": round(match.start_seconds, 3),
                    "end_seconds": round(match.end_seconds, 3),
                    "similarity": round(match.similarity, 4),
                }
                for match in self.matches
            ],
            "profile": [[round(a, 3), round(b, 3), round(value, 3)] for a, b, value in self.profile],
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


class Query(NamedTuple):
    """A query that is explained.

    tokens: (N, D) float32, unit length.
    parts: of the query, by places among the tokens.
    """

    tokens: FloatArray
    parts: Sequence[Part]


def explain(
    query: Query,
    *,
    identity: str,
    score: float,
    tokens: FloatArray,
    payload: Mapping[str, Any],
    folder: str | os.PathLike[str],
) -> Hit:
    """Say which windows of a clip answered which parts of a query.

    Args:
        query: what was looked for.
        identity: id of the clip.
        score: its score.
        tokens: (M, D) float32, of the clip.
        payload: what the index holds beside it, see `slr.retrieval.search.indexing`.
        folder: that paths are relative to.
    """
    times = [(float(start), float(end)) for start, end in payload["times"]]
    cosines = np.asarray(tokens, dtype=np.float32) @ query.tokens.T  # (M, N)
    by_part = [cosines[:, list(part.places)].mean(axis=1) for part in query.parts]
    matches = []
    for part, values in zip(query.parts, by_part, strict=True):
        best = int(values.argmax())
        matches.append(Match(part.text, *times[best], float(values[best])))
    best_of_parts = np.max(by_part, axis=0) if by_part else np.zeros(len(times))
    return Hit(
        id=identity,
        score=score,
        path=os.path.normpath(os.path.join(folder, str(payload["path"]))),
        start_seconds=min((match.start_seconds for match in matches), default=times[0][0]),
        end_seconds=max((match.end_seconds for match in matches), default=times[-1][1]),
        matches=tuple(matches),
        text=str(payload["text"]),
        language=str(payload["language"]),
        group=str(payload["group"]),
        person=str(payload["person"]),
        captions=dict(payload["captions"]),
        profile=tuple((*span, float(value)) for span, value in zip(times, best_of_parts, strict=True)),
    )
