"""Manual alphabets of 20 sign languages, one recording a letter, from the package `spoken-to-signed` (SpreadTheSign).

626 rows name 600 pose files (MediaPipe holistic, 586 points, 24 to 30 frames a second, 10 minutes in all). Each letter
was recorded once per language, so an alphabet stands for its signer. Traps: the rows of `fsl` name the files of `ase`
(split by file: that is what `person` is for); the times in the table don't fit the files; some labels are several
letters (SCH, Dž, ll). The recordings are read where the package is installed; they may not be passed on.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from signwave.media.poses import probe_pose
from signwave.prepare import Problem, Row
from slr.keypoints.hand_transforms import FloatArray
from slr.keypoints.hands import read_hands

RATE_HZ = 25.0
PACKAGE = "package"
"""As RAW_DIR: the installed package."""
LATIN_ALPHABETS = (
    *("ase", "asq", "bzs", "cse", "csq", "eso", "gsg", "ise", "lls"),
    *("mfs", "psr", "sgg", "ssp", "svk", "swl", "tsm"),
)
TWO_HANDED_ALPHABETS = ("cse", "csq", "tsm")
SPOKEN_LANGUAGE = {
    **{"ase": "en", "asq": "de", "gsg": "de", "sgg": "de"},
    **{"bzs": "pt", "psr": "pt", "mfs": "es", "ssp": "es"},
}
"""Alphabets whose spoken language has a word list in slr.datasets.words."""


@dataclass(frozen=True)
class Letter:
    """One recording.

    hands: (T, 42, 3) float32 at 25 Hz, see slr.keypoints.hand_transforms.
    start: first frame in which the hand is up; the hand comes up before and goes down after [start, stop).
    """

    alphabet: str
    label: str
    path: str
    hands: FloatArray
    start: int
    stop: int


Alphabet = dict[str, Letter]
"""Label → recording."""


def package_dir() -> Path:
    """The folder of recordings in the installed package, which is not imported.

    Raises:
        UserError: the package isn't installed.
    """
    spec = importlib.util.find_spec("spoken_to_signed")
    if spec is None or spec.origin is None:
        raise UserError("the package 'spoken_to_signed' is not installed; run: pip install 'signwave[signdata]'")
    return Path(spec.origin).parent / "assets" / "fingerspelling_lexicon"


def label_of(text: str) -> str:
    """A letter's name as models see it: composed and upper case, the German ß included.

    >>> label_of(" ß"), label_of("sch"), label_of("n" + chr(0x303))
    ('ẞ', 'SCH', 'Ñ')
    """
    return unicodedata.normalize("NFC", text.strip()).replace("ß", "ẞ").upper()


def prepare(raw: str | Path = PACKAGE) -> Iterator[Row | Problem]:
    """Rows of the corpus: text is the letter, person the alphabet whose file it is.

    Args:
        raw: "package" for the installed package, or a folder with `index.csv` and the pose files.

    Raises:
        ManifestError: the folder holds no table, or the table has other columns.
    """
    folder = package_dir() if str(raw) in (PACKAGE, "-") else Path(raw)
    table = folder / "index.csv"
    seen: dict[str, int] = {}
    for line, row in _read_table(table):
        label, alphabet = label_of(row["words"]), row["signed_language"]
        where = f"{table}:{line}"
        if not label or not (folder / row["path"]).is_file():
            reason = "the letter is empty" if not label else f"{row['path']} is missing; install the package again"
            yield Problem(where, reason, "label" if not label else "missing")
            continue
        name = f"{alphabet}-{label}"
        seen[name] = seen.get(name, 0) + 1
        suffix = "" if seen[name] == 1 else f"-{seen[name]}"
        clip = Clip(
            id=name + suffix,
            path=str(folder / row["path"]),
            kind="pose",
            text=label,
            language=alphabet,
            person=row["path"].split("/")[0],
            group=label,
        )
        yield Row(clip, where)


def _read_table(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with open(table, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"path", "signed_language", "words"} - set(reader.fieldnames or ())
            if missing:
                raise ManifestError(f"{table}:1: no column '{min(missing)}'; this is not the lexicon's index")
            for row in reader:
                yield reader.line_num, {key: value or "" for key, value in row.items() if key}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{table}: can't be read ({error}); give `{PACKAGE}` or the lexicon's folder") from error


def check(clip: Clip) -> Clip:
    """Open a recording and take its length from it; the table's is wrong."""
    info = probe_pose(clip.path)
    return dataclasses.replace(clip, num_frames=info.num_frames, rate_hz=info.fps)


def load_alphabets(names: Sequence[str], *, raw: str | Path = PACKAGE) -> dict[str, Alphabet]:
    """Recordings of the labels that are one letter, by alphabet; where a letter has two rows the first counts.

    Raises:
        UserError: an alphabet isn't in the corpus, or an alphabet's files are another one's that is also asked for.
    """
    found: dict[str, Alphabet] = {name: {} for name in names}
    owners: dict[str, str] = {}
    for row in prepare(raw):
        if isinstance(row, Problem) or row.clip.language not in found:
            continue
        alphabet, label = row.clip.language, row.clip.text
        if owners.setdefault(row.clip.path, alphabet) != alphabet:
            raise UserError(f"{alphabet} and {owners[row.clip.path]} are the same recordings; name one of them")
        if len(label) == 1 and label not in found[alphabet]:
            found[alphabet][label] = _read_letter(row.clip)
    for name, alphabet_found in found.items():
        if not alphabet_found:
            raise UserError(f"no alphabet '{name}' in {raw}; allowed are {', '.join(LATIN_ALPHABETS)} and others of it")
    return found


def _read_letter(clip: Clip) -> Letter:
    hands = read_hands(clip.path, rate_hz=RATE_HZ)
    start, stop = span_of_sign(hands)
    return Letter(clip.language, clip.text, clip.path, hands, start, stop)


def span_of_sign(hands: FloatArray) -> tuple[int, int]:
    """Frames [start, stop) in which the signing hand is about as high as at its highest. hands: (T, 42, 3) float32."""
    height = hands[:, 0, 1]  # grows downwards, in shoulder widths
    up = np.flatnonzero(height < np.quantile(height, 0.3) + 0.35)
    return int(up[0]), int(up[-1]) + 1


def spell(word: str, alphabet: Alphabet) -> list[Letter] | None:
    """The recordings that spell a word, or None; a letter that the alphabet lacks is taken without its accent."""
    letters = []
    for character in label_of(word):
        label = character if character in alphabet else unicodedata.normalize("NFD", character)[0]
        if label not in alphabet:
            return None
        letters.append(alphabet[label])
    return letters
