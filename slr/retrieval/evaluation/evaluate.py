"""Honest evaluation of sign-video retrieval from a score matrix: groups, both directions, ties, ceilings, intervals.

The protocol is that of CiCo (CVPR 2023) and its followers, whose galleries are *groups* (a sentence, several signers):
a text ranks groups by their best clip, a clip ranks groups by their best text. What those leave out stands beside it:
expected values under ties, so that constant scores give R@1 = 1/N; the ceiling that duplicate captions set; intervals;
languages and made-up variants of captions apart; and scores normalised by training items in rows of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from signwave.errors import UserError
from slr.retrieval.evaluation.figures import retrieval_figures
from slr.retrieval.evaluation.measured import RetrievalResult
from slr.retrieval.evaluation.query_evaluation import EvaluationOptions, QueryEvaluation
from slr.retrieval.evaluation.score_matrix import VARIANT_MARK, ScoredClip, ScoredText, ScoreMatrix, as_compared
from slr.retrieval.evaluation.spread import language_spread

if TYPE_CHECKING:
    from signwave.index.interface import VectorIndex
    from slr.retrieval.learning.gallery import Searched
    from slr.retrieval.search.retriever import Retriever


def evaluate(
    matrix: ScoreMatrix,
    options: EvaluationOptions | None = None,
    *,
    training_texts: Iterable[ScoredText] | None = None,
) -> RetrievalResult:
    """Everything that scores, groups and captions tell about a system.

    Args:
        matrix: scores of texts and clips. Its bank, where there is one, gives the rows of QB-Norm and CSLS.
        options: see there.
        training_texts: captions of the training set: how many test captions are among them, and R@1 without those.

    Raises:
        UserError: there is no text whose group has a clip; or scores are to be normalised, and some pairs have none.
    """
    options = options or EvaluationOptions()
    if options.transductive or matrix.bank_texts is not None or matrix.bank_clips is not None:
        matrix.require_finite()
    seen = None if training_texts is None else {(text.key, as_compared(text.text)) for text in training_texts}
    by_query = {}
    for key in dict.fromkeys(text.key for text in matrix.texts):
        query = QueryEvaluation(matrix, key, options)
        if query.rows and query.columns:
            by_query[key] = query.measure(seen)
    if not by_query:
        raise UserError(
            f"{matrix.name or 'scores'}: no text belongs to the group of a clip, so nothing is known to be right; "
            "check the groups of texts and clips"
        )
    languages = [key for key in by_query if VARIANT_MARK not in key]
    return RetrievalResult(
        by_query,
        language_spread(matrix, languages),
        num_groups=len({clip.group for clip in matrix.clips}),
        num_clips=len(matrix.clips),
        missing=matrix.missing,
        credit_duplicates=options.credit_duplicates,
        settings={
            **dataclasses.asdict(options),
            "num_bank_texts": 0 if matrix.bank_texts is None else len(matrix.bank_texts),
            "num_bank_clips": 0 if matrix.bank_clips is None else matrix.bank_clips.shape[1],
        },
        name=matrix.name,
    )


def measure_sentences(searched: Searched) -> dict[str, Any]:
    """Figures of one split while training: the headline at the top level, under "result" everything else.

    The text of a query, its group and its key come from the module; `recall` is what a checkpoint is chosen by.
    """
    texts = tuple(ScoredText.of_key(query.text, query.language, query.group) for query in searched.queries)
    clips = tuple(ScoredClip(*row) for row in zip(searched.ids, searched.groups, strict=True))
    options = EvaluationOptions(num_resamples=0) if searched.within_training else EvaluationOptions()
    result = evaluate(ScoreMatrix(np.asarray(searched.scores, dtype=np.float32), texts, clips), options)
    return {**result.headline(), "result": result.to_dict()}


def score_index(retriever: Retriever, index: VectorIndex, *, candidates: int | None = None) -> ScoreMatrix:
    """Scores of every caption of an index as a user gets them, through both stages.

    Args:
        retriever: the model.
        index: with captions in its payload. The language of a clip is the key of the caption that is its text, where
            it spells one.
        candidates: clips that stage 1 proposes; None is what a search takes. The others score -inf.

    Raises:
        UserError: no clip has a caption.
    """
    ids = list(index.ids)
    rows = [row for identity in ids if (row := index.row_of(identity)) is not None]
    payloads = index.payloads(rows)
    # The last caption of a group counts, as it does for a search.
    captions = {(p["group"], key): text for p in payloads for key, text in p["captions"].items()}
    texts = tuple(ScoredText.of_key(text, key, group) for (group, key), text in captions.items())
    if not texts:
        raise UserError(
            "the clips of this index have no captions, so nothing is known to be right; index captioned ones"
        )
    column_of = {row: place for place, row in enumerate(rows)}
    scores = np.full((len(texts), len(rows)), -np.inf, dtype=np.float32)
    for place, text in enumerate(texts):
        found, values = retriever.score(index, retriever.embed_texts([text.text]), candidates=candidates)
        scores[place, [column_of[int(row)] for row in found]] = values
    spelled = [next((key for key, text in p["captions"].items() if text == p["text"]), "other") for p in payloads]
    clips = [
        ScoredClip(*row) for row in zip(ids, (p["group"] for p in payloads), [""] * len(ids), spelled, strict=True)
    ]
    return ScoreMatrix(scores, texts, tuple(clips))


def evaluate_index(retriever: Retriever, index: VectorIndex, *, candidates: int | None = None) -> dict[str, Any]:
    """Ask for every caption and count how often a clip of its group comes first. See `retrieval_figures`."""
    found = score_index(retriever, index, candidates=candidates)
    return retrieval_figures(
        found.scores,
        queries=found.texts,
        groups=[clip.group for clip in found.clips],
        languages=[clip.language for clip in found.clips],
    )
