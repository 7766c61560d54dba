"""How much of the target's phones and letters a donor has."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Set

_KEPT = ("L", "M")  # letters and marks


def phone_overlap(target: Set[str], donor: Set[str]) -> float:
    """Phones that both have among those that either has, in [0, 1].

    >>> phone_overlap({"p", "t", "k"}, {"t", "k", "q"})
    0.5
    """
    either = target | donor
    return len(target & donor) / len(either) if either else 0.0


def letter_counts(texts: Iterable[str]) -> Counter[str]:
    """Letters and combining marks of some texts, lower case, in canonical composition."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(c for c in unicodedata.normalize("NFC", text).lower() if unicodedata.category(c)[0] in _KEPT)
    return counts


def script_overlap(target: Mapping[str, int], donor: Mapping[str, int]) -> float:
    """What the two distributions of letters have in common, in [0, 1]: 0 = different scripts.

    >>> script_overlap({"a": 3, "b": 1}, {"a": 1, "c": 1})
    0.5
    """
    num_target, num_donor = sum(target.values()), sum(donor.values())
    if not num_target or not num_donor:
        return 0.0
    return sum(min(count / num_target, donor.get(letter, 0) / num_donor) for letter, count in target.items())
