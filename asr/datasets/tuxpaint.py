"""TuxPaint stamps: volunteers reading the captions of 950 pictures; 13 languages, at most 20 to 30 minutes each.

Minutes with a caption: ro 30, es 25, ru 23, fr 21, bg 21, el 18, be 16, ca 14, da 5; few of nl, en, ml. Licence: GPL-2.
Source: the Debian package `tuxpaint-stamps-default` (161 MB); `tools/fetch_tuxpaint.py` unpacks it without root.
No official split, no published result. The readers are not named; each language has one or a few.

Layout: usr/share/tuxpaint/stamps/**: X.txt (line 1 the English caption, then LANGUAGE.utf8=caption), X_desc_LANG.ogg,
X_desc.ogg (English); X.ogg is a sound effect. Quirks: recordings without a caption, one name that ends in .ogg.ogg,
captions with digits, whose reading the text doesn't tell (left out unless `digits=keep`), and one recording under the
names of several pictures. So splits are drawn by picture, by words and by the bytes of the file, over all languages: a
picture is in the same split in each of them, whichever are asked for.

    python tools/fetch_tuxpaint.py RAW
    asr prepare tuxpaint RAW OUT --language be
    asr prepare tuxpaint RAW OUT --language ru,bg,be
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from asr.corpora.splits import draw, parse_sizes
from asr.corpora.tables import chosen, read_lines
from signwave.errors import UserError
from signwave.inputs import files_below
from signwave.manifest import Clip
from signwave.prepare import Problem, Row
from signwave.rundir import sha256_file

STAMPS = "usr/share/tuxpaint/stamps"
SIZES = "train=0.7,dev=0.1,test=0.2"
_SPEECH = re.compile(r"(.+)_desc(?:_([A-Za-z@_]+))?(?:\.ogg|\.wav)+")
_NOT_SPELT = re.compile(r"[\d$%+=©]")


def prepare(
    raw: Path, *, language: str = "", digits: str = "drop", sizes: str = SIZES, seed: int = 0
) -> Iterator[Row | Problem]:
    """Yield every recording of a caption, with its split.

    Args:
        raw: the folder into which the package was unpacked; it holds `usr/share`.
        language: comma list of codes as in the files' names; empty = all.
        digits: keep or drop captions with digits and signs that are read as words.
        sizes: share of each split; no two share a picture, a caption or a recording.
        seed: of the draw.

    Yields:
        Rows with `group` = picture and no person; or problems.

    Raises:
        UserError: no such folder or language, or a wrong setting.
    """
    if digits not in ("drop", "keep"):
        raise UserError(f"digits={digits}: unknown; allowed are drop, keep")
    root = raw / STAMPS if (raw / STAMPS).is_dir() else raw
    found = [(path, match) for path in files_below(root, {".ogg", ".wav"}) if (match := _SPEECH.fullmatch(path.name))]
    codes = sorted({match[2] or "en" for _, match in found})
    wanted = set(chosen(language, codes, where=root, what="language"))
    outcomes = [_clip(path, path.with_name(f"{match[1]}.txt"), match[2] or "en", root) for path, match in found]
    drawn = draw([one for one in outcomes if isinstance(one, Clip)], by=["prompt"], sizes=parse_sizes(sizes), seed=seed)
    splits = {clip.id: clip.split for clip in drawn.clips}
    for outcome, (path, match) in zip(outcomes, found, strict=True):
        if (match[2] or "en") not in wanted:
            continue
        if isinstance(outcome, Problem):
            yield outcome
        elif digits == "drop" and _NOT_SPELT.search(outcome.text):
            yield Problem(str(path), f"how '{outcome.text}' is read can't be told; digits=keep takes it", "digits")
        else:
            yield Row(replace(outcome, split=splits[outcome.id], sha256=""), str(path))


def _clip(path: Path, captions: Path, language: str, root: Path) -> Clip | Problem:
    try:
        text = _captions(captions).get(language, "")
    except UserError:
        return Problem(str(path), f"has no {captions.name} beside it, which would hold its caption", "no_text")
    if not text:
        return Problem(str(path), f"{captions.name} has no caption in '{language}'", "no_text")
    relative = captions.relative_to(root).with_suffix("").as_posix()
    return Clip(
        id=f"{relative}-{language}",
        path=str(path),
        kind="audio",
        text=text,
        language=language.partition("_")[0].partition("@")[0],
        group=relative,
        sha256=sha256_file(path),
    )


def _captions(path: Path) -> dict[str, str]:
    """Language → caption; the first line is English."""
    captions: dict[str, str] = {}
    for line, text in read_lines(path):
        name, equals, caption = text.partition(".utf8=")
        if line == 1:
            captions["en"] = " ".join(text.split())
        elif equals:
            captions[name] = " ".join(caption.split())
    return captions
