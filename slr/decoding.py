"""The decoder of a loaded recogniser: greedy, or a beam search, with an n-gram model of glosses where there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from signwave.ctc import BeamOptions, Hypothesis, NgramLm, TokenFusion, beam_search, greedy
from signwave.errors import ArtefactError, UserError
from signwave.text import Vocabulary

log = logging.getLogger(__name__)

DEFAULT_BEAM = 16
LM_FILE = "lm.arpa.gz"
"""The language model that a bundle carries, where one helped on dev."""
_DEFAULT_LM_WEIGHT = 0.5
BLANK_SKIP = 0.999
"""Steps surer than this to be blank are passed over: the result is the same, the search much faster."""

Decode = Callable[[Tensor, Tensor], list[list[Hypothesis]]]
"""(log_probs (B, T, V), num_steps (B,)) → per item its hypotheses, best first, with steps and confidences."""
Spans = Literal["alignment", "grown"]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How to decode; None takes what the bundle's info says under "decoder" (chosen on dev), then the defaults.

    Attributes:
        beam: hypotheses kept; 1 without a language model is greedy.
        lm: n-gram model of glosses, an ARPA file.
        lm_weight: factor on its natural log probabilities.
        num_best: hypotheses given.
    """

    beam: int | None = None
    lm: str | Path | None = None
    lm_weight: float | None = None
    num_best: int = 1

    def __post_init__(self) -> None:
        for name, value in (("beam", self.beam), ("n-best", self.num_best)):
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")
        if self.beam is not None and self.beam < self.num_best:
            raise UserError(f"--n-best {self.num_best}: --beam {self.beam} keeps fewer; give a wider beam")
        if self.lm_weight is not None and not 0 <= self.lm_weight <= 100:
            raise UserError(f"--lm-weight {self.lm_weight}: must be from 0 to 100; 0.5 is usual")


def make_decoder(
    vocabulary: Vocabulary, options: Decoding, *, settings: Mapping[str, Any], stored_lm: Path | None = None
) -> tuple[Decode, bool]:
    """Return the decoder, and whether it searches over more than the best path.

    Args:
        vocabulary: of the recogniser.
        options: what the caller asks for.
        settings: the bundle's: `beam_size`, `lm_weight`, `token_bonus`.
        stored_lm: the bundle's language model.

    Raises:
        UserError: a weight without a language model, or one that knows none of the glosses.
        ArtefactError: the language model can't be read.
    """
    lm_path = options.lm or stored_lm
    if options.lm is None and options.lm_weight is None and settings.get("lm_weight", 1) == 0:
        lm_path = None  # dev chose to do without
    if options.lm_weight is not None and lm_path is None:
        raise UserError(f"--lm-weight {options.lm_weight}: there is no language model; give --lm FILE.arpa")
    stored_beam = settings.get("beam_size", DEFAULT_BEAM if lm_path or options.num_best > 1 else 1)
    beam = options.beam or max(int(stored_beam), options.num_best)
    if beam == 1 and lm_path is None:
        return lambda log_probs, num_steps: [[one] for one in greedy(log_probs, num_steps)], False
    fusion = _fusion(lm_path, vocabulary, options, settings) if lm_path else None
    search = BeamOptions(beam_width=beam, num_best=options.num_best, blank_skip=BLANK_SKIP)
    return lambda log_probs, num_steps: beam_search(log_probs, num_steps, options=search, fusion=fusion), True


def _fusion(path: str | Path, vocabulary: Vocabulary, options: Decoding, settings: Mapping[str, Any]) -> TokenFusion:
    if not Path(path).is_file():
        raise ArtefactError(f"{path}: no such language model; train one with `slr lm train TEXTS… {path}`")
    lm = NgramLm.from_arpa(path)
    unknown = [token for token in vocabulary.tokens[1:] if token not in lm]
    if len(unknown) == vocabulary.size - 1:
        raise UserError(f"{path}: knows none of the model's {len(unknown)} glosses; train one on the same glosses")
    if unknown:
        some = ", ".join(unknown[:3])
        log.warning("%s: doesn't know %d of %d glosses (%s, …)", path, len(unknown), vocabulary.size - 1, some)
    weight = options.lm_weight
    if weight is None:
        weight = float(settings.get("lm_weight") or _DEFAULT_LM_WEIGHT)
    return TokenFusion(lm, vocabulary.tokens, weight=weight, length_bonus=float(settings.get("token_bonus", 0.0)))


def grow_spans(
    spans: Sequence[tuple[int, int]], tokens: Sequence[int], rivals: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Widen spans over the blanks beside them while their own token is the likeliest besides the blank.

    CTC posteriors are peaks: the blank takes the rest of a sign, and the second-best token still says which one it is
    (as the dictionaries of Wei and Chen, ICCV 2023, are cut). A span never takes steps of its neighbours; of two that
    could both have a step, which only equal neighbours can, the first has it.

    Args:
        spans: half-open steps, rising, not overlapping.
        tokens: of each span; a wildcard (-1) never grows.
        rivals: (T,) int64, the likeliest token of each step besides the blank.
    """
    if not len(spans) or not len(rivals):
        return list(spans)
    changes = np.flatnonzero(np.diff(rivals)) + 1
    bounds = np.concatenate([[0], changes, [len(rivals)]])
    run = np.searchsorted(bounds, np.arange(len(rivals)), side="right") - 1
    starts, ends = np.asarray(spans, dtype=np.int64).T
    own = np.asarray(tokens, dtype=np.int64)
    ceilings = np.append(starts[1:], len(rivals))
    after = np.minimum(ends, len(rivals) - 1)
    grown_ends = np.where(
        (ends < ceilings) & (rivals[after] == own), np.minimum(bounds[run[after] + 1], ceilings), ends
    )
    floors = np.concatenate([[0], grown_ends[:-1]])
    before = np.maximum(starts - 1, 0)
    grown_starts = np.where(
        (starts > floors) & (rivals[before] == own), np.maximum(bounds[run[before]], floors), starts
    )
    return list(zip(grown_starts.tolist(), grown_ends.tolist(), strict=True))


def grow(found: Hypothesis, log_probs: Tensor) -> Hypothesis:
    """A hypothesis with its spans widened by `grow_spans`; the confidences stay those of the peaks.

    Args:
        found: with steps.
        log_probs: (T, V) float32, natural log.
    """
    if log_probs.shape[1] < 2:
        return found
    rivals = (log_probs[:, 1:].argmax(-1) + 1).cpu().numpy()
    return replace(found, steps=tuple(grow_spans(found.steps, found.tokens, rivals)))
