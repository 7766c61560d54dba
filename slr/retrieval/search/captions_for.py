"""From a clip to texts: which of the captions of an index say what is signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from signwave.errors import UserError
from signwave.index.interface import VectorIndex
from signwave.manifest import Clip
from slr.models.dual_encoder import join_embedded
from slr.retrieval.search.retriever import Retriever
from slr.retrieval.similarity import exact_scores

MAX_CAPTIONS = 50_000
"""More aren't embedded for one query."""
_AT_ONCE = 256


class RankedCaption(NamedTuple):
    """One caption, with the languages and groups that have it."""

    text: str
    score: float
    languages: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class RankedCaptions:
    """Captions for a clip, best first."""

    query: str
    captions: tuple[RankedCaption, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for --json."""
        rows = [{**caption._asdict(), "score": round(caption.score, 4)} for caption in self.captions]
        return {"query": self.query, "captions": rows}

    def to_text(self) -> str:
        """A line for each."""
        return "\n".join(f"{n:3d}  {c.score:.3f}  {c.text}" for n, c in enumerate(self.captions, start=1))


def rank_captions(
    retriever: Retriever, index: VectorIndex, clip: Clip, *, k: int = 10, where: Any = None
) -> RankedCaptions:
    """Rank the captions of an index for a clip, exactly.

    Args:
        retriever: the model of the index.
        index: whose clips have captions.
        clip: what is signed.
        k: captions wanted.
        where: only captions of clips that pass this filter.

    Raises:
        UserError: no clip that passes has a caption, or there are more than MAX_CAPTIONS.
    """
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for payload in index.payloads(_rows(retriever, index, where)):
        for language, text in payload["captions"].items():
            languages, groups = found.setdefault(text, ({}, {}))
            languages[language], groups[payload["group"]] = None, None
    if not 0 < len(found) <= MAX_CAPTIONS:
        raise UserError(
            f"the clips have {len(found)} different captions, and 1 to {MAX_CAPTIONS} can be ranked; narrow the clips "
            "down with --where"
        )
    texts = list(found)
    parts = [retriever.embed_texts(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)]
    embedded = retriever.embed_clips([retriever.clips.read(clip)])
    scoring = retriever.scoring
    scores = exact_scores(
        join_embedded(parts), embedded, temperature=scoring.temperature,
        legacy_unmasked=scoring.legacy_unmasked, pad_to=scoring.pad_to,
    )[:, 0]  # fmt: skip
    best = np.argsort(-scores, kind="stable")[:k]
    ranked = (
        RankedCaption(texts[i], float(scores[i]), tuple(found[texts[i]][0]), tuple(found[texts[i]][1])) for i in best
    )
    return RankedCaptions(clip.path, tuple(ranked))


def _rows(retriever: Retriever, index: VectorIndex, where: Any) -> list[int]:
    """All rows that pass a filter: a search for anything finds them when it may find as many as there are."""
    if where is None:
        return [row for identity in index.ids if (row := index.row_of(identity)) is not None]
    anything = np.zeros((1, index.dim), dtype=np.float32)
    anything[0, 0] = 1.0
    rows = index.search(anything, len(index), where=where).rows[0]
    return [int(row) for row in rows if row >= 0]
