"""How well the ends of tokens agree with annotated boundaries inside words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from asr.tokenizers.gold import ZWNJ, GoldWord
from asr.tokenizers.tokenizer import Tokenizer
from signwave.errors import UserError
from signwave.metrics.bootstrap import percentiles, resampled_sums
from signwave.text import WORD_START

_NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class BoundaryScore:
    """How well boundaries inside words are found; rates are fractions.

    Attributes:
        num_words: words looked at.
        num_gold: boundaries annotated.
        num_found: boundaries that the tokenizer makes.
        num_right: those at annotated places.
        precision: num_right over num_found.
        recall: num_right over num_gold.
        f1: their harmonic mean.
        f1_interval_95: over draws of words.
    """

    num_words: int
    num_gold: int
    num_found: int
    num_right: int
    precision: float
    recall: float
    f1: float
    f1_interval_95: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def boundaries(parts: Iterable[str]) -> set[int]:
    """Return the letters before each boundary between the parts of a word."""
    lengths = [len(part.replace(ZWNJ, "").replace(WORD_START, "")) for part in parts]
    return set(np.cumsum(lengths).tolist()[:-1]) - {0, sum(lengths)}


def score_boundaries(cuts: Iterable[Iterable[str]], gold: Iterable[frozenset[int]]) -> BoundaryScore:
    """Compare the parts of words with annotated boundaries, word by word.

    Raises:
        UserError: there is no word.
    """
    rows = []
    for parts, right in zip(cuts, gold, strict=True):
        found = boundaries(parts)
        rows.append((len(right), len(found), len(found & right)))
    if not rows:
        raise UserError("no word with annotated boundaries; give gold that has some")
    counts = np.array(rows, dtype=np.float64).T
    num_gold, num_found, num_right = (int(total) for total in counts.sum(axis=1))
    drawn = resampled_sums(counts, _NUM_RESAMPLES, seed=0)
    interval = percentiles(2 * drawn[2] / np.maximum(drawn[0] + drawn[1], 1), 0.95)
    return BoundaryScore(
        num_words=len(rows), num_gold=num_gold, num_found=num_found, num_right=num_right,
        precision=num_right / max(num_found, 1), recall=num_right / max(num_gold, 1),
        f1=2 * num_right / max(num_gold + num_found, 1), f1_interval_95=(interval.low, interval.high),
    )  # fmt: skip


def score_tokenizer(tokenizer: Tokenizer, words: Iterable[GoldWord]) -> dict[str, BoundaryScore]:
    """Return the score on `joints` and on `stems`, on each where the gold has any."""
    words = list(words)
    scores = {}
    for name in ("joints", "stems"):
        chosen = [(word.word, right) for word in words if (right := getattr(word, name)) is not None]
        if chosen:
            scores[name] = score_boundaries((tokenizer.cut(word) for word, _ in chosen), (right for _, right in chosen))
    return scores
