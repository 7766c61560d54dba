"""Learning a tokenizer from texts: SentencePiece for pieces, tables or Morfessor for joints."""

from __future__ import annotations

import math
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.text import for_language
from asr.tokenizers.joints import AffixJoints, JointKind, Joints, MorfessorJoints, affixes
from asr.tokenizers.pieces import Method, PieceModel
from asr.tokenizers.tokenizer import Kind, Tokenizer
from signwave.errors import UserError
from signwave.text import BLANK_TOKEN, SPACE_TOKEN, WORD_START, Normaliser, Vocabulary

PAPER_SIZE = 512
PAPER_COVERAGE = 0.9995
ZWNJ = "\u200c"


class VocabularySizeError(UserError):
    """A number of pieces that the texts are too few or too many-lettered for."""


@dataclass(frozen=True)
class Recipe:
    """What to train.

    Attributes:
        kind: see `Tokenizer`.
        vocab_size: pieces, SentencePiece's three control symbols included; not for characters.
        joints: of "morphology": a table of affixes, or Morfessor.
        method: of "morphology": how morphs are cut.
    """

    kind: Kind
    vocab_size: int = PAPER_SIZE
    joints: JointKind = "affixes"
    method: Method = "unigram"

    @property
    def name(self) -> str:
        """A speaking name.

        >>> Recipe("morphology", 256).name
        'morphology-affixes-unigram-256'
        """
        if self.kind == "characters":
            return "characters"
        parts = [self.kind, *([self.joints, self.method] if self.kind == "morphology" else [])]
        return "-".join([*parts, str(self.vocab_size)])


PAPER = Recipe("paper-bpe", PAPER_SIZE)
"""arXiv 2512.07277's tokenizer as its code has it: BPE-512 inside words, coverage .9995, words closed by `|`."""


def train(
    texts: Iterable[str],
    recipe: Recipe,
    *,
    language: str,
    normaliser: Normaliser | None = None,
    lexicon: Mapping[str, int] | None = None,
) -> Tokenizer:
    """Learn a tokenizer.

    Args:
        texts: transcripts of training clips only.
        recipe: what to train.
        language: code; chooses the normaliser and the table of affixes.
        normaliser: instead of the language's.
        lexicon: further words with how often they were seen, as evidence for affixes.

    Raises:
        UserError: no text, a vocabulary that doesn't fit the texts, or a package is missing.
    """
    normaliser = normaliser or for_language(language)
    words = Counter(word for text in texts for word in normaliser(text).split())
    if not words:
        raise UserError("no word in the texts; a tokenizer is learnt from transcripts")
    info: dict[str, Any] = {
        "name": recipe.name, "language": language, "num_words": words.total(), "num_types": len(words),
    }  # fmt: skip
    if recipe.kind == "characters":
        return Tokenizer("characters", normaliser, Vocabulary.build(_one_text(words), unit="char"), info=info)
    joints = _joints(words, recipe, language, normaliser, lexicon or {}) if recipe.kind == "morphology" else None
    units = _units(words, recipe.kind, joints)
    method: Method = {"unigram": "unigram", "morphology": recipe.method}.get(recipe.kind, "bpe")  # type: ignore[assignment]
    coverage = PAPER_COVERAGE if recipe.kind == "paper-bpe" else 1.0
    pieces = learn_pieces(units, method, vocab_size=recipe.vocab_size, coverage=coverage)
    vocabulary = Vocabulary((BLANK_TOKEN, SPACE_TOKEN, *pieces.scores), unit="piece")
    return Tokenizer(recipe.kind, normaliser, vocabulary, pieces, joints, info)


def _one_text(words: Counter[str]) -> list[str]:
    return [" ".join(words)]


def _units(words: Counter[str], kind: Kind, joints: Joints | None) -> Counter[str]:
    """What no piece reaches over the ends of, with its frequency."""
    units = Counter[str]()
    for word, count in words.items():
        parts = [WORD_START + word] if kind == "paper-bpe" else [word] if joints is None else joints.morphs(word)
        for part in parts:
            units[part] += count
    return units


