"""Which one vector stands for a clip in stage 1: measured on the clips and captions of the index itself."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slr.models.dual_encoder import Embedded, join_embedded
from slr.retrieval.search.retriever import CANDIDATES, Retriever
from slr.retrieval.search.stage_one import Measured, StageOne, make_stage, measure_stage, stages_of
from slr.retrieval.similarity import exact_scores

if TYPE_CHECKING:
    from slr.retrieval.search.indexing import Rows

NUM_CLIPS, NUM_QUERIES = 5_000, 200
"""Clips and captions that stage 1 is measured on at most."""
RECALL = 0.99
"""Share of the exact best ten that the candidates should hold."""
LEAST_CANDIDATES = 200
"""Scored in some milliseconds; an index that is small now may grow."""
_KS = (10, 20, 50, 100, 200, 500, 1_000, 2_000)
_TEXTS_AT_ONCE, _MOST_QUERIES = 256, 2_000


class Choice(NamedTuple):
    """How an index makes its vectors.

    stage: what makes them.
    info: what the index notes: the stage, the candidates that stage 2 gets, what was measured, and why.
    queries: (Q, F) float32, captions as stage 1 sees them, which the index is tuned with; None without captions.
    """

    stage: StageOne
    info: dict[str, Any]
    queries: NDArray[np.float32] | None


def choose_stage(retriever: Retriever, rows: Rows, wanted: str) -> Choice:
    """Take the stage that was asked for, or the one that needs the fewest candidates.

    Args:
        retriever: the model.
        rows: clips of the index.
        wanted: pooled, mean, landmarks or auto.
    """
    stages = (
        stages_of(retriever.folder, has_pooled=retriever.scoring.has_pooled)
        if wanted == "auto"
        else [make_stage(wanted, folder=retriever.folder)]
    )
    texts = _captions(rows)
    if not texts or retriever.scoring.rank_by == "pooled":
        reason = (
            "the model ranks by its pooled vectors" if texts else "the clips have no captions to measure stage 1 with"
        )
        return Choice(stages[0], _info(stages[0], CANDIDATES, f"{stages[0].name}: {reason}", {}), None)
    queries = _embed(retriever, texts)
    asked = Embedded(*(part[:: max(1, len(texts) // NUM_QUERIES)][:NUM_QUERIES] for part in queries))
    step = max(1, len(rows.ids) // NUM_CLIPS)
    clips = rows.embedded(range(0, len(rows.ids), step))
    scoring = retriever.scoring
    exact = exact_scores(
        asked,
        clips,
        temperature=scoring.temperature,
        legacy_unmasked=scoring.legacy_unmasked,
        pad_to=scoring.pad_to,
    )
    measured = {stage.name: measure_stage(stage, clips, asked, exact, ks=_KS) for stage in stages}
    stage = min(stages, key=lambda one: _rank(measured[one.name], stages.index(one)))
    enough = measured[stage.name].enough(RECALL) or _KS[-1]
    # Among more clips than were measured, the best ten lie that much further down.
    candidates = max(LEAST_CANDIDATES, enough * step)
    info = _info(stage, candidates, _reason(stage, measured, candidates, len(clips.tokens), step), measured)
    return Choice(stage, info, stage.query_vectors(queries))


def _rank(measured: Measured, place: int) -> tuple[float, float, int]:
    """Fewest candidates first, then the best recall at 100, then the earlier stage, which is the shorter vector."""
    return (measured.enough(RECALL) or float("inf"), -round(measured.recall[100], 3), place)


def _info(stage: StageOne, candidates: int, reason: str, measured: dict[Any, Measured]) -> dict[str, Any]:
    return {
        "stage_one": stage.name,
        "candidates": candidates,
        "stage_one_reason": reason,
        "stage_one_measured": {name: found.to_dict() for name, found in measured.items()},
    }


def _reason(stage: StageOne, measured: dict[Any, Measured], candidates: int, num_clips: int, step: int) -> str:
    others = ", ".join(f"{name} {found.recall[100]:.3f}" for name, found in measured.items() if name != stage.name)
    where = f"{num_clips} of the clips" if step > 1 else "the clips"
    beside = f" ({others})" if others else ""
    return (
        f"stage 1 is {stage.name}: its first 100 hold {measured[stage.name].recall[100]:.3f} of the exact best ten "
        f"over {where}{beside}; stage 2 scores {candidates}"
    )


def _captions(rows: Rows) -> list[str]:
    """Different captions of the clips, some thousand at most, spread over them."""
    texts = dict.fromkeys(itertools.chain.from_iterable(row["captions"].values() for row in rows.payload))
    found = list(texts)
    return found[:: max(1, len(found) // _MOST_QUERIES)][:_MOST_QUERIES]


def _embed(retriever: Retriever, texts: list[str]) -> Embedded:
    parts = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        found = retriever.embed_texts(texts[start : start + _TEXTS_AT_ONCE])
        parts.append(Embedded(*(value.cpu() for value in found)))
    return join_embedded(parts)
