"""How well an index answers: every caption of its clips is asked for, through both stages."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from signwave.errors import UserError
from signwave.index import Index
from slr.retrieval.figures import retrieval_figures
from slr.retrieval.search import CANDIDATES, Retriever


class _Caption(NamedTuple):
    group: str
    language: str
    text: str


def evaluate_index(retriever: Retriever, index: Index, *, candidates: int = CANDIDATES) -> dict[str, Any]:
    """Ask for every caption and count how often a clip of its group comes first.

    Returns:
        See `retrieval_figures`; the language of a clip's word is the caption language whose caption is its text.
    """
    payloads = [index.payload(row) for row in range(len(index))]
    captions = {(p["group"], language): text for p in payloads for language, text in p["captions"].items()}
    queries = [_Caption(group, language, text) for (group, language), text in captions.items()]
    if not queries:
        raise UserError(f"{index.folder}: its clips have no captions, so nothing is known to be right")
    scores = np.full((len(queries), len(index)), -np.inf, dtype=np.float32)
    for place, query in enumerate(queries):
        rows, values = retriever.score(index, retriever.embed_texts([query.text]), candidates=candidates)
        scores[place, rows] = values
    spelled = [next((name for name, text in p["captions"].items() if text == p["text"]), "other") for p in payloads]
    return retrieval_figures(scores, queries=queries, groups=[p["group"] for p in payloads], languages=spelled)
