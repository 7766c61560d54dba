"""Stage 2: the exact fine-grained score of the candidates of one query, on ragged tokens, without padding."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from signwave.index.interface import TokenBlock
from slr.models.dual_encoder import Embedded
from slr.retrieval.similarity import INNER_TEMPERATURE, RELEASED_LENGTHS, SAFE_TEMPERATURE, fine_grained

FloatArray = NDArray[np.float32]


def rerank(
    block: TokenBlock,
    query: FloatArray,
    *,
    temperature: float = INNER_TEMPERATURE,
    legacy_unmasked: bool = False,
) -> FloatArray:
    """Score clips for one text, as `fine_grained` does.

    Args:
        block: tokens of K clips, one after the other; every clip has at least one.
        query: (N, D) float32, tokens of the text, unit length.
        temperature: of the soft choices.
        legacy_unmasked: padding to the released lengths takes part in them.

    Returns:
        (K,) float32, the mean of both halves.
    """
    if legacy_unmasked:
        return _padded(block, query, temperature)
    # Products and exponentials by torch, in place: NumPy takes nearly twice as long.
    cosines = torch.from_numpy(block.data) @ torch.from_numpy(query).T  # (sum of M, N)
    starts = np.cumsum(block.lengths) - block.lengths
    if temperature >= SAFE_TEMPERATURE:
        # As in `fine_grained`: cosines are at most 1, so one exponential serves both soft choices.
        over_words = over_signs = cosines.sub(1).div_(temperature).exp_()
    else:
        over_words = cosines.sub(cosines.amax(dim=1, keepdim=True)).div_(temperature).exp_()
        best = np.repeat(np.maximum.reduceat(cosines.numpy(), starts, axis=0), block.lengths, axis=0)
        over_signs = cosines.sub(torch.from_numpy(best)).div_(temperature).exp_()
    by_sign = ((cosines * over_words).sum(dim=1) / over_words.sum(dim=1)).numpy()
    chosen = np.add.reduceat((cosines * over_signs).numpy(), starts, axis=0)
    chosen /= np.add.reduceat(over_signs.numpy(), starts, axis=0)
    scores = (np.add.reduceat(by_sign, starts) / block.lengths + chosen.mean(axis=1)) / 2
    return np.asarray(scores, dtype=np.float32)


def _padded(block: TokenBlock, query: FloatArray, temperature: float) -> FloatArray:
    lengths = torch.from_numpy(block.lengths)
    parts = torch.split(torch.from_numpy(block.data), block.lengths.tolist())
    tokens = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
    clips = Embedded(tokens, lengths, tokens[:, 0])
    words = torch.from_numpy(query)[None]
    text = Embedded(words, torch.tensor([len(query)]), words[:, 0])
    options = {"legacy_unmasked": True, "pad_to": RELEASED_LENGTHS}
    scores = fine_grained(clips, text, temperature=temperature, **options).mean[:, 0]  # type: ignore[arg-type]
    return np.asarray(scores.numpy(), dtype=np.float32)
