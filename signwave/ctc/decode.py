"""One front for all decoders: the same call and the same result, whichever searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from signwave.ctc.beam import BeamOptions, beam_search
from signwave.ctc.cuda import CudaDecoder
from signwave.ctc.flashlight import FlashlightDecoder, FlashlightOptions, Lexicon, character_lexicon
from signwave.ctc.fusion import Fusion, TokenFusion, WordFusion
from signwave.ctc.greedy import greedy
from signwave.ctc.hypothesis import Hypothesis
from signwave.ctc.lm import END, START, UNKNOWN, NgramLm

Method = Literal["greedy", "beam", "flashlight", "cuda"]
METHODS: tuple[Method, ...] = ("greedy", "beam", "flashlight", "cuda")


@dataclass(frozen=True, kw_only=True)
class DecoderOptions:
    """Settings of a decoder.

    Attributes:
        method: "greedy" takes the best path; "beam" is the search in torch; "flashlight" the fast one on a CPU; "cuda"
            the fast one on a GPU, without a language model.
        beam_width: prefixes kept per item.
        top_tokens: most probable tokens tried per step.
        num_best: hypotheses per item; greedy has one.
        blank_skip: steps with a more probable blank than this count as pure blank (beam and cuda); None skips none.
        lm_unit: what the language model's words are: the tokens, or what tokens spell between boundaries.
        lm_weight: factor on the language model's natural log probabilities.
        length_bonus: nats added per word of the language model.
        unknown_penalty: nats taken per word unknown to a word model (beam; flashlight allows known words only).
        spans: give steps and confidences.
    """

    method: Method = "greedy"
    beam_width: int = 16
    top_tokens: int = 40
    num_best: int = 1
    blank_skip: float | None = None
    lm_unit: Literal["token", "word"] = "token"
    lm_weight: float = 0.5
    length_bonus: float = 0.0
    unknown_penalty: float = 10.0
    spans: bool = True


class Decoder:
    """A decoder for one vocabulary; build it once, call it per batch."""

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        options: DecoderOptions | None = None,
        lm: NgramLm | str | Path | None = None,
        lexicon: Lexicon | None = None,
        boundary: int | None = None,
    ) -> None:
        """Build the decoder.

        Args:
            tokens: the text of each token id; tokens[0] is the blank.
            options: the settings.
            lm: an n-gram model or the path of one; flashlight takes a path.
            lexicon: the token ids of each allowed word (flashlight). With a word model and none given, flashlight
                allows the model's words, one token a character.
            boundary: the token between words; a word model needs it.
        """
        self.options = options or DecoderOptions()
        self.tokens = list(tokens)
        if self.options.method not in METHODS:
            raise ValueError(f"method is {self.options.method!r}; allowed are {', '.join(METHODS)}")
        if lm is not None and self.options.method in ("greedy", "cuda"):
            raise ValueError(f"method '{self.options.method}' takes no language model; use 'beam' or 'flashlight'")
        if lm is not None and self.options.lm_unit == "word" and boundary is None and lexicon is None:
            raise ValueError("a word model needs the boundary token between words (or, with flashlight, a lexicon)")
        self._decode = self._build(lm, lexicon, boundary)

    def __call__(self, log_probs: Tensor, num_steps: Tensor) -> list[list[Hypothesis]]:
        """Return the best hypotheses of each item, best first, at least one.

        Args:
            log_probs: (B, T, V) float32, natural log, V[0] is the blank; anything past num_steps.
            num_steps: (B,) int64, steps per item.
        """
        if log_probs.ndim == 3 and log_probs.shape[2] != len(self.tokens):
            raise ValueError(
                f"log_probs has {log_probs.shape[2]} tokens, this decoder was built for {len(self.tokens)}"
            )
        return self._decode(log_probs, num_steps)

    def best(self, log_probs: Tensor, num_steps: Tensor) -> list[Hypothesis]:
        """Return the best hypothesis of each item; arguments as in a call."""
        return [hypotheses[0] for hypotheses in self(log_probs, num_steps)]

    def _build(
        self, lm: NgramLm | str | Path | None, lexicon: Lexicon | None, boundary: int | None
    ) -> Callable[[Tensor, Tensor], list[list[Hypothesis]]]:
        options = self.options
        if options.method == "greedy":
            return lambda log_probs, num_steps: [[one] for one in greedy(log_probs, num_steps)]
        if options.method == "beam":
            settings, fusion = self._beam_options(), self._fusion(lm, boundary)
            return lambda log_probs, num_steps: beam_search(log_probs, num_steps, options=settings, fusion=fusion)
        if options.method == "cuda":
            return CudaDecoder(
                len(self.tokens),
                beam_width=options.beam_width,
                num_best=options.num_best,
                blank_skip=options.blank_skip,
                spans=options.spans,
            )
        return self._flashlight(lm, lexicon, boundary)

    def _beam_options(self) -> BeamOptions:
        options = self.options
        return BeamOptions(
            beam_width=options.beam_width,
            top_tokens=options.top_tokens,
            num_best=options.num_best,
            blank_skip=options.blank_skip,
            spans=options.spans,
        )

    def _fusion(self, lm: NgramLm | str | Path | None, boundary: int | None) -> Fusion | None:
        if lm is None:
            return None
        model = lm if isinstance(lm, NgramLm) else NgramLm.from_arpa(lm)
        options = self.options
        if options.lm_unit == "token":
            return TokenFusion(model, self.tokens, weight=options.lm_weight, length_bonus=options.length_bonus)
        if boundary is None:
            raise ValueError("method 'beam' needs the boundary token between words to use a word model")
        return WordFusion(
            model,
            self.tokens,
            boundary=boundary,
            weight=options.lm_weight,
            length_bonus=options.length_bonus,
            unknown_penalty=options.unknown_penalty,
        )

    def _flashlight(
        self, lm: NgramLm | str | Path | None, lexicon: Lexicon | None, boundary: int | None
    ) -> FlashlightDecoder:
        if isinstance(lm, NgramLm):
            raise ValueError("flashlight reads the language model from a file: write_arpa it and give the path")
        options = self.options
        if lm is not None and options.lm_unit == "word" and lexicon is None:
            words = [word for word in NgramLm.from_arpa(lm).words if word not in (START, END, UNKNOWN)]
            lexicon = character_lexicon(words, self.tokens)
        settings = FlashlightOptions(
            beam_width=options.beam_width,
            top_tokens=options.top_tokens,
            num_best=options.num_best,
            lm_weight=options.lm_weight,
            length_bonus=options.length_bonus,
            spans=options.spans,
        )
        return FlashlightDecoder(self.tokens, options=settings, lm_path=lm, lexicon=lexicon, boundary=boundary)


def decode(
    log_probs: Tensor,
    num_steps: Tensor,
    *,
    method: Method = "greedy",
    options: DecoderOptions | None = None,
) -> list[Hypothesis]:
    """Return the best hypothesis of each item, without a language model (build a `Decoder` for one).

    Args:
        log_probs: (B, T, V) float32, natural log, V[0] is the blank; anything past num_steps.
        num_steps: (B,) int64, steps per item.
        method: which search.
        options: the settings; their method is replaced by `method`.
    """
    names = [str(index) for index in range(log_probs.shape[-1])]
    settings = replace(options or DecoderOptions(), method=method)
    return Decoder(names, options=settings).best(log_probs, num_steps)
