"""FLEURS (Google): the same 2,009 English Wikipedia sentences read in 102 languages, about 12 h each, 16 kHz.

Licence: CC BY 4.0. Citation: Conneau et al., "FLEURS: Few-shot Learning Evaluation of Universal Representations of
Speech", SLT 2022. Metric: WER or CER of the normalised transcription. Official splits, disjoint in sentences.

Quirks: the tables have no header (id, file, raw transcription, normalised transcription, characters, samples, gender)
and no speakers; the id is the sentence's and comes back with each of its two or three readers, in every language.
Layouts: LANGUAGE/{train,dev,test}.tsv with LANGUAGE/audio/SPLIT/*.wav as published, the same below `data/`, or
metadata/LANGUAGE/SPLIT.tsv with LANGUAGE/SPLIT/*.wav as Lhotse downloads it.

    asr prepare fleurs fleurs/fa_ir OUT
    asr prepare fleurs fleurs OUT --language ur_pk splits=test
"""

from collections.abc import Iterator
from pathlib import Path

from asr.corpora.tables import chosen, locate, read_lines
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

SPLITS = ("train", "dev", "test")
COLUMNS = ("id", "file name", "raw transcription", "transcription", "characters", "number of samples", "gender")
RATE_HZ = 16_000.0


def prepare(raw: Path, *, language: str = "", splits: str = "", raw_text: bool = False) -> Iterator[Row | Problem]:
    """Yield the readings of every split that is there.

    Args:
        raw: the folder of one language, or a folder of several.
        language: as the folder is called (fa_ir), or the part before the underscore, where there are several.
        splits: comma list; empty = all that are there.
        raw_text: take the transcription with capitals and punctuation, not the normalised one.

    Yields:
        Rows named after the audio file, whose `group` is the sentence's id; or problems.

    Raises:
        UserError: no such language or split.
    """
    tables = _tables(raw, language)
    for split in chosen(splits, [split for split in SPLITS if split in tables], where=raw):
        for line, text in read_lines(tables[split]):
            yield _row(text.split("\t"), f"{tables[split]}:{line}", tables[split], raw_text=raw_text)


def _tables(raw: Path, language: str) -> dict[str, Path]:
    """Split → table of one language."""
    by_language: dict[str, dict[str, Path]] = {}
    for split in SPLITS:
        for depth in ("", "*/", "*/*/"):
            for path in sorted(raw.glob(f"{depth}{split}.tsv")):
                by_language.setdefault(path.parent.name, {})[split] = path
    names = sorted(by_language)
    matching = [name for name in names if not language or language in (name, _code(name))]
    if len(matching) == 1:
        return by_language[matching[0]]
    if not names:
        raise UserError(f"{raw}: holds no train.tsv, dev.tsv or test.tsv; give the folder of a language, unpacked")
    raise UserError(f"{raw}: language '{language}' is not one of {', '.join(names)}; name one with --language")


def _code(folder: str) -> str:
    return folder.partition("_")[0]


def _row(values: list[str], where: str, table: Path, *, raw_text: bool) -> Row | Problem:
    if len(values) != len(COLUMNS) or not values[5].strip().isdigit():
        return Problem(where, f"expected {len(COLUMNS)} fields ({', '.join(COLUMNS)}), got {len(values)}", "invalid")
    sentence, name, plain, normalised, _, num_samples, _gender = (value.strip() for value in values)
    folder, split = table.parent, table.stem
    text = plain if raw_text else normalised
    if not name or not text:
        return Problem(where, "the file name or the transcription is empty; download the table again", "no_text")
    audio = locate(name, folder / "audio" / split, folder / split, folder.parent.parent / folder.name / split)
    clip = Clip(
        id=Path(name).stem,
        path=str(audio),
        kind="audio",
        num_frames=int(num_samples),
        rate_hz=RATE_HZ,
        text=text,
        language=_code(folder.name),
        group=f"fleurs-{sentence}",
        split=split,
    )
    return Row(clip, where)
