"""Estimate an n-gram model: interpolated Kneser-Ney with three discounts per order (Chen and Goodman 1999).

The counts fit in memory as Python dictionaries: meant for the transcripts of a corpus, not for a crawl of the web.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from signwave.ctc.lm import END, START, UNKNOWN, Level
from signwave.errors import UserError

Gram = tuple[str, ...]

# Used where the counts are too few to estimate discounts, e.g. all counts above 2.
_FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
_NEVER_LOG10 = -99.0


def estimate(
    sentences: Iterable[Sequence[str]], *, order: int, vocabulary: Iterable[str] = ()
) -> tuple[list[str], list[Level]]:
    """Return the words and n-grams of a model in which p(. | any context) sums to 1 over all words but `<s>`.

    Args:
        sentences: the words of each sentence.
        order: the longest n-gram, from 1.
        vocabulary: words to know besides those of the sentences.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    counts = _count(sentences, order)
    if not counts[0]:
        raise UserError("no sentences to train a language model on; give at least one with a word in it")
    words = [UNKNOWN, START, END]
    words += sorted({gram[0] for gram in counts[0]} | set(vocabulary) - {UNKNOWN} - {START, END} - {""})
    words = list(dict.fromkeys(words))
    probs: dict[Gram, float] = {(): 1.0 / (len(words) - 1)}
    prob_levels: list[dict[Gram, float]] = []
    backoffs: dict[Gram, float] = {}
    for number in range(order):
        level = _interpolate(counts[number], probs, backoffs)
        if number == 0:
            uniform = backoffs[()] * probs[()]
            level = {(word,): level.get((word,), uniform) for word in words if word != START}
        prob_levels.append(level)
        probs = level
    return words, _levels(words, prob_levels, backoffs)


def _count(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Gram]]:
    """Return per order the counts that Kneser-Ney uses.

    The longest n-grams and those that start a sentence count how often they occur, the others after how many
    different words they do.
    """
    raw: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        reserved = {START, END, UNKNOWN} & set(sentence)
        if reserved:
            raise UserError(
                f"a sentence holds the reserved word {sorted(reserved)[0]!r}; leave it out, it is added here"
            )
        if not sentence:
            continue
        padded = (START, *sentence, END)
        for number in range(1, order + 1):
            raw[number - 1].update(padded[i : i + number] for i in range(len(padded) - number + 1))
    for number in range(order - 1):
        left: Counter[Gram] = Counter()
        for gram in raw[number + 1]:
            left[gram[1:]] += 1
        # Nothing ever precedes <s>, so n-grams that start with it keep their raw counts.
        left.update({gram: count for gram, count in raw[number].items() if gram[0] == START})
        raw[number] = left
    raw[0].pop((START,), None)  # <s> is never predicted
    return raw


def _interpolate(counts: Counter[Gram], lower: dict[Gram, float], backoffs: dict[Gram, float]) -> dict[Gram, float]:
    """Return p(last | context) of each counted n-gram; writes the back-off weight of each context."""
    discounts = _discounts(counts)
    totals: defaultdict[Gram, int] = defaultdict(int)
    freed: defaultdict[Gram, float] = defaultdict(float)
    for gram, count in counts.items():
        totals[gram[:-1]] += count
        freed[gram[:-1]] += discounts[min(count, 3) - 1]
    for context, total in totals.items():
        backoffs[context] = freed[context] / total
    return {
        gram: (count - discounts[min(count, 3) - 1]) / totals[gram[:-1]] + backoffs[gram[:-1]] * lower[gram[1:]]
        for gram, count in counts.items()
    }


def _discounts(counts: Counter[Gram]) -> tuple[float, float, float]:
    of_count = Counter(counts.values())
    ones, twos, threes, fours = (of_count[number] for number in (1, 2, 3, 4))
    if not (ones and twos and threes):
        return _FALLBACK_DISCOUNTS
    base = ones / (ones + 2 * twos)
    found = (1 - 2 * base * twos / ones, 2 - 3 * base * threes / twos, 3 - 4 * base * fours / threes)
    usable = all(0 < value < number for number, value in enumerate(found, start=1))
    return found if usable else _FALLBACK_DISCOUNTS


def _levels(words: list[str], prob_levels: list[dict[Gram, float]], backoffs: dict[Gram, float]) -> list[Level]:
    ids = {word: index for index, word in enumerate(words)}
    levels = []
    for number, probs in enumerate(prob_levels):
        rows = [(gram, math.log10(prob)) for gram, prob in probs.items()]
        if number == 0:
            rows.append(((START,), _NEVER_LOG10))
        rows.sort(key=lambda row: [ids[word] for word in row[0]])
        weights = [math.log10(backoffs[gram]) if gram in backoffs else 0.0 for gram, _ in rows]
        levels.append(
            Level(
                words=np.array([[ids[word] for word in gram] for gram, _ in rows], dtype=np.int64).reshape(
                    -1, number + 1
                ),
                log10_prob=np.array([log10_prob for _, log10_prob in rows]),
                log10_backoff=np.array(weights),
            )
        )
    return levels