def _joints(
    words: Counter[str], recipe: Recipe, language: str, normaliser: Normaliser, lexicon: Mapping[str, int]
) -> Joints:
    if recipe.joints == "morfessor":
        return learn_morfessor(words)
    evidence = Counter(words)
    for word, count in lexicon.items():
        for part in normaliser(word).split():
            evidence[part] += count
    return AffixJoints(affixes(language), dict(sorted(evidence.items())))


def learn_pieces(units: Counter[str], method: Method, *, vocab_size: int, coverage: float = 1.0) -> PieceModel:
    """Learn pieces with SentencePiece.

    Args:
        units: words or morphs with their frequency.
        method: bpe or unigram.
        vocab_size: with the three control symbols, which are no pieces here.
        coverage: share of characters that must be pieces; the rest is unknown to the tokenizer.

    Raises:
        VocabularySizeError: the size doesn't fit the texts.
        UserError: SentencePiece is not installed.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise UserError("training pieces needs SentencePiece; pip install 'signwave[tokenizers]'") from error
    with tempfile.TemporaryDirectory() as folder:
        table, prefix = Path(folder) / "units.tsv", Path(folder) / "pieces"
        table.write_text("".join(f"{unit}\t{units[unit]}\n" for unit in sorted(units)), encoding="utf-8")
        try:
            sentencepiece.SentencePieceTrainer.train(
                input=str(table), input_format="tsv", model_prefix=str(prefix), model_type=method,
                vocab_size=vocab_size, character_coverage=coverage, hard_vocab_limit=method == "bpe",
                # Texts are normalised before, and a unit is a word: nothing may be added to it or split off.
                normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
                split_by_whitespace=False, split_by_unicode_script=False, split_by_number=False,
                num_threads=1, minloglevel=3,
            )  # fmt: skip
        except (RuntimeError, OSError) as error:
            reason = str(error).strip().splitlines()[-1][-120:]
            raise VocabularySizeError(
                f"vocabulary of {vocab_size}: SentencePiece can't learn it ({reason}); choose another size"
            ) from error
        model = sentencepiece.SentencePieceProcessor(model_file=str(prefix) + ".model")
    scores = {
        model.id_to_piece(i): float(model.get_score(i))
        for i in range(model.get_piece_size())
        if not (model.is_control(i) or model.is_unknown(i) or model.is_unused(i))
    }
    return PieceModel(method, {piece: score for piece, score in scores.items() if piece != SPACE_TOKEN})


def learn_morfessor(words: Mapping[str, int]) -> MorfessorJoints:
    """Learn a lexicon of morphs with Morfessor Baseline, words cut at non-joiners before.

    A word counts with the logarithm of its frequency: by types alone endings are too cheap, by tokens too dear.

    Raises:
        UserError: Morfessor is not installed.
    """
    try:
        import morfessor
    except ImportError as error:
        raise UserError("learning morphs needs Morfessor; pip install 'signwave[tokenizers]'") from error
    parts = Counter[str]()
    for word, count in words.items():
        for part in filter(None, word.split(ZWNJ)):
            parts[part] += count
    weights = {part: 1 + round(math.log2(parts[part])) for part in sorted(parts)}
    model = morfessor.BaselineModel()
    model.load_data([(weight, part) for part, weight in weights.items()])
    state = random.getstate()  # Morfessor shuffles words with the process's own generator
    random.seed(0)
    try:
        model.train_batch()
    finally:
        random.setstate(state)
    counts = Counter[str]()
    for part, weight in weights.items():
        for morph in model.viterbi_segment(part)[0]:
            counts[morph] += weight
    scores = {morph: math.log(count / counts.total()) for morph, count in sorted(counts.items())}
    return MorfessorJoints(PieceModel("unigram", scores))
