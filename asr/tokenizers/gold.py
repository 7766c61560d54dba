"""Boundaries inside words that people annotated.

Two sets of boundaries are read from Universal Dependencies: `joints`, where the treebank parts a written word into
syntactic words (Arabic clitics, Persian pronouns) or the writer put a non-joiner; and `stems`, these and the edges of
the lemma inside the form. UniMorph's paradigms give the edges of the stem. Positions count letters, without
non-joiners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asr.text import primary
from asr.tokenizers.corpus import text_lines
from asr.tokenizers.tokenizer import Tokenizer
from signwave.errors import UserError
from signwave.text import Normaliser

ZWNJ = "\u200c"
_MIN_LEMMA = 2
_NO_WORDS = ("PUNCT", "SYM", "NUM", "X")
_CLITICS = ("PRON", "ADP", "CCONJ", "SCONJ", "PART", "DET")


class GoldWord(NamedTuple):
    """A written word with its boundaries.

    Attributes:
        word: normalised.
        joints: letters before each annotated joint; None where the source has no such annotation.
        stems: letters before each joint or edge of the stem; None where the stem isn't part of the word.
    """

    word: str
    joints: frozenset[int] | None
    stems: frozenset[int] | None


class _Part(NamedTuple):
    form: str
    lemmas: tuple[str, ...]
    is_word: bool
    is_clitic: bool
    joins_next: bool


def read_treebank(path: Path, normaliser: Normaliser) -> Iterator[GoldWord]:
    """Yield the words of a .conllu or .conllu.gz file, in order.

    Raises:
        UserError: the file can't be read, or a line isn't CoNLL-U.
    """
    chunk: list[_Part] = []
    surface, last = "", -1
    for number, line in enumerate(_lines(path), 1):
        columns = line.split("\t")
        if len(columns) < 10:
            if line and not line.startswith("#"):
                raise UserError(f"{path}:{number}: not CoNLL-U, it has {len(columns)} columns for 10; give .conllu")
            yield from _gold_words(chunk, surface, normaliser)
            chunk, surface, last = [], "", -1
        elif "-" in columns[0]:
            yield from _gold_words(chunk, surface, normaliser)
            chunk, surface, last = [], columns[1], int(columns[0].split("-")[1])
        elif "." not in columns[0]:
            part = _part(columns)
            chunk.append(part)
            is_inside = int(columns[0]) < last
            if not is_inside and not (part.joins_next and last < int(columns[0])):
                yield from _gold_words(chunk, surface, normaliser)
                chunk, surface, last = [], "", -1
    yield from _gold_words(chunk, surface, normaliser)


def _lines(path: Path) -> Iterator[str]:
    return text_lines(path, wanted=".conllu, .conllu.gz, UniMorph's table or hazm's verbs.dat")


def _part(columns: list[str]) -> _Part:
    misc = dict(pair.partition("=")[::2] for pair in columns[9].split("|"))
    # A verb has two stems: PerDT and Seraji write both, past#present.
    lemmas = (*misc.get("OrigLemma", "").split("#"), columns[2])
    return _Part(
        columns[1], lemmas, columns[3] not in _NO_WORDS, columns[3] in _CLITICS, misc.get("SpaceAfter") == "No"
    )


def _gold_words(chunk: list[_Part], surface: str, normaliser: Normaliser) -> Iterator[GoldWord]:
    """The word that the parts of a chunk make up; parts that are no words end it."""
    run: list[_Part] = []
    for part in [*chunk, None]:
        if part is not None and part.is_word:
            run.append(part)
            continue
        if run:
            found = _gold_word(run, surface or "".join(one.form for one in run), normaliser)
            if found is not None:
                yield found
        run = []


def _gold_word(parts: list[_Part], surface: str, normaliser: Normaliser) -> GoldWord | None:
    word = normaliser(surface)
    forms = [_letters(normaliser(part.form)) for part in parts]
    if " " in word or "".join(forms) != _letters(word) or not _letters(word).isalpha():
        return None
    ends = np.cumsum([len(form) for form in forms]).tolist()
    joints = {*ends[:-1], *_non_joiners(surface, normaliser)}
    stems: set[int] | None = set(joints)
    for part, form, end in zip(parts, forms, ends, strict=True):
        # A clitic is one morph, and its lemma often another word: his for him.
        is_morph = part.is_clitic and len(parts) > 1
        edges = set() if is_morph else _stem_edges(form, [_letters(normaliser(lemma)) for lemma in part.lemmas])
        stems = None if edges is None or stems is None else stems | {end - len(form) + edge for edge in edges}
    inside = range(1, len(_letters(word)))
    return GoldWord(
        word, frozenset(joints) & set(inside), None if stems is None else frozenset(stems) & frozenset(inside)
    )


def _letters(word: str) -> str:
    return word.replace(ZWNJ, "")


def _non_joiners(surface: str, normaliser: Normaliser) -> set[int]:
    """Letters before each non-joiner as it was written; the normaliser drops those that don't show."""
    lengths = [len(_letters(normaliser(part))) for part in surface.split(ZWNJ)]
    return set(np.cumsum(lengths).tolist()[:-1])


