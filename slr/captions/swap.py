"""Two words of a caption change places: EDA's random swap (Wei and Zou, EMNLP 2019), CiCo's only text augmentation."""

from __future__ import annotations

import numpy as np

from slr.captions.words import join_words, split_words, words_end


def swap_words(text: str, rng: np.random.Generator, probability: float = 0.5) -> str:
    """A caption with two of its words swapped (CiCo, CVPR 2023, §3.3), or as it is.

    Words lie between spaces; of a text without any in a script that has none (Chinese, Thai) characters are swapped.
    Punctuation at the end stays there. A single word stays as it is.

    Args:
        text: the caption.
        rng: draws whether, and which words.
        probability: of swapping.

    Raises:
        ValueError: the probability is none.

    >>> swap_words("one two.", np.random.default_rng(0), probability=1.0)
    'two one.'
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be from 0 to 1, got {probability}")
    # Drawn in any case: what comes after doesn't depend on the text.
    swapping = bool(rng.random() < probability)
    stripped = text.strip()
    body, end = stripped[: words_end(stripped)], stripped[words_end(stripped) :]
    words = split_words(body)
    if not swapping or len(words) < 2:
        return text
    first, second = rng.choice(len(words), 2, replace=False).tolist()
    words[first], words[second] = words[second], words[first]
    return join_words(words, body) + end
