"""Tables of spellings: which code points of a language are written as which, one row a pair, grouped by what they mend.

A table is a .tsv beside this file, with code points in hexadecimal. `use` says when a row counts: "always"; "default",
unless its group is kept; "scoring", where references and hypotheses are compared; "optional", on request only.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Collection
from importlib import resources
from typing import Literal, NamedTuple, cast

from signwave.errors import UserError

Use = Literal["always", "default", "scoring", "optional"]

SHARED = "perso_arabic"
"""Rows that every language of the script takes, before its own."""


class Spelling(NamedTuple):
    """One row: `source` is written as `target`, either may be several code points, the target none."""

    source: str
    target: str
    group: str
    use: Use
    note: str


@functools.cache
def spellings(code: str) -> tuple[Spelling, ...]:
    """Return the rows of a language, those of the script first, in the order in which they are applied."""
    own = () if code == SHARED else spellings(SHARED)
    lines = resources.files("asr.text").joinpath(f"{code}.tsv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return own + tuple(
        Spelling(_text(row["from"]), _text(row["to"]), row["group"], cast(Use, row["use"]), row["note"]) for row in rows
    )


def _text(points: str) -> str:
    return "" if points == "-" else "".join(chr(int(point, 16)) for point in points.split("+"))


def choosable(code: str) -> dict[str, Use]:
    """Return the groups of a language that can be switched on or off, with when they count by themselves."""
    return {row.group: row.use for row in spellings(code) if row.use != "always"}


def chosen(code: str, groups: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs (from, to) of a language: those that always count and those of the named groups."""
    return tuple((row.source, row.target) for row in spellings(code) if row.use == "always" or row.group in groups)


def check_groups(code: str, groups: Collection[str]) -> None:
    """Refuse groups that the table of a language doesn't have.

    Raises:
        UserError: names the group and those that there are.
    """
    allowed = choosable(code)
    for group in groups:
        if group not in allowed:
            raise UserError(f"'{group}': no group of spellings of '{code}'; allowed are {', '.join(allowed)}")