def _stem_edges(form: str, lemmas: list[str]) -> set[int] | None:
    """Both ends of the lemma in the form; None where no lemma is in it once."""
    for lemma in lemmas:
        for stem in (lemma, lemma.removesuffix("ة")):  # teh marbuta is the feminine ending, other endings replace it
            if len(stem) >= _MIN_LEMMA and form.count(stem) == 1:
                start = form.index(stem)
                return {start, start + len(stem)}
    return {0, len(form)} if form in lemmas else None


def read_unimorph(
    path: Path, normaliser: Normaliser, *, language: str, present_stems: Mapping[str, str] | None = None
) -> Iterator[GoldWord]:
    """Yield the one-word forms of a UniMorph table (lemma, form, features) with the edges of their stems, each once.

    Args:
        path: table, may end in .gz.
        normaliser: of the language.
        language: fa takes the stem of an infinitive in ن, ur of one in نا; other lemmas are stems as they are.
        present_stems: past stem → present stem of Persian verbs, which no paradigm tells; see `read_verb_stems`.
    """
    seen = set()
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) < 3:
            raise UserError(
                f"{path}:{number}: not UniMorph, it has {len(columns)} columns for 3; give lemma, form, tags"
            )
        lemma, form, tags = (normaliser(columns[0]), normaliser(columns[1]), columns[2])
        if (lemma, form) in seen or " " in lemma or " " in form or not _letters(form).isalpha():
            continue
        seen.add((lemma, form))
        edges = _paradigm_edges(_letters(form), _stems(lemma, tags, primary(language), present_stems or {}))
        if edges is not None:
            yield GoldWord(form, None, frozenset(edges) & frozenset(range(1, len(_letters(form)))))


def _stems(lemma: str, tags: str, code: str, present_stems: Mapping[str, str]) -> list[str]:
    if not tags.startswith("V"):
        return [lemma]
    if code == "ur":
        return [lemma.removesuffix("نا")]
    past = lemma.removesuffix("ن")
    return [past, *([present_stems[past]] if past in present_stems else [])]


def _paradigm_edges(form: str, stems: list[str]) -> set[int] | None:
    found = [
        {form.index(stem), form.index(stem) + len(stem)}
        for stem in stems
        if len(stem) >= _MIN_LEMMA and form.count(stem) == 1
    ]
    return found[0] if len(found) == 1 or (found and all(edges == found[0] for edges in found)) else None


def read_verb_stems(path: Path, normaliser: Normaliser) -> dict[str, str]:
    """Return past stem → present stem from hazm's verbs.dat, `past#present` a line."""
    pairs = [line.partition("#")[::2] for line in _lines(path)]
    return {normaliser(past): normaliser(present) for past, present in pairs if past and present}


def read_gold(path: Path, tokenizer: Tokenizer, *, verb_stems: Path | None = None) -> list[GoldWord]:
    """Read a treebank (.conllu, .conllu.gz) or else a UniMorph table, for the tokenizer's language.

    Raises:
        UserError: a file can't be read.
    """
    normaliser = tokenizer.normaliser
    if path.name.endswith((".conllu", ".conllu.gz")):
        return list(read_treebank(path, normaliser))
    stems = read_verb_stems(verb_stems, normaliser) if verb_stems else None
    language = str(tokenizer.info.get("language", ""))
    return list(read_unimorph(path, normaliser, language=language, present_stems=stems))
