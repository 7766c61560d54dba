"""How a known set of pieces cuts a word: byte-pair merges, or the likeliest cut; both can also be drawn at random.

The pieces are learnt by SentencePiece or Morfessor; cutting needs neither, so a stored tokenizer depends on no package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from signwave.errors import ArtefactError

Method = Literal["bpe", "unigram"]
METHODS: tuple[Method, ...] = get_args(Method)
_UNKNOWN_PENALTY = 10.0


@dataclass(frozen=True)
class PieceModel:
    """Pieces with a score each; a character that is no piece stands for itself.

    Attributes:
        method: "bpe" merges the pair of neighbours whose join has the highest score until none is a piece; "unigram"
            takes the cut with the highest sum of scores, natural logarithms of probabilities.
        scores: piece → score.
    """

    method: Method
    scores: dict[str, float]
    _cut: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)

    def cut(self, word: str) -> list[str]:
        """Return the pieces of a word, the same every time."""
        found = self._cut.get(word)
        if found is None:
            found = self._merged(list(word)) if self.method == "bpe" else self._likeliest(word)
            self._cut[word] = found
        return list(found)

    def draw(self, word: str, rng: np.random.Generator, *, strength: float) -> list[str]:
        """Return the pieces of a random cut, for subword regularisation (Kudo 2018; Provilkov et al. 2020).

        Args:
            word: to cut.
            rng: where the chance comes from.
            strength: unigram: exponent of the probabilities, 0 = every cut alike, large = always the likeliest; bpe:
                chance that a merge is passed over, 0 = never.
        """
        if self.method == "bpe":
            return self._merged(list(word), rng, strength)
        return self._drawn(word, rng, strength)

    def _merged(self, parts: list[str], rng: np.random.Generator | None = None, dropout: float = 0.0) -> list[str]:
        while len(parts) > 1:
            joins = [
                (-score, place)
                for place in range(len(parts) - 1)
                if (score := self.scores.get(parts[place] + parts[place + 1])) is not None
                and (rng is None or rng.random() >= dropout)
            ]
            if not joins:
                break
            _, place = min(joins)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return parts

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.scores), default=1)

    @cached_property
    def _unknown(self) -> float:
        return min(self.scores.values(), default=0.0) - _UNKNOWN_PENALTY

    def _arcs(self, word: str, stop: int) -> list[tuple[int, float]]:
        """Where a piece that ends at `stop` may begin, with its score."""
        arcs = [
            (start, self.scores[word[start:stop]])
            for start in range(max(0, stop - self._longest), stop)
            if word[start:stop] in self.scores
        ]
        if not arcs or arcs[-1][0] != stop - 1:
            arcs.append((stop - 1, self._unknown))
        return arcs

    def _likeliest(self, word: str) -> list[str]:
        best, cut = [0.0], [0]
        for stop in range(1, len(word) + 1):
            score, start = max((best[start] + score, -start) for start, score in self._arcs(word, stop))
            best.append(score)
            cut.append(-start)
        return _parts(word, cut)

    def _drawn(self, word: str, rng: np.random.Generator, strength: float) -> list[str]:
        """Forward sums, then a walk from the end in which each arc has its posterior probability."""
        total = [0.0]
        for stop in range(1, len(word) + 1):
            total.append(_log_sum([total[start] + strength * score for start, score in self._arcs(word, stop)]))
        cut = [0] * (len(word) + 1)
        stop = len(word)
        while stop:
            arcs = self._arcs(word, stop)
            logs = np.array([total[start] + strength * score for start, score in arcs])
            weights = np.exp(logs - logs.max())
            cut[stop] = arcs[int(rng.choice(len(arcs), p=weights / weights.sum()))][0]
            stop = cut[stop]
        return _parts(word, cut)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"method": self.method, "scores": self.scores}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PieceModel:
        """Rebuild a stored model.

        Raises:
            ArtefactError: the content is none.
        """
        try:
            if values["method"] not in METHODS:
                raise ValueError(f"method must be bpe or unigram, got {values['method']!r}")
            scores = {str(piece): float(score) for piece, score in values["scores"].items()}
            if not all(scores) or not all(map(math.isfinite, scores.values())):
                raise ValueError("every piece needs a letter and a finite score")
            return cls(values["method"], scores)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"stored pieces can't be read ({error})") from error


def _parts(word: str, cut: list[int]) -> list[str]:
    """The pieces, where cut[stop] is the begin of the piece that ends at stop."""
    parts = []
    stop = len(word)
    while stop:
        parts.append(word[cut[stop] : stop])
        stop = cut[stop]
    return parts[::-1]


def _log_sum(logs: list[float]) -> float:
    highest = max(logs)
    return highest + math.log(sum(math.exp(log - highest) for log in logs))
