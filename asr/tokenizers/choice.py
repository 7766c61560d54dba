"""Choosing a tokenizer for a corpus and a model's frame rate: feasible first, then the least to say in a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from asr.text import primary
from asr.tokenizers.joints import LANGUAGES
from asr.tokenizers.measures import Measures, Utterance, count_tokens, measure
from asr.tokenizers.tokenizer import KINDS, Kind, Tokenizer
from asr.tokenizers.training import PAPER, Recipe, VocabularySizeError, train
from signwave.errors import UserError

SIZES = (128, 256, 512, 1024)
MIN_FEASIBLE = 0.999
MAX_RARE = 0.1


@dataclass(frozen=True)
class Candidate:
    """One tokenizer that was tried. `reason` says why it can't be taken; empty = it can."""

    recipe: Recipe
    tokenizer: Tokenizer | None = None
    measures: Measures | None = None
    reason: str = ""


def candidates(language: str, kinds: Sequence[Kind] = KINDS, sizes: Sequence[int] = SIZES) -> list[Recipe]:
    """Return the recipes that are tried: of morphology only where the language has a table of affixes."""
    found = [Recipe("characters"), PAPER]
    found += [Recipe(kind, size) for kind in ("bpe", "unigram", "morphology") for size in sizes]  # type: ignore[arg-type]
    has_affixes = primary(language) in LANGUAGES
    return [one for one in found if one.kind in kinds and (one.kind != "morphology" or has_affixes)]


def choose(
    texts: Sequence[str],
    held_out: Sequence[Utterance],
    recipes: Sequence[Recipe],
    *,
    language: str,
    step_seconds: float = 0.02,
    min_feasible: float = MIN_FEASIBLE,
    max_rare: float = MAX_RARE,
    lexicon: Mapping[str, int] | None = None,
    on_candidate: Callable[[Candidate], None] | None = None,
) -> tuple[list[Candidate], Tokenizer]:
    """Train each recipe, measure it, and choose.

    One that can be taken has a CTC path for at least `min_feasible` of the held-out clips, and at most `max_rare` of
    its vocabulary is rare in training, for a token that is hardly ever seen isn't learnt. Of these the one wins whose
    labels hold the fewest bits a second; among equals the first.

    Args:
        texts: transcripts of training clips.
        held_out: other clips.
        recipes: what to try.
        language: code.
        step_seconds: time from one output frame of the model to the next.
        min_feasible: share of clips.
        max_rare: share of tokens.
        lexicon: see `train`.
        on_candidate: called with each as soon as it is measured.

    Returns:
        All candidates in the order of the recipes, and the chosen tokenizer; `info["name"]` is its recipe's.

    Raises:
        UserError: none can be taken; names the most feasible one.
    """
    found = []
    for recipe in recipes:
        try:
            tokenizer = train(texts, recipe, language=language, lexicon=lexicon)
            measures = measure(tokenizer, held_out, count_tokens(tokenizer, texts), step_seconds=step_seconds)
            found.append(Candidate(recipe, tokenizer, measures, _reason(measures, min_feasible, max_rare)))
        except VocabularySizeError as error:  # the other sizes may do
            found.append(Candidate(recipe, reason=str(error)))
        if on_candidate is not None:
            on_candidate(found[-1])
    good = [
        (one.measures.bits_per_second, place, one.tokenizer)
        for place, one in enumerate(found)
        if one.measures and one.tokenizer and not one.reason
    ]
    if not good:
        told = "; ".join(f"{one.recipe.name}: {one.reason}" for one in found)
        raise UserError(
            f"no tokenizer fits frames of {step_seconds} s ({told}); take a model with more frames a second"
        )
    return found, min(good, key=lambda row: row[:2])[2]


def _reason(measures: Measures, min_feasible: float, max_rare: float) -> str:
    if measures.feasible_rate < min_feasible:
        return f"only {measures.feasible_rate:.1%} of the clips are feasible"
    if measures.rare_rate > max_rare:
        return f"{measures.rare_rate:.1%} of its tokens are rare"
    return ""
