"""Arabic Speech Commands: 40 Arabic words, 30 speakers, 10 takes each, 12,000 clips of one second, 16 kHz, 3.3 h.

Licence: CC BY 4.0. Citation: Ghandoura, Hjabo & Al Dakkak, "Building and Benchmarking an Arabic Speech Commands Dataset
for Small-Footprint Keyword Spotting", Engineering Applications of AI, 2021. Metric: accuracy, which with one word a
clip is 1 - WER unless words are inserted. Official lists train.csv, val.csv and test.csv (18, 6, 6 speakers).

Quirks: folders and lists name the words in English; the transcripts here are the Arabic words of the corpus's own table
of keywords, as spoken, without vowel signs. The speaker is the first eight digits of a file's name. Where recordings
are missing (a partial copy) each is a problem of its own; where test.csv is missing, val.csv can be the test set.

    asr prepare arabic-speech-commands arabic-speech-commands-dataset OUT
    asr prepare arabic-speech-commands PARTIAL_COPY OUT val=test dev_speakers=00000001
"""

from collections.abc import Iterator
from pathlib import Path

from asr.corpora.tables import chosen, locate, read_table
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

WORDS = {
    "zero": "صفر", "one": "واحد", "two": "اثنان", "three": "ثلاثة", "four": "أربعة", "five": "خمسة", "six": "ستة",
    "seven": "سبعة", "eight": "ثمانية", "nine": "تسعة", "right": "يمين", "left": "يسار", "up": "أعلى", "down": "أسفل",
    "forward": "أمام", "backward": "خلف", "yes": "نعم", "no": "لا", "start": "ابدأ", "stop": "توقف",
    "enable": "تفعيل", "disable": "تعطيل", "ok": "موافق", "cancel": "إلغاء", "open": "فتح", "close": "إغلاق",
    "zoom in": "تكبير", "zoom out": "تصغير", "previous": "السابق", "next": "التالي", "send": "إرسال",
    "receive": "استقبال", "move": "تحريك", "rotate": "تدوير", "record": "تسجيل", "enter": "إدخال", "digit": "رقم",
    "direction": "اتجاه", "options": "خيارات", "undo": "تراجع",
}  # fmt: skip
_LISTS = {"train": "train", "val": "dev", "test": "test"}
_SPEAKER_DIGITS = 8


def prepare(raw: Path, *, val: str = "dev", dev_speakers: str = "") -> Iterator[Row | Problem]:
    """Yield every listed recording.

    Args:
        raw: the folder that holds train.csv, val.csv and `dataset`.
        val: the split that val.csv becomes: dev, or test where there is no test.csv.
        dev_speakers: comma list of speakers of train.csv whose recordings are "dev".

    Yields:
        Rows with the Arabic word as text, `person` = speaker and `group` = the English word; or problems.

    Raises:
        UserError: no list, a wrong setting or an unknown speaker.
    """
    lists = {name: raw / f"{name}.csv" for name in _LISTS if (raw / f"{name}.csv").is_file()}
    if not lists:
        raise UserError(f"{raw}: holds none of train.csv, val.csv and test.csv; give the folder of the repository")
    if val not in ("dev", "test") or (val == "test" and "test" in lists):
        raise UserError(f"val={val}: allowed are dev, or test where the folder holds no test.csv")
    tables = {name: list(read_table(path, delimiter=",", quoted=True, required=("file", "class")))
              for name, path in lists.items()}  # fmt: skip
    speakers = sorted({_speaker(fields["file"]) for _, fields in tables.get("train", [])})
    dev = set(chosen(dev_speakers, speakers, where=raw / "train.csv", what="speaker")) if dev_speakers else set()
    for name, rows in tables.items():
        split = val if name == "val" else _LISTS[name]
        for line, fields in rows:
            is_dev = name == "train" and _speaker(fields["file"]) in dev
            yield _row(fields, f"{lists[name]}:{line}", raw, "dev" if is_dev else split)


def _speaker(name: str) -> str:
    return Path(name).name[:_SPEAKER_DIGITS]


def _row(fields: dict[str, str], where: str, raw: Path, split: str) -> Row | Problem:
    path, label = locate(fields["file"], raw), fields["class"]
    if label not in WORDS:
        return Problem(where, f"'{label}' is none of the 40 words: {', '.join(WORDS)}", "label")
    if not path.is_file():
        return Problem(where, f"{path}: no such recording; this copy of the corpus is incomplete", "missing")
    clip = Clip(
        id=f"{label.replace(' ', '-')}-{path.stem}", path=str(path), kind="audio", text=WORDS[label], language="ar",
        person=_speaker(fields["file"]), group=label, split=split,
    )  # fmt: skip
    return Row(clip, where)
