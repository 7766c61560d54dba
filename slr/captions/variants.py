"""Captions as people search: short key words, questions, and sentences with words of another language.

A variant of the captions in `en` is a caption of its own under `en+keywords`, `en+question` or `en+de`. It says what
its caption says, so it is a further positive of the clips (query generation: Zhuang et al., 2022, arXiv:2206.10128).
Everything is learnt from captions: no model and no dictionary is needed. The clips of one group get the same variants.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from signwave.errors import ConfigError
from signwave.manifest import Clip
from signwave.prepare import Problem
from slr.captions.keywords import MAX_SHARE, frequent_words, keywords
from slr.captions.lexicon import learn_lexicon, switch_code

KINDS = ("keywords", "question")
_CODE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*", re.IGNORECASE)
_QUESTIONS = Path(__file__).with_name("questions.tsv")

Vary = Callable[[str, np.random.Generator], str]
"""A caption → its variant, or "" where it has none."""


class Varied(NamedTuple):
    """Clips with variants.

    clips: all of them, in order.
    num_made: key like "en+question" → captions that were put in.
    num_left_out: key → captions that have no such variant, as when no word of theirs is left.
    problems: clips without a caption that variants are wanted of.
    """

    clips: list[Clip]
    num_made: dict[str, int]
    num_left_out: dict[str, int]
    problems: list[Problem]


def question_templates() -> dict[str, list[str]]:
    """Language → questions around {keywords} or the whole {sentence}."""
    found: dict[str, list[str]] = {}
    for line in _QUESTIONS.read_text(encoding="utf-8").splitlines()[1:]:
        language, question = line.split("\t")
        found.setdefault(language, []).append(question)
    return found


def make_variers(
    clips: Iterable[Clip],
    kinds: Sequence[str],
    languages: Sequence[str],
    *,
    stop_words: Mapping[str, frozenset[str]] | None = None,
    max_share: float = MAX_SHARE,
) -> dict[str, Vary]:
    """Learn what variants take.

    Args:
        clips: of training, with captions.
        kinds: of KINDS, or codes of the languages to take words from.
        languages: of the captions to vary.
        stop_words: language → its stop words; of others they are those that many captions hold.
        max_share: of the captions, above which a word is one.

    Returns:
        Key like "en+question" → what makes that variant.

    Raises:
        ConfigError: an unknown kind, no questions in a language, or too few captions to learn from.
    """
    captions: dict[str, dict[str, str]] = {}
    for clip in clips:
        captions.setdefault(clip.group or clip.id, {}).update(clip.captions)
    learnt = _StopWords(captions.values(), dict(stop_words or {}), max_share)
    variers: dict[str, Vary] = {}
    for language in languages:
        for kind in kinds:
            if kind != language:
                variers[f"{language}+{kind}"] = _varier(language, kind, list(captions.values()), learnt)
    return variers


class _StopWords:
    """Stop words by language, learnt when they are asked for."""

    def __init__(
        self, captions: Iterable[Mapping[str, str]], given: dict[str, frozenset[str]], max_share: float
    ) -> None:
        self.captions, self.found, self.max_share = captions, given, max_share

    def __getitem__(self, language: str) -> frozenset[str]:
        if language not in self.found:
            texts = {row[language] for row in self.captions if language in row}
            try:
                self.found[language] = frequent_words(texts, max_share=self.max_share)
            except ConfigError as error:
                raise ConfigError(f"'{language}': {error}") from error
        return self.found[language]


def _varier(language: str, kind: str, captions: Sequence[Mapping[str, str]], stop_words: _StopWords) -> Vary:
    if kind == "keywords":
        words = stop_words[language]
        return lambda text, rng: keywords(text, words)
    if kind == "question":
        return _questioner(language, stop_words[language])
    if not _CODE.fullmatch(kind):
        raise ConfigError(f"'{kind}' is no kind of variant; allowed are {', '.join(KINDS)} and languages like de")
    pairs = [(row[language], row[kind]) for row in captions if language in row and kind in row]
    if not pairs:
        raise ConfigError(
            f"no sentence has captions in '{language}' and '{kind}'; learn from a manifest that has both, or leave "
            f"'{kind}' out"
        )
    lexicon = learn_lexicon(pairs, (stop_words[language], stop_words[kind]))
    return lambda text, rng: switch_code(text, lexicon, rng)


def _questioner(language: str, stop_words: frozenset[str]) -> Vary:
    templates = question_templates()
    base = language.partition("-")[0].lower()
    if base not in templates:
        raise ConfigError(f"no questions in '{language}'; there are some in {', '.join(sorted(templates))}")

    def ask(text: str, rng: np.random.Generator) -> str:
        template = templates[base][int(rng.integers(len(templates[base])))]
        content = keywords(text, stop_words)
        return template.format(keywords=content, sentence=text.rstrip(" .。．۔")) if content else ""

    return ask


def add_variants(clips: Iterable[Clip], variers: Mapping[str, Vary], *, seed: int = 0) -> Varied:
    """Give clips the variants of their captions; those they have under the same key are replaced.

    Args:
        clips: of any split.
        variers: of `make_variers`.
        seed: other questions and other words.
    """
    done = Varied([], dict.fromkeys(variers, 0), dict.fromkeys(variers, 0), [])
    for clip in clips:
        made = {key: _variant(clip, key, vary, seed) for key, vary in variers.items()}
        for language in dict.fromkeys(key.partition("+")[0] for key, text in made.items() if text is None):
            done.problems.append(Problem(f"clip '{clip.id}'", f"has no caption in '{language}' to vary", "missing"))
        for key, text in made.items():
            if text is not None:
                (done.num_made if text else done.num_left_out)[key] += 1
        kept = {key: text for key, text in clip.captions.items() if key not in made}
        new = {key: text for key, text in made.items() if text}
        done.clips.append(dataclasses.replace(clip, captions={**kept, **new}))
    return done


def _variant(clip: Clip, key: str, vary: Vary, seed: int) -> str | None:
    """The variant, "" where the caption has none, None where there is no caption."""
    text = clip.captions.get(key.partition("+")[0])
    if text is None:
        return None
    # Drawn by what the sentence is, so that neither the other clips nor their order matter.
    rng = np.random.default_rng([seed, zlib.crc32(f"{key}\t{text}".encode())])
    varied = vary(text, rng)
    return varied if varied != text else ""
