"""Letters of other manual alphabets that look like letters of the German-speaking ones: the table made by eye.

The rows are in equal_handshapes.tsv; its heading says how they were judged, and what the judgement is worth.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from signwave.errors import ManifestError, UserError
from signwave.rundir import atomic_path
from slr.datasets.spelled_texts import opaque_gloss

TABLE = "equal_handshapes.tsv"
TARGET_ALPHABETS = ("gsg", "sgg", "asq")
NONE = "-"
_COLUMNS = ["alphabet", "letter", "target_letter", "certainty", "note"]
Certainty = Literal["high", "low"]


class EqualHandshape(NamedTuple):
    """A letter of another alphabet, and a letter of the target alphabets with the same handshape; "-" for none."""

    alphabet: str
    letter: str
    target_letter: str
    certainty: Certainty
    note: str


def equal_handshapes() -> list[EqualHandshape]:
    """The table; a letter with several equals has several rows.

    Raises:
        ManifestError: a row lacks a column, or its certainty is neither high nor low.
    """
    return parse(resources.files("slr.datasets").joinpath(TABLE).read_text(encoding="utf-8"))


def parse(text: str) -> list[EqualHandshape]:
    """The rows of a table as text; lines that begin with # are comments."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line and not line.startswith("#")]
    rows = list(csv.reader((line for _, line in lines), delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or rows[0] != _COLUMNS:
        raise ManifestError(f"{TABLE}: the first row must be {', '.join(_COLUMNS)}; mend it")
    found = []
    for (number, _), row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(_COLUMNS) or not all(row[:3]) or row[3] not in get_args(Certainty):
            raise ManifestError(f"{TABLE}:{number}: needs {', '.join(_COLUMNS)}, certainty high or low; got {row}")
        found.append(EqualHandshape(row[0], row[1], row[2], cast("Certainty", row[3]), row[4]))
    return found


def truth(alphabets: Sequence[str], *, certainty: Certainty = "low") -> list[tuple[str, str]]:
    """Opaque glosses of alphabets and the target letters that they equal.

    Args:
        alphabets: auxiliary alphabets.
        certainty: "high" leaves out the rows that were judged with doubt.

    Raises:
        UserError: the table has no rows of an alphabet.
    """
    table = equal_handshapes()
    judged = {row.alphabet for row in table}
    unknown = [name for name in alphabets if name not in judged]
    if unknown:
        raise UserError(f"{TABLE} has no rows of '{unknown[0]}'; it has {', '.join(sorted(judged))}")
    return [
        (opaque_gloss(row.alphabet, row.letter), row.target_letter)
        for row in table
        if row.alphabet in alphabets and row.target_letter != NONE and certainty in ("low", row.certainty)
    ]


def write_truth(path: str | Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Write pairs as `slr map --truth` reads them: two columns with a heading."""
    with atomic_path(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("auxiliary\ttarget\n")
        file.writelines(f"{source}\t{target}\n" for source, target in pairs)
