"""VoxPopuli (Meta): European Parliament, 16 languages transcribed (1,800 h), 23 unlabelled (400,000 h), 16 kHz ogg.

Licence: CC0 (data), see the European Parliament's notice. Citation: Wang et al., "VoxPopuli", ACL 2021. Metric: WER of
`normed_text`. Official splits; a speaker may be in several of them (`asr leaks` counts them).

Quirks: `asr_LANGUAGE.tsv[.gz]` is delimited by pipes, not tabs. Its segments lie in session recordings
(raw_audios/original/YEAR/SESSION_original.ogg, or SESSION_LANGUAGE.ogg); the corpus's own script cuts them to
transcribed_data/LANGUAGE/YEAR/SESSION-ID.ogg, leaving pauses out, and such files are taken where they are there.
Unlabelled recordings: `asr prepare folder raw_audios/fi OUT layout=audio`, then `asr collect`.

    asr prepare voxpopuli voxpopuli OUT --language fi
"""

from collections.abc import Iterator
from pathlib import Path

from asr.corpora.tables import chosen, read_table
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

SPLITS = ("train", "dev", "test")
_REQUIRED = ("session_id", "id_", "normed_text", "speaker_id", "start_time", "end_time", "split")


def prepare(raw: Path, *, language: str = "", splits: str = "", raw_text: bool = False) -> Iterator[Row | Problem]:
    """Yield the transcribed segments of one language.

    Args:
        raw: the folder that holds raw_audios and transcribed_data.
        language: code, needed where there is more than one annotation table.
        splits: comma list; empty = all.
        raw_text: take `original_text` with capitals and punctuation, not `normed_text`.

    Yields:
        Rows with `person` = speaker and `group` = session; or problems.

    Raises:
        UserError: no annotation table of the language.
    """
    table, code = _table(raw, language)
    wanted = chosen(splits, SPLITS, where=table)
    files = {path.name: path for path in sorted(raw.rglob("*.ogg"))}
    for line, fields in read_table(table, delimiter="|", quoted=True, required=_REQUIRED):
        if fields["split"] in wanted:
            yield _row(fields, f"{table}:{line}", code, files, raw_text=raw_text)
        elif fields["split"] not in SPLITS:
            reason = f"split '{fields['split']}' is none of {', '.join(SPLITS)}"
            yield Problem(f"{table}:{line}", reason, "invalid")


def _table(raw: Path, language: str) -> tuple[Path, str]:
    found: dict[str, Path] = {}
    for path in sorted(raw.rglob(f"asr_{language or '*'}.tsv*")):
        code = path.name.removesuffix(".gz").removesuffix(".tsv").removeprefix("asr_")
        if code not in SPLITS:  # asr_train.tsv … are tab-separated copies of the corpus's own script
            found.setdefault(code, path)
    if len(found) == 1:
        code, path = found.popitem()
        return path, code
    if not found:
        raise UserError(f"{raw}: holds no asr_{language or 'LANGUAGE'}.tsv.gz; put the annotations into the folder")
    raise UserError(f"{raw}: there are tables of {', '.join(found)}; name one with --language")


def _row(fields: dict[str, str], where: str, language: str, files: dict[str, Path], *, raw_text: bool) -> Row | Problem:
    session, text = fields["session_id"], fields["normed_text"].strip()
    original = fields.get("original_text", "").strip()
    text = (original or text) if raw_text else (text or original)
    cut = files.get(f"{session}-{fields['id_']}.ogg")
    names = (f"{session}_original.ogg", f"{session}_{language}.ogg")
    entire = next((files[name] for name in names if name in files), None)
    if not text:
        return Problem(where, "the transcript is empty", "no_text")
    if cut is None and entire is None:
        return Problem(where, f"neither {session}-{fields['id_']}.ogg nor {names[0]} is below the folder", "missing")
    try:
        start, end = float(fields["start_time"]), float(fields["end_time"])
        clip = Clip(
            id=f"{session}-{fields['id_']}",
            path=str(cut or entire),
            kind="audio",
            start_seconds=0.0 if cut else start,
            end_seconds=None if cut else end,
            text=text,
            language=language,
            person="" if fields["speaker_id"] in ("None", "") else fields["speaker_id"],
            group=session,
            split=fields["split"],
        )
    except ValueError as error:
        return Problem(where, f"{error}; correct start_time and end_time", "invalid")
    return Row(clip, where)
