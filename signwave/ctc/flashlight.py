"""Beam search by flashlight (C++, CPU), the fast path: lexicon-free, or with a lexicon and a word language model.

What its interface makes the caller know is hidden here: the blank and silence are tokens found by name, scores are
log10 of the language model beside natural logs, a word only counts once its boundary was heard, and paths come with a
made-up step at both ends.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from signwave.ctc.hypothesis import Hypothesis, check_log_probs, with_steps
from signwave.ctc.labels import BLANK
from signwave.errors import ArtefactError, require

# flashlight adds log probabilities of all beams, so -inf would spread; this is as good as impossible.
_IMPOSSIBLE = -1e4
_UNKNOWN = "<unk>"

Lexicon = Mapping[str, Sequence[Sequence[int]]]


@dataclass(frozen=True, kw_only=True)
class FlashlightOptions:
    """Settings of the search.

    Attributes:
        beam_width: hypotheses kept.
        top_tokens: most probable tokens tried per step.
        threshold: hypotheses further than this many nats below the best are dropped.
        num_best: hypotheses returned per item.
        lm_weight: factor on the language model's natural log probabilities.
        length_bonus: nats added per word; only with a lexicon.
        sum_paths: add the probabilities of paths that meet, as CTC defines it; false keeps the better one.
        spans: also align each hypothesis, for its steps and confidences.
    """

    beam_width: int = 50
    top_tokens: int = 40
    threshold: float = 50.0
    num_best: int = 1
    lm_weight: float = 0.5
    length_bonus: float = 0.0
    sum_paths: bool = True
    spans: bool = True


def character_lexicon(words: Sequence[str], tokens: Sequence[str]) -> dict[str, list[list[int]]]:
    """Spell words with one token a character; words with another character are left out.

    Args:
        words: the words.
        tokens: the text of each token id; tokens[0] is the blank.
    """
    ids = {token: index for index, token in enumerate(tokens) if index != BLANK and len(token) == 1}
    return {word: [[ids[char] for char in word]] for word in words if word and all(char in ids for char in word)}


class FlashlightDecoder:
    """A decoder for one vocabulary; build it once, call it per batch."""

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        options: FlashlightOptions | None = None,
        lm_path: str | Path | None = None,
        lexicon: Lexicon | None = None,
        boundary: int | None = None,
    ) -> None:
        """Build the search.

        Args:
            tokens: the text of each token id, which is its word in the language model where there is no lexicon;
                tokens[0] is the blank.
            options: the settings.
            lm_path: an n-gram model, ARPA or KenLM binary: of tokens, or of words where there is a lexicon.
            lexicon: the token ids of each word, without the boundary; only these words come out.
            boundary: the token between words, which no spelling holds; None where words follow each other directly.
        """
        require("flashlight.lib.text.decoder", extra="lm")
        self.options = options or FlashlightOptions()
        self._num_tokens = len(tokens)
        self._boundary = boundary if lexicon is not None else None
        if lexicon is None and self.options.length_bonus:
            raise ValueError("flashlight has a length bonus for words only; set it to 0, or use method 'beam'")
        if lm_path is not None and not Path(lm_path).is_file():
            raise ArtefactError(f"{lm_path}: no such file; give an n-gram model (.arpa or a KenLM binary)")
        # One token more than the model has stands for flashlight's silence where no boundary does.
        names = [f"t{index}" for index in range(self._num_tokens + 1)]
        self._silence = self._num_tokens if self._boundary is None else self._boundary
        lm: Any = None if lm_path is None else str(lm_path)
        if lexicon is None:
            self._decoder = self._build(names, lm and _token_lm(lm, tokens), None)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lexicon.txt"
            path.write_text("".join(self._lexicon_lines(lexicon, names)), encoding="utf-8")
            self._decoder = self._build(names, lm, str(path))

    def __call__(self, log_probs: Tensor, num_steps: Tensor) -> list[list[Hypothesis]]:
        """Return the best hypotheses of each item, best first; at least one, an empty one where there is no path.

        Args:
            log_probs: (B, T, V) float32, natural log, V[0] is the blank; anything past num_steps.
            num_steps: (B,) int64, steps per item.
        """
        lengths = check_log_probs(log_probs, num_steps)
        if log_probs.shape[2] != self._num_tokens:
            raise ValueError(
                f"log_probs has {log_probs.shape[2]} tokens, this decoder was built for {self._num_tokens}"
            )
        values = log_probs.detach().float().cpu()
        found = [self._decode(values[item, :length]) for item, length in enumerate(lengths)]
        return with_steps(found, values, lengths) if self.options.spans else found

    def _build(self, names: list[str], lm: Any, lexicon_path: str | None) -> Any:
        from torchaudio.models.decoder import ctc_decoder

        options = self.options
        return ctc_decoder(
            lexicon=lexicon_path,
            tokens=names,
            lm=lm,
            nbest=options.num_best,
            beam_size=options.beam_width,
            beam_size_token=min(options.top_tokens + 1, len(names)),  # the blank counts here
            beam_threshold=options.threshold,
            lm_weight=options.lm_weight * math.log(10.0),
            word_score=options.length_bonus,
            log_add=options.sum_paths,
            blank_token=names[BLANK],
            sil_token=names[self._silence],
            unk_word=_UNKNOWN,
        )

    def _lexicon_lines(self, lexicon: Lexicon, names: Sequence[str]) -> list[str]:
        end = [] if self._boundary is None else [self._boundary]
        lines = []
        for word, spellings in lexicon.items():
            if not word or any(char.isspace() for char in word):
                raise ValueError(f"the lexicon's word {word!r} is empty or holds a space; a word is one piece")
            for spelling in spellings:
                wrong = [token for token in spelling if not BLANK < token < self._num_tokens]
                if wrong or not spelling:
                    raise ValueError(
                        f"the lexicon spells {word!r} as {list(spelling)}; allowed are 1 to {self._num_tokens - 1}"
                    )
                lines.append(" ".join([word, *(names[token] for token in [*spelling, *end])]) + "\n")
        return lines

    def _decode(self, values: Tensor) -> list[Hypothesis]:
        num_steps = values.shape[0]
        if num_steps == 0:
            return [Hypothesis((), 0.0)]
        if bool((values.amax(1) == -math.inf).any()):
            return [Hypothesis((), -math.inf)]
        emissions = torch.full((num_steps + 1, self._num_tokens + 1), _IMPOSSIBLE)
        emissions[:num_steps, : self._num_tokens] = values.clamp(min=_IMPOSSIBLE)
        if self._boundary is not None:  # an extra step ends the last word, whether or not its boundary was heard
            emissions[num_steps, self._boundary] = 0.0
            num_steps += 1
        results = self._decoder.decoder.decode(emissions.data_ptr(), num_steps, self._num_tokens + 1)
        best: dict[tuple[int, ...], Hypothesis] = {}
        for result in results:
            path = list(result.tokens)[1 : values.shape[0] + 1]  # without the made-up steps at both ends
            tokens = tuple(
                token
                for index, token in enumerate(path)
                if token not in (BLANK, self._num_tokens) and (index == 0 or token != path[index - 1])
            )
            words = tuple(self._decoder.word_dict.get_entry(word) for word in result.words if word >= 0)
            gained = result.lmScore * self.options.lm_weight * math.log(10.0) + len(words) * self.options.length_bonus
            best.setdefault(tokens, Hypothesis(tokens, result.score, lm_score=gained, words=words))
        ranked = sorted(best.values(), key=lambda hypothesis: -hypothesis.score)
        return ranked[: self.options.num_best] or [Hypothesis((), -math.inf)]


def _token_lm(path: str, tokens: Sequence[str]) -> Any:
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    # The blank and the silence are never scored; they only keep the ids in step.
    return KenLM(path, Dictionary(["<ctc-blank>", *tokens[1:], "<ctc-silence>"]))
