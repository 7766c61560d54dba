"""n-gram models of glosses: training texts out of manifests, tables and text files; training; perplexity."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from signwave import manifest
from signwave.ctc import NgramLm
from signwave.errors import ManifestError, UserError
from signwave.prepare import Problem
from signwave.text import Vocabulary

MAX_ORDER = 10
_RESERVED = ("<s>", "</s>", "<unk>")
_MANIFESTS = (".jsonl", ".jsonl.gz")
_TABLES = (".csv", ".tsv", ".psv")
_TEXTS = (".txt", ".txt.gz")


def sentences(path: str | Path) -> Iterator[list[str]]:
    """The glosses of each sentence of a file; sentences without any are left out.

    Args:
        path: a manifest (.jsonl, .jsonl.gz), a table with a gloss column (.csv, .tsv, see slr.corpora.tables; the first
            column that is one of gloss, glosses, orth, annotation, label, text, …), or a sentence a line (.txt).

    Raises:
        ManifestError: the file can't be read, or is of another kind.
    """
    name = str(path).lower()
    if not Path(path).is_file():
        raise ManifestError(f"{path}: no such file; give manifests (.jsonl), tables (.csv) or texts (.txt)")
    if name.endswith(_MANIFESTS):
        texts: Iterable[str] = (clip.text for clip in manifest.read(path))
    elif name.endswith(_TABLES):
        texts = _table_texts(Path(path))
    elif name.endswith(_TEXTS):
        texts = _lines(Path(path))
    else:
        allowed = ", ".join((*_MANIFESTS, *_TABLES, *_TEXTS))
        raise ManifestError(f"{path}: not a file that texts are read from; allowed are {allowed}")
    for text in texts:
        if words := text.split():
            yield words


def train(
    paths: Sequence[str | Path], *, order: int = 3, vocabulary: Vocabulary | None = None
) -> tuple[NgramLm, dict[str, Any]]:
    """Train a model by modified Kneser-Ney smoothing.

    Args:
        paths: see `sentences`.
        order: the longest n-gram, 1 to MAX_ORDER.
        vocabulary: of a recogniser, whose glosses the model shall know besides those of the texts.

    Returns:
        The model, and what it was made of.

    Raises:
        UserError: no sentence in the files, or a gloss that is one of the format's own words.
    """
    if not 1 <= order <= MAX_ORDER:
        raise UserError(f"--order {order}: must be from 1 to {MAX_ORDER}; 3 is usual")
    lines = [words for path in paths for words in _checked(path)]
    if not lines:
        raise UserError(f"{', '.join(map(str, paths))}: no sentence with a gloss in it; give texts that have some")
    lm = NgramLm.train(lines, order=order, vocabulary=vocabulary.tokens[1:] if vocabulary else ())
    counts = {
        "num_sentences": len(lines),
        "num_tokens": sum(map(len, lines)),
        "num_words": len(lm.words) - len(_RESERVED),
        "num_ngrams": [len(level.words) for level in lm.levels],
        "order": lm.order,
    }
    return lm, counts


@dataclass(frozen=True)
class Perplexity:
    """How well a model predicts texts.

    Attributes:
        num_sentences: sentences.
        num_tokens: glosses, the ends of sentences left out.
        num_unknown: glosses that the model doesn't know.
        unknown_rate: num_unknown over num_tokens.
        perplexity: over known glosses and sentence ends; lower is better.
        perplexity_with_unknown: unknown ones at the probability of <unk>.
        bits_per_token: base-2 logarithm of `perplexity`.
    """

    num_sentences: int
    num_tokens: int
    num_unknown: int
    unknown_rate: float
    perplexity: float
    perplexity_with_unknown: float
    bits_per_token: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def perplexity(lm: NgramLm, texts: Iterable[Sequence[str]]) -> Perplexity:
    """Perplexity of a model on sentences, each with its end.

    Raises:
        UserError: there are none.
    """
    num_sentences = num_tokens = num_unknown = num_known = 0
    known_nats = all_nats = 0.0
    for words in texts:
        scores = lm.word_scores(words)
        known = [word in lm for word in words] + [True]
        num_sentences, num_tokens = num_sentences + 1, num_tokens + len(words)
        num_unknown, num_known = num_unknown + known.count(False), num_known + sum(known)
        all_nats += sum(scores)
        known_nats += sum(score for score, is_known in zip(scores, known, strict=True) if is_known)
    if not num_sentences:
        raise UserError("no sentence with a gloss in it to score; give texts that have some")
    nats = -known_nats / num_known
    return Perplexity(
        num_sentences=num_sentences,
        num_tokens=num_tokens,
        num_unknown=num_unknown,
        unknown_rate=num_unknown / num_tokens,
        perplexity=math.exp(min(nats, 700.0)),
        perplexity_with_unknown=math.exp(min(-all_nats / (num_tokens + num_sentences), 700.0)),
        bits_per_token=nats / math.log(2),
    )


def _checked(path: str | Path) -> Iterator[list[str]]:
    for number, words in enumerate(sentences(path), 1):
        for word in _RESERVED:
            if word in words:
                raise UserError(
                    f"{path}: sentence {number} holds '{word}', a word of the ARPA format; rename the gloss"
                )
        yield words


def _table_texts(path: Path) -> Iterator[str]:
    from slr.corpora.tables import read_table

    for row in read_table(path):
        if isinstance(row, Problem):
            raise ManifestError(f"{row.where}: {row.reason}")
        yield row.values["gloss"] or row.values["text"]


def _lines(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            yield from io.TextIOWrapper(cast(BinaryIO, file), encoding="utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: can't be read as text ({error}); save it as UTF-8") from error
