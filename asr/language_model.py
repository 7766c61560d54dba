"""An n-gram model for a recogniser: trained on its training texts, its weight chosen on held-out probabilities.

Characters are the default unit: with a few hundred transcripts most new words are unknown to a model of words, while
one of characters gives every spelling a probability.
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

from asr.decoding import BLANK_SKIP, make_fusion
from asr.tokenizers.tokenizer import Tokenizer
from signwave import metrics
from signwave.ctc import BeamOptions, NgramLm, beam_search
from signwave.errors import ConfigError
from signwave.text import SPACE_TOKEN, Vocabulary


@dataclass
class LanguageModelConfig:
    """The n-gram model trained beside the recogniser, and the settings tried for it."""

    order: int = 7
    """Longest n-gram; 0 trains none."""
    unit: Literal["char", "word"] = "char"
    """Of characters (or of pieces, where a tokenizer makes such), or of words."""
    beam_size: int = 16
    weights: list[float] = field(default_factory=lambda: [0.5, 0.7, 0.9, 1.1])
    token_bonuses: list[float] = field(default_factory=lambda: [0.4, 0.7, 1.0, 1.3])
    """Added for each token (for unit word: for each word)."""

    def __post_init__(self) -> None:
        if self.order < 0 or self.beam_size < 1:
            raise ConfigError(
                f"lm.order must be at least 0 and lm.beam_size at least 1, got {self.order} and {self.beam_size}"
            )
        if not self.weights or not self.token_bonuses:
            raise ConfigError("lm.weights and lm.token_bonuses must each list at least one value")


class Scored(NamedTuple):
    """One clip's output and what was said.

    log_probs: (T, V) float32, natural log, on the CPU.
    """

    log_probs: Tensor
    text: str


class Decoder(NamedTuple):
    """Settings of the beam search with a language model, as they are stored in a bundle."""

    beam_size: int
    lm_weight: float
    token_bonus: float
    unit: str

    def decode(self, outputs: Sequence[Scored], lm: NgramLm, vocabulary: Vocabulary) -> list[str]:
        """Texts of some outputs."""
        fusion = make_fusion(lm, vocabulary, unit=self.unit, weight=self.lm_weight, bonus=self.token_bonus)
        options = BeamOptions(beam_width=self.beam_size, blank_skip=BLANK_SKIP, spans=False)
        texts = []
        for output in outputs:
            num_steps = output.log_probs.new_tensor([len(output.log_probs)]).long()
            found = beam_search(output.log_probs[None], num_steps, options=options, fusion=fusion)
            texts.append(vocabulary.decode(found[0][0].tokens))
        return texts


def train_lm(
    texts: Sequence[str],
    vocabulary: Vocabulary,
    *,
    order: int,
    unit: Literal["char", "word"],
    tokenizer: Tokenizer | None = None,
) -> NgramLm:
    """Estimate a model on normalised texts.

    Args:
        texts: what is said.
        vocabulary: of the recogniser.
        order: longest n-gram.
        unit: "char" for one of the vocabulary's tokens, "word" for one of words.
        tokenizer: where the tokens are pieces.
    """
    if unit == "word" or vocabulary.unit == "word":
        return NgramLm.train([text.split() for text in texts], order=order)
    sentences = [tokenizer.tokens(text) if tokenizer else list(SPACE_TOKEN.join(text.split())) for text in texts]
    return NgramLm.train(sentences, order=order, vocabulary=[token for token in vocabulary.tokens[1:]])


def choose_decoder(
    outputs: Sequence[Scored], lm: NgramLm, vocabulary: Vocabulary, settings: LanguageModelConfig
) -> Decoder:
    """Try every pair of weight and bonus on held-out clips; the fewest word and character errors (added) win.

    Both count because a few dozen clips hold so few words that their errors alone tie.
    """
    said = [output.text for output in outputs]

    def errors(decoder: Decoder) -> float:
        texts = decoder.decode(outputs, lm, vocabulary)
        return metrics.wer(said, texts) + metrics.cer(said, texts)

    choices = itertools.product(settings.weights, settings.token_bonuses)
    return min((Decoder(settings.beam_size, weight, bonus, settings.unit) for weight, bonus in choices), key=errors)
