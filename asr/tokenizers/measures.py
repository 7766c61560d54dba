"""How a tokenizer suits CTC: tokens to be written in the frames there are, and how often each is seen.

CTC writes at most one token a frame, and a blank between equal neighbours: a clip of N tokens with R repeats needs
N + R frames. It also writes tokens independently of each other, so the information that a second of labels holds is the
code length under the frequencies of single tokens, on texts that weren't counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from asr.tokenizers.tokenizer import Tokenizer
from signwave.ctc import min_steps
from signwave.errors import UserError
from signwave.text import SPACE_TOKEN

WORDS_PER_SECOND = 2.5
"""Of read speech, where clips have no length."""
RARE = 20
"""A token seen less often in training is rare."""


@dataclass(frozen=True)
class Utterance:
    """A transcript and how long it takes."""

    text: str
    seconds: float


def utterances(texts: Sequence[str], *, words_per_second: float = WORDS_PER_SECOND) -> list[Utterance]:
    """Return texts with the length they would have at a steady pace."""
    return [Utterance(text, len(text.split()) / words_per_second) for text in texts if text.split()]


@dataclass(frozen=True)
class Measures:
    """Rates are fractions; `|` counts as a token where a second or a clip is meant, not in `tokens_per_word`.

    Attributes:
        vocab_size: tokens, the blank included.
        num_words: words of the held-out texts.
        tokens_per_word: without `|`.
        tokens_per_second: with `|`.
        feasible_rate: share of clips with enough frames for a CTC path.
        repeat_rate: tokens that equal their left neighbour.
        unknown_rate: held-out clips with a character that the vocabulary lacks; they count as not feasible.
        rare_rate: share of the pieces of several letters seen less than RARE times in training; single letters must be
            there whatever they are.
        bits_per_second: code length of the held-out labels under the training's frequencies, each plus one.
        step_seconds: time of a frame.
    """

    vocab_size: int
    num_words: int
    tokens_per_word: float
    tokens_per_second: float
    feasible_rate: float
    repeat_rate: float
    unknown_rate: float
    rare_rate: float
    bits_per_second: float
    step_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> Counter[str]:
    """Return how often each token is in training texts."""
    return Counter(token for text in texts for token in tokenizer.tokens(text))


def measure(
    tokenizer: Tokenizer, held_out: Sequence[Utterance], training: Counter[str], *, step_seconds: float = 0.02
) -> Measures:
    """Measure a tokenizer.

    Args:
        tokenizer: to be measured.
        held_out: clips that it wasn't trained on.
        training: tokens of the training texts, see `count_tokens`.
        step_seconds: time from one output frame of the model to the next.

    Raises:
        UserError: there is no clip, or none takes any time.
    """
    seconds = sum(one.seconds for one in held_out)
    if not held_out or seconds <= 0:
        raise UserError("no held-out clip with a length; give some to measure on")
    known = set(tokenizer.vocabulary.tokens[1:])
    longer = [token for token in known if len(token) > 1]
    total = training.total() + len(known)
    num_tokens = num_words = num_boundaries = num_repeats = num_feasible = num_unknown = 0
    numbers: dict[str, int] = {}
    bits = 0.0
    for one in held_out:
        tokens = tokenizer.tokens(one.text)
        steps = min_steps([numbers.setdefault(token, len(numbers)) for token in tokens])
        is_unknown = not known.issuperset(tokens)
        num_tokens, num_repeats = num_tokens + len(tokens), num_repeats + steps - len(tokens)
        num_words += len(tokenizer.normaliser(one.text).split())
        num_boundaries += tokens.count(SPACE_TOKEN)
        num_unknown += is_unknown
        num_feasible += not is_unknown and steps <= int(one.seconds / step_seconds + 1e-6)
        bits -= sum(math.log2((training[token] + 1) / total) for token in tokens)
    return Measures(
        vocab_size=tokenizer.size,
        num_words=num_words,
        tokens_per_word=(num_tokens - num_boundaries) / max(num_words, 1),
        tokens_per_second=num_tokens / seconds,
        feasible_rate=num_feasible / len(held_out),
        repeat_rate=num_repeats / max(num_tokens, 1),
        unknown_rate=num_unknown / len(held_out),
        rare_rate=sum(training[token] < RARE for token in longer) / max(len(longer), 1),
        bits_per_second=bits / seconds,
        step_seconds=step_seconds,
    )
