"""Which word of one language stands for which of another, learnt from captions that say the same.

The association is the Dice coefficient of the captions that two words stand in (Smadja et al., Computational
Linguistics 22(1), 1996): 2 · both / (one + other). No word order and no alignment are needed; words of any caption pair
will do. Words that are always said together can't be told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np

from slr.captions.words import bare, join_words, plain, split_words

MIN_DICE = 0.4
MIN_PAIRS = 2


def learn_lexicon(
    pairs: Iterable[tuple[str, str]],
    stop_words: tuple[Collection[str], Collection[str]] = ((), ()),
    *,
    min_dice: float = MIN_DICE,
    min_pairs: int = MIN_PAIRS,
) -> dict[str, str]:
    """Word of the first language (without case) → word of the second, as it is written most often.

    Args:
        pairs: captions of the same sentence in both languages.
        stop_words: of both languages, without case; they are neither translated nor translations.
        min_dice: least association, 0 to 1; a word without one that strong isn't in the lexicon.
        min_pairs: fewest pairs that hold both words.
    """
    ones, others, both = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    written: dict[str, Counter[str]] = {}
    for first, second in pairs:
        left = {plain(word) for word in split_words(first)} - {"", *stop_words[0]}
        right = {plain(word): bare(word) for word in split_words(second)}
        right = {word: form for word, form in right.items() if word and word not in stop_words[1]}
        ones.update(left)
        others.update(right.keys())
        both.update((one, other) for one in left for other in right)
        for word, form in right.items():
            written.setdefault(word, Counter())[form] += 1
    best: dict[str, tuple[float, str]] = {}
    for (one, other), count in both.items():
        dice = 2 * count / (ones[one] + others[other])
        # Of equally strong ones the first in the alphabet: the lexicon doesn't depend on the order of sets.
        if count >= min_pairs and dice >= min_dice and (-dice, other) < best.get(one, (0.0, "")):
            best[one] = (-dice, other)
    return {one: _usual(written[other]) for one, (_, other) in sorted(best.items())}


def _usual(forms: Counter[str]) -> str:
    return min(forms, key=lambda form: (-forms[form], form))


def switch_code(caption: str, lexicon: dict[str, str], rng: np.random.Generator, *, share: float = 0.5) -> str:
    """A caption with some of its words in the other language, at least one; "" where the lexicon has none of them.

    Args:
        caption: the text.
        lexicon: of `learn_lexicon`.
        rng: draws which words.
        share: of the words that the lexicon has, drawn one by one.
    """
    words = split_words(caption)
    known = [place for place, word in enumerate(words) if plain(word) in lexicon]
    if not known:
        return ""
    chosen = [place for place in known if rng.random() < share] or [known[int(rng.integers(len(known)))]]
    for place in chosen:
        word = words[place]
        words[place] = word.replace(bare(word), lexicon[plain(word)], 1)
    return join_words(words, caption)
