"""The decoder of a loaded model: greedy, or a beam search with the n-gram model that its bundle carries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from signwave.ctc import BeamOptions, Hypothesis, NgramLm, TokenFusion, WordFusion, beam_search, greedy
from signwave.ctc.fusion import Fusion
from signwave.errors import ArtefactError, UserError
from signwave.text import SPACE_TOKEN, Vocabulary

DEFAULT_BEAM = 16
BLANK_SKIP = 0.999
"""Steps surer than this to be blank are passed over: the result is the same, the search much faster."""
_DEFAULT_LM_WEIGHT = 0.5

Decode = Callable[[Tensor, Tensor], list[Hypothesis]]


class DecodableModel(Protocol):
    """What choosing a decoder needs of a loaded model."""

    vocabulary: Vocabulary
    decoder: dict[str, Any]
    lm_path: Path | None


def make_decoder(model: DecodableModel, *, lm: bool | None = None, beam: int | None = None) -> Decode:
    """Return the decoder: (log_probs (B, T, V), num_steps (B,)) → one hypothesis an item, with steps and confidences.

    Args:
        model: says which vocabulary, which language model and which settings (`beam_size`, `lm_weight`, `token_bonus`,
            `unit` = what a word of the language model is, "word" or "char").
        lm: use the language model; None = if there is one.
        beam: hypotheses kept; 1 without a language model is greedy. None = as stored with the language model, and
            greedy without one.

    Raises:
        ArtefactError: `lm=True` and the bundle has none, or it doesn't fit the vocabulary.
        UserError: `beam` is below 1.
    """
    if beam is not None and beam < 1:
        raise UserError(f"--beam {beam}: must be at least 1 (1 without a language model is greedy)")
    if lm and model.lm_path is None:
        raise ArtefactError("--lm: the model has no language model in its bundle; leave the option out")
    use_lm = model.lm_path is not None if lm is None else lm
    if not use_lm and (beam is None or beam == 1):
        return greedy
    fusion = _stored_fusion(model) if use_lm else None
    width = beam or int(model.decoder.get("beam_size", DEFAULT_BEAM))
    options = BeamOptions(beam_width=width, blank_skip=BLANK_SKIP)

    def decode(log_probs: Tensor, num_steps: Tensor) -> list[Hypothesis]:
        return [found[0] for found in beam_search(log_probs, num_steps, options=options, fusion=fusion)]

    return decode


def make_fusion(
    language_model: NgramLm, vocabulary: Vocabulary, *, unit: str, weight: float, bonus: float
) -> TokenFusion | WordFusion:
    """Return what the beam search adds for a language model.

    Args:
        language_model: of words, or of the vocabulary's tokens.
        vocabulary: of the recogniser.
        unit: what a word of the language model is, "word" or "char".
        weight: factor on the model's natural log probabilities.
        bonus: nats added for each word of the language model.

    Raises:
        ArtefactError: a model of words, and the vocabulary spells them without a token between them.
    """
    tokens = vocabulary.tokens
    if unit == "char" or vocabulary.unit == "word":
        return TokenFusion(language_model, tokens, weight=weight, length_bonus=bonus)
    if SPACE_TOKEN not in tokens:
        raise ArtefactError(
            f"the language model is one of words, but the vocabulary has no '{SPACE_TOKEN}' between them; "
            "use --no-lm, or train one of characters"
        )
    boundary = tokens.index(SPACE_TOKEN)
    return WordFusion(language_model, tokens, boundary=boundary, weight=weight, length_bonus=bonus)


def _stored_fusion(model: DecodableModel) -> Fusion:
    if model.lm_path is None:
        raise ValueError("the model has no language model")
    settings = model.decoder
    return make_fusion(
        NgramLm.from_arpa(model.lm_path),
        model.vocabulary,
        unit=str(settings.get("unit", "char")),
        weight=float(settings.get("lm_weight", _DEFAULT_LM_WEIGHT)),
        bonus=float(settings.get("token_bonus", 0.0)),
    )
