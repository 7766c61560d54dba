"""Scores of a trained model on the clips of a manifest, for an evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from signwave import command
from signwave.errors import UserError
from signwave.manifest import Clip
from slr.models.dual_encoder import Embedded, join_embedded
from slr.retrieval.evaluation.score_matrix import ScoredText, ScoreMatrix, gallery_of, texts_of
from slr.retrieval.search.retriever import Retriever
from slr.retrieval.similarity import exact_scores

_AT_ONCE = 64


class EmbeddedClips(NamedTuple):
    """Clips that could be read, and why the others couldn't.

    embedded: of `clips`, on the CPU.
    problems: clip id → reason.
    """

    clips: list[Clip]
    embedded: Embedded
    problems: dict[str, str]


def score_manifest(
    model: str | Path,
    clips: Sequence[Clip],
    *,
    bank: Sequence[Clip] = (),
    features: Sequence[str] = (),
    group_by: str = "group",
    device: str = "auto",
    quiet: bool = False,
) -> ScoreMatrix:
    """Score every caption against every clip, exactly.

    Args:
        model: run or bundle folder.
        clips: what is searched; those that can't be read are the matrix's `missing`.
        bank: training clips, whose captions and clips give the banks of the normalised rows; () leaves them out.
        features: "STREAM=FOLDER" or "STREAM=FOLDER,AWARE_FOLDER" of cached features, where the clips' files aren't to
            be read.
        group_by: "group", or "clip" where a manifest's groups aren't sentences: each clip is then one of its own.
        device: auto, cpu, cuda or cuda:N.
        quiet: no progress.

    Raises:
        UserError: the model can't score, or no clip could be read.
    """
    if group_by == "clip":
        clips, bank = ([dataclasses.replace(clip, group="") for clip in some] for some in (clips, bank))
    retriever = Retriever.load(model, device=device, features=features)
    found = embed_clips(retriever, clips, quiet=quiet)
    for name, reason in found.problems.items():
        command.say(f"left out: {name}: {reason}")
    texts = texts_of(found.clips)
    if not texts:
        raise UserError("none of the clips has a caption, so nothing can be asked; add some with `slr captions add`")
    queries = _embed_texts(retriever, texts)
    banked = embed_clips(retriever, bank, quiet=quiet) if bank else None
    return ScoreMatrix(
        _scores(retriever, queries, found.embedded),
        texts,
        gallery_of(found.clips),
        bank_texts=_scores(retriever, _embed_texts(retriever, texts_of(bank)), found.embedded) if bank else None,
        bank_clips=_scores(retriever, queries, banked.embedded) if banked else None,
        nearness=np.asarray((found.embedded.pooled @ found.embedded.pooled.T).numpy(), dtype=np.float32),
        missing=tuple(found.problems),
        name=str(model),
    )


def embed_clips(retriever: Retriever, clips: Sequence[Clip], *, quiet: bool) -> EmbeddedClips:
    """Embed clips; one that can't be read is named and left out.

    Raises:
        UserError: none could be read.
    """
    done: list[Clip] = []
    parts: list[Embedded] = []
    problems: dict[str, str] = {}
    pending = []
    for number, clip in enumerate(command.progress(clips, "embedding", total=len(clips), quiet=quiet)):
        try:
            pending.append(retriever.clips.read(clip))
            done.append(clip)
        except UserError as error:
            problems[clip.id] = " ".join(str(error).split())
        if pending and (len(pending) == _AT_ONCE or number + 1 == len(clips)):
            parts.append(Embedded(*(value.float().cpu() for value in retriever.embed_clips(pending))))
            pending = []
    if not parts:
        first = next(iter(problems.items()), ("the manifest", "has no row"))
        raise UserError(f"none of {len(clips)} clips could be read; the first: {first[0]}: {first[1]}")
    joined = join_embedded(parts)
    return EmbeddedClips(done, joined._replace(num_tokens=joined.num_tokens.long()), problems)


def _embed_texts(retriever: Retriever, texts: Sequence[ScoredText]) -> Embedded:
    parts = []
    for start in range(0, len(texts), _AT_ONCE):
        found = retriever.embed_texts([text.text for text in texts[start : start + _AT_ONCE]])
        parts.append(Embedded(*(value.cpu() for value in found)))
    return join_embedded(parts)


def _scores(retriever: Retriever, texts: Embedded, clips: Embedded) -> NDArray[np.float32]:
    """(texts, clips) float32, as the model ranks."""
    scoring = retriever.scoring
    if scoring.rank_by == "pooled":
        with torch.no_grad():
            return np.asarray((texts.pooled.float() @ clips.pooled.T).numpy(), dtype=np.float32)
    return exact_scores(
        texts,
        clips,
        temperature=scoring.temperature,
        legacy_unmasked=scoring.legacy_unmasked,
        pad_to=scoring.pad_to,
    )
