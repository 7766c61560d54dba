"""asterisk-core-sounds-en: 568 telephone prompts in English, one professional US voice, 8 kHz mono, 1,529 s.

Licence: CC BY-SA 3.0 (Digium). Source: the Debian packages `asterisk-core-sounds-en` (texts) and
`asterisk-core-sounds-en-wav` (audio); `tools/fetch_asterisk.py` gets and unpacks both without root.
There is no official split and no published result: `prepare` holds out 40 prompts of at least four words ("test") and
30 more for the choice of decoder settings ("dev"), by seeded hash.

Quirks of the text file that the parser handles: keys with folders, colons inside texts, a text without a recording,
recordings of tones and silence, stage directions in brackets, leading and trailing "...", digits, `*` and `#`
that are spoken as words, double spaces.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from asr.text import ENGLISH
from asr.text.numbers import spell_digits
from signwave.errors import ManifestError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

TEXTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison"
NUM_ENTRIES, NUM_RECORDINGS = 569, 568
PERSON = "allison"
MIN_HELD_OUT_WORDS = 4
MAX_SECONDS = 29.0
"""Longer recordings are left out: the donor's window is 30 s, and the three of them would fill a batch alone."""

_BRACKETS = re.compile(r"\[[^\]]*\]|<[^>]*>|\([^)]*\)")
_SPELT_SYMBOLS = {"*": " star ", "#": " pound ", "%": " percent ", "&": " and "}
_UNSPEAKABLE = re.compile(r"\d{4,}|\d?\.\d")  # codes and decimals: how they are read aloud can't be told from the text


class Prompt(NamedTuple):
    """One entry of the text file: its place, the key of its recording, and the text as written."""

    where: str
    key: str
    text: str


def read_prompts(path: str | Path) -> Iterator[Prompt]:
    """Yield the entries of the text file (plain or .gz); comments (`;`) and blank lines are passed over.

    Raises:
        ManifestError: a line without a key.
    """
    opened = gzip.open if str(path).endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip() or line.startswith(";"):
                    continue
                key, colon, text = line.partition(":")  # at the first colon only: texts hold more of them
                if not colon or not key.strip():
                    raise ManifestError(f"{path}:{number}: {line.strip()!r} has no key; expected 'key: text'")
                yield Prompt(f"{path}:{number}", key.strip(), text.strip())
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file; give the folder that holds usr/share of the packages, as "
                            "tools/fetch_asterisk.py makes it") from None  # fmt: skip
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: can't be read ({error}); unpack the package again") from None


def has_brackets(text: str) -> bool:
    """Whether the text holds a stage direction or a bracketed symbol."""
    return _BRACKETS.search(text) is not None


def spoken_text(text: str) -> str:
    """Return what is said, as lower-case words; empty where nothing is said or the text can't tell.

    >>> spoken_text("...to exit, press 12 or #. (beep)")
    'to exit press twelve or pound'
    """
    text = _BRACKETS.sub(" ", text)
    if _UNSPEAKABLE.search(text):
        return ""
    for symbol, word in _SPELT_SYMBOLS.items():
        text = text.replace(symbol, word)
    return ENGLISH(spell_digits(text))


def prepare(raw: Path, *, num_test: int = 40, num_dev: int = 30, seed: int = 0) -> Iterator[Row | Problem]:
    """Yield every usable recording with its split; what is left out is a problem with the reason.

    No text of "test" or "dev" occurs verbatim in "train": recordings with such a text are left out of "train".

    Args:
        raw: the folder into which both packages were unpacked; it holds `usr/share`.
        num_test: held-out recordings, of at least four words and without stage directions.
        num_dev: recordings for the choice of decoder settings, chosen after the test ones in the same order.
        seed: of the order in which recordings are held out.
    """
    rows: list[tuple[Row, bool]] = []
    for prompt in read_prompts(Path(raw) / TEXTS):
        found = _row(Path(raw), prompt)
        if isinstance(found, Problem):
            yield found
        else:
            rows.append((found, has_brackets(prompt.text)))
    yield from _split(rows, num_test=num_test, num_dev=num_dev, seed=seed)


def _row(raw: Path, prompt: Prompt) -> Row | Problem:
    """The recording of a prompt, or why there is none."""
    import soundfile

    path = raw / SOUNDS / f"{prompt.key}.wav"
    text = spoken_text(prompt.text)
    if not path.is_file():
        return Problem(prompt.where, f"'{prompt.key}' has a text and no recording {path}", "missing")
    if not text:
        return Problem(prompt.where, f"nothing that can be spelt is said in {prompt.text!r}", "no_speech")
    try:
        info = soundfile.info(str(path))
    except RuntimeError as error:
        return Problem(prompt.where, f"{path}: {error}", "unreadable")
    if not 0 < info.duration <= MAX_SECONDS:
        return Problem(
            prompt.where, f"{path}: {info.duration:.1f} s; allowed are up to {MAX_SECONDS:.0f} s", "too_long"
        )
    clip = Clip(
        id=prompt.key, path=str(path), kind="audio", num_frames=info.frames, rate_hz=float(info.samplerate),
        text=text, language="en", person=PERSON, group=text,
    )  # fmt: skip
    return Row(clip, prompt.where)


def _split(rows: list[tuple[Row, bool]], *, num_test: int, num_dev: int, seed: int) -> Iterator[Row | Problem]:
    """Give every row its split; of equal texts only one is held out."""
    candidates: dict[str, Row] = {}
    for row, bracketed in sorted(rows, key=lambda item: _order(item[0].clip.id, seed)):
        if not bracketed and len(row.clip.text.split()) >= MIN_HELD_OUT_WORDS:
            candidates.setdefault(row.clip.text, row)
    held_out = {
        text: ("test" if i < num_test else "dev") for i, text in enumerate(list(candidates)[: num_test + num_dev])
    }
    for row, _ in rows:
        split = held_out.get(row.clip.text, "train")
        if split != "train" and candidates[row.clip.text] is not row:
            yield Problem(row.where, f"'{row.clip.id}' says the same as a held-out recording", "held_out_text")
        else:
            yield Row(replace(row.clip, split=split), row.where)


def _order(key: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()
