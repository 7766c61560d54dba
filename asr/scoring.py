"""Error rates of transcripts against references: what `asr score` does with its two files or folders."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from asr.text import for_language
from signwave import manifest, metrics
from signwave.errors import UserError
from signwave.text import Normaliser


def score(hypothesis: Path, reference: Path, *, language: str = "") -> dict[str, Any]:
    """Return WER and CER of a corpus with 95 % bootstrap intervals over recordings, as plain values.

    Recordings are paired by file name without suffix (two text files: by line). One without a hypothesis counts as
    empty: leaving hard files out must not lower the rate.

    Args:
        hypothesis: folder of .txt or .json, .json or .jsonl of records, or a text file.
        reference: manifest, folder of .txt, or a text file.
        language: whose normaliser both sides go through; empty = compared as they are.

    Raises:
        UserError: nothing to compare, or names that don't pair.
    """
    references, hypotheses = read_texts(reference), read_texts(hypothesis)
    if not references:
        raise UserError(f"{reference}: holds no reference; give a manifest, a folder of .txt or a .txt")
    missing = [name for name in references if name not in hypotheses]
    if len(missing) == len(references):
        raise UserError(
            f"{hypothesis}: names none of the {len(references)} recordings of {reference}, such as '{missing[0]}'; "
            "they are paired by file name without suffix"
        )
    normalise = for_language(language) if language else Normaliser("none", steps=("collapse_spaces",))
    names = list(references)
    if not any(normalise(text) for text in references.values()):
        raise UserError(f"{reference}: none of its {len(names)} recordings has a text; give transcripts")
    ours = [normalise(hypotheses.get(name, "")) for name in names]
    theirs = [normalise(references[name]) for name in names]
    words = metrics.count_each(theirs, ours)
    characters = metrics.count_each(theirs, ours, unit="char")
    total_words, total_characters = (sum(counts, start=metrics.EditCounts()) for counts in (words, characters))
    figures = total_words.to_dict()
    return {
        "protocol": "plain",
        "normaliser": normalise.name,
        "wer": figures.pop("error_rate"),
        "interval_95": list(metrics.error_rate_interval(words)[:2]),
        "cer": total_characters.error_rate,
        "cer_interval_95": list(metrics.error_rate_interval(characters)[:2]),
        **figures,
        "num_reference_characters": total_characters.num_reference,
        "num_missing": len(missing),
        "missing": missing[:100],
        "num_unreferenced": sum(name not in references for name in hypotheses),
    }


def summary(result: dict[str, Any]) -> str:
    """Return the figures as lines for people."""
    low, high = result["interval_95"]
    char_low, char_high = result["cer_interval_95"]
    lines = [
        f"WER {result['wer']:.2%}  [{low:.2%}, {high:.2%}]  of {result['num_reference_tokens']} words: "
        f"{result['substitutions']} sub, {result['deletions']} del, {result['insertions']} ins",
        f"CER {result['cer']:.2%}  [{char_low:.2%}, {char_high:.2%}]  "
        f"of {result['num_reference_characters']} characters",
        f"{result['num_sentences']} recordings, {result['sentence_error_rate']:.2%} with an error; "
        f"normaliser {result['normaliser']}",
    ]
    if result["num_missing"]:
        lines.append(f"{result['num_missing']} without a hypothesis count as empty, such as {result['missing'][0]}")
    return "\n".join(lines)


def read_texts(path: Path) -> dict[str, str]:
    """Return recording → text from any of the layouts that `score` takes.

    Raises:
        UserError: the path is missing, can't be read, or names a recording twice.
    """
    try:
        pairs = list(_folder(path) if path.is_dir() else _file(path))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: can't be read as transcripts ({error}); give .txt, .json, .jsonl or a manifest"
        ) from error
    texts: dict[str, str] = {}
    for name, text in pairs:
        if name in texts:
            raise UserError(f"{path}: names the recording '{name}' twice; rename one, names are paired without folder")
        texts[name] = text
    return texts


def _folder(path: Path) -> Iterator[tuple[str, str]]:
    files = sorted(path.rglob("*.json")) or sorted(path.rglob("*.txt"))
    for file in files:
        if file.name != "prepare.json":
            yield from _file(file, named=True)


def _file(path: Path, *, named: bool = False) -> Iterable[tuple[str, str]]:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return _json_lines(path)
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        content = json.loads(text)
        return [_record(record) for record in content.get("records", [content])]
    if named:
        return [(path.stem, text)]
    lines = text.splitlines()
    if lines and all("\t" in line for line in lines):  # what `asr transcribe` prints for several files
        return [(Path(name).stem, rest) for name, _, rest in (line.partition("\t") for line in lines)]
    return [(f"line {number}", line) for number, line in enumerate(lines, 1)]


def _json_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Records of `asr transcribe`, or the clips of a manifest."""
    if path.suffix != ".gz":
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if lines and "status" in json.loads(lines[0]):
            yield from (_record(json.loads(line)) for line in lines)
            return
    for clip in manifest.read(path):
        yield Path(clip.path).stem, clip.text


def _record(record: dict[str, Any]) -> tuple[str, str]:
    return Path(str(record["file"])).stem, str(record["text"])
