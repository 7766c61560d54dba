"""Which decoder a recogniser gets: each is tried on the dev split, the test split never takes part."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from signwave import metrics
from signwave.ctc import BeamOptions, Hypothesis, NgramLm, TokenFusion, beam_search, greedy
from signwave.errors import ConfigError
from signwave.text import Vocabulary
from slr.decoding import BLANK_SKIP


@dataclass
class GlossLmConfig:
    """The n-gram model of glosses trained beside the recogniser, and the decoders tried on dev; greedy always is."""

    order: int = 3
    """Longest n-gram; 0 trains none, and only greedy and plain beam search are tried."""
    beam_sizes: list[int] = field(default_factory=lambda: [10])
    """Beam search without the model; an empty list leaves it out."""
    lm_beam_size: int = 10
    weights: list[float] = field(default_factory=lambda: [0.2, 0.4, 0.6, 0.8])
    token_bonuses: list[float] = field(default_factory=lambda: [0.0, 0.5])
    """Nats added for each gloss."""

    def __post_init__(self) -> None:
        if self.order < 0 or self.lm_beam_size < 1 or any(size < 1 for size in self.beam_sizes):
            raise ConfigError("lm.order must be at least 0, and beam sizes at least 1")


class Scored(NamedTuple):
    """One clip's output and what was signed.

    log_probs: (T, V) float32, natural log, on the CPU.
    """

    log_probs: Tensor
    text: str


class GlossDecoder(NamedTuple):
    """Settings of a decoder, as slr.decoding finds them in a bundle.

    Attributes:
        beam_size: hypotheses kept; 1 without a language model is greedy.
        lm_weight: factor on the language model's natural log probabilities; 0 leaves it out.
        token_bonus: nats added for each gloss.
    """

    beam_size: int = 1
    lm_weight: float = 0.0
    token_bonus: float = 0.0

    def decode(self, outputs: Sequence[Tensor], vocabulary: Vocabulary, lm: NgramLm | None = None) -> list[Hypothesis]:
        """The best hypothesis of each output, (T, V) float32 log-probabilities, with steps and confidences."""
        fusion = None
        if self.lm_weight > 0 and lm is not None:
            fusion = TokenFusion(lm, vocabulary.tokens, weight=self.lm_weight, length_bonus=self.token_bonus)
        found = []
        for log_probs in outputs:
            num_steps = log_probs.new_tensor([len(log_probs)]).long()
            if self.beam_size == 1 and fusion is None:
                found += greedy(log_probs[None], num_steps)
                continue
            options = BeamOptions(beam_width=self.beam_size, blank_skip=BLANK_SKIP)
            found.append(beam_search(log_probs[None], num_steps, options=options, fusion=fusion)[0][0])
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a bundle."""
        return dict(self._asdict())

    def __str__(self) -> str:
        if self == GREEDY:
            return "greedy"
        lm = f", lm {self.lm_weight:g}, bonus {self.token_bonus:g}" if self.lm_weight else ""
        return f"beam {self.beam_size}{lm}"


GREEDY = GlossDecoder()


def choose_decoder(
    outputs: Sequence[Scored], lm: NgramLm | None, vocabulary: Vocabulary, settings: GlossLmConfig
) -> tuple[GlossDecoder, dict[str, float]]:
    """Try every decoder on held-out clips; the fewest errors win, and of equals the first, which is the plainest.

    Returns:
        The decoder, and for the record each decoder tried → its word error rate, a fraction.
    """
    decoders = [GREEDY, *(GlossDecoder(size) for size in settings.beam_sizes if size > 1)]
    if lm is not None:
        decoders += [
            GlossDecoder(settings.lm_beam_size, weight, bonus)
            for weight in settings.weights
            for bonus in settings.token_bonuses
        ]
    references = [output.text for output in outputs]
    tried: dict[str, float] = {}
    for decoder in decoders:
        hypotheses = decoder.decode([output.log_probs for output in outputs], vocabulary, lm)
        texts = [vocabulary.decode(hypothesis.tokens) for hypothesis in hypotheses]
        tried[str(decoder)] = metrics.wer(references, texts)
    best = min(decoders, key=lambda decoder: tried[str(decoder)])
    return best, tried
