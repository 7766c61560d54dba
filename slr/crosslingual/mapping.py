"""The mapping: which sign of the target language an auxiliary sign looks like. A plain table that people edit.

Lines that begin with "# " say what it was made from; then come columns, separated by tabs. What later stages read is
`source`, `target` and `keep`; the others are evidence. To correct a row write another gloss under `target`, or "-" for
none, and yes or no under `keep`; rows may be deleted and added, columns moved.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from pathlib import Path

from signwave.errors import ManifestError
from signwave.rundir import atomic_write

UNMAPPED = "-"
COLUMNS = (
    *("source", "target", "keep", "score", "margin", "support", "split_half", "mutual", "gap", "agreement"),
    *("posterior_target", "prototype_target", "transport_target", "candidates"),
)
_REQUIRED = ("source", "target", "keep")
_FORMAT = "signwave mapping 1"
_LEAST_WEIGHT = 0.05
_YES, _NO = ("yes", "y", "true", "1", "ja", "x"), ("no", "n", "false", "0", "nein", "")


@dataclass(frozen=True)
class MappedSign:
    """One row.

    Attributes:
        source: gloss of the auxiliary language.
        target: gloss of the target language that looks like it; None for none.
        keep: whether later stages use it.
        score: in [0, 1], mean posterior of the target gloss over the signs of the source.
        margin: score less that of the second.
        support: signs of the source that were seen.
        split_half: in [0, 1], share of random halves of the signs whose mappings coincide.
        mutual: each is the other's nearest by prototypes.
        agreement: how many of the three methods name `target`.
        answers: method → gloss that it names; None for none.
        candidates: glosses with their scores, best first.
        gap: distance of the two over that of neighbouring signs of a language; near 0 is one place, 1 is another sign.
    """

    source: str
    target: str | None
    keep: bool
    score: float = math.nan
    margin: float = math.nan
    support: int = 0
    split_half: float = math.nan
    mutual: bool = False
    agreement: int = 0
    answers: MappingType[str, str | None] = field(default_factory=dict)
    candidates: tuple[tuple[str, float], ...] = ()
    gap: float = math.nan


@dataclass(frozen=True)
class Mapping:
    """A table.

    Attributes:
        rows: one for each source.
        header: what it was made from, plain text.
        sha256: of the file, "" before it is written.
    """

    rows: tuple[MappedSign, ...]
    header: dict[str, str] = field(default_factory=dict)
    sha256: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_source", {row.source: row for row in self.rows})

    def __contains__(self, source: str) -> bool:
        return source in self._rows

    @property
    def _rows(self) -> dict[str, MappedSign]:
        rows: dict[str, MappedSign] = self._by_source  # type: ignore[attr-defined]
        return rows

    def target_of(self, source: str) -> str | None:
        """The target gloss of a source that is kept, else None."""
        row = self._rows.get(source)
        return row.target if row is not None and row.keep else None

    def soft(self, source: str, *, top: int = 3) -> tuple[tuple[str, float], ...]:
        """The best target glosses of a source that is kept, with weights that sum to 1.

        Candidates with less than a twentieth of the best one's weight are left out. A target that a person wrote, which
        isn't the best candidate, has the whole weight.
        """
        row, target = self._rows.get(source), self.target_of(source)
        if row is None or target is None:
            return ()
        least = _LEAST_WEIGHT * max((weight for _, weight in row.candidates[:1]), default=0.0)
        chosen = [pair for pair in row.candidates[:top] if pair[1] > 0 and pair[1] >= least]
        if not chosen or chosen[0][0] != target:
            return ((target, 1.0),)
        total = sum(weight for _, weight in chosen)
        return tuple((gloss, weight / total) for gloss, weight in chosen)

    @property
    def targets(self) -> dict[str, str]:
        """Source → target of the rows that are kept."""
        return {row.source: row.target for row in self.rows if row.keep and row.target is not None}


def write_mapping(path: str | Path, mapping: Mapping) -> str:
    """Write a table at once; returns its hash."""
    data = to_text(mapping).encode()
    atomic_write(path, data)
    return hashlib.sha256(data).hexdigest()


def to_text(mapping: Mapping) -> str:
    """A table as its file holds it."""
    out = io.StringIO()
    for key, value in {"format": _FORMAT, **mapping.header}.items():
        out.write(f"# {key}: {' '.join(str(value).split())}\n")
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in mapping.rows:
        writer.writerow(_fields(row))
    return out.getvalue()


def _fields(row: MappedSign) -> list[str]:
    answers = [row.answers.get(name) or UNMAPPED for name in ("posterior", "prototype", "transport")]
    return [
        row.source, row.target or UNMAPPED, _word(row.keep), _number(row.score), _number(row.margin), str(row.support),
        _number(row.split_half), _word(row.mutual), _number(row.gap), str(row.agreement), *answers,
        " ".join(f"{gloss}={weight:.4f}" for gloss, weight in row.candidates),
    ]  # fmt: skip


def _word(value: bool) -> str:
    return "yes" if value else "no"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def read_mapping(path: str | Path) -> Mapping:
    """Read a table, edited or not; spreadsheets may have added a byte order mark, quotes, other line ends, columns.

    Raises:
        ManifestError: the file is missing, lacks a column, or a row can't be understood; names file and line.
    """
    try:
        data = Path(path).read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: can't be read ({error}); make it with `slr map`, save it as UTF-8") from error
    lines = text.splitlines(keepends=True)
    header, first = _header(lines, path)
    reader = csv.reader(lines[first:], delimiter="\t")
    columns = [name.strip().lower() for name in next(reader, [])]
    _check_columns(columns, f"{path}:{first + 1}")
    rows: dict[str, MappedSign] = {}
    where = ""
    try:
        where = f"{path}:{first + reader.line_num + 1}"
        for values in reader:
            cells = {name: value.strip() for name, value in zip(columns, values)}
            if any(cells.values()):
                row = _row(cells, where)
                if row.source in rows:
                    raise ManifestError(f"{where}: '{row.source}' has a row already; leave one of them")
                rows[row.source] = row
            where = f"{path}:{first + reader.line_num + 1}"  # a cell in quotes may hold several lines
    except csv.Error as error:
        raise ManifestError(f"{where}: can't be read ({error}); save it as plain text, separated by tabs") from error
    return Mapping(tuple(rows.values()), header, hashlib.sha256(data).hexdigest())


def _header(lines: list[str], path: str | Path) -> tuple[dict[str, str], int]:
    """What stands above the columns, and their place."""
    header: dict[str, str] = {}
    for number, line in enumerate(lines):
        cell = next(csv.reader([line], delimiter="\t"), [""])[:1]  # without the quotes that a spreadsheet puts
        text = "".join(cell).strip()
        if text and not text.startswith("#"):
            return header, number
        key, _, value = text.lstrip("# ").partition(":")
        if key.strip() == "format" and value.strip() != _FORMAT:
            raise ManifestError(
                f"{path}:{number + 1}: another format, this version reads '{_FORMAT}'; map the signs again"
            )
        header |= {key.strip(): value.strip()} if key.strip() not in ("", "format") else {}
    return header, len(lines)


def _check_columns(columns: list[str], where: str) -> None:
    for name in _REQUIRED:
        if name not in columns:
            raise ManifestError(
                f"{where}: no column '{name}'; it has {', '.join(columns) or 'none'}; keep it separated by tabs"
            )
        if columns.count(name) > 1:
            raise ManifestError(f"{where}: several columns '{name}'; leave one of them")


def _row(cells: dict[str, str], where: str) -> MappedSign:
    source, target = cells.get("source", ""), cells.get("target", "")
    for name, value in (("source", source), ("target", target)):
        if len(value.split()) > 1:
            shown = " ".join(value.split())[:60]  # a quote that isn't closed swallows the lines below
            raise ManifestError(f"{where}: {name} '{shown}' is more than one gloss; a gloss has no space")
    if not source:
        raise ManifestError(f"{where}: no source; give the auxiliary gloss, or delete the row")
    keep = cells.get("keep", "").lower()
    if keep not in (*_YES, *_NO):
        raise ManifestError(f"{where}: keep is '{cells['keep']}'; allowed are yes and no")
    wanted = None if target in (UNMAPPED, "") else target
    if keep in _YES and wanted is None:
        raise ManifestError(f"{where}: keep is yes, but '{source}' has no target; write a gloss, or no")
    return MappedSign(
        source=source,
        target=wanted,
        keep=keep in _YES,
        score=_float(cells, "score", where),
        margin=_float(cells, "margin", where),
        support=_int(cells, "support", where),
        split_half=_float(cells, "split_half", where),
        mutual=cells.get("mutual", "").lower() in _YES,
        gap=_float(cells, "gap", where),
        agreement=_int(cells, "agreement", where),
        answers={name: _answer(cells, name) for name in ("posterior", "prototype", "transport")},
        candidates=_candidates(cells.get("candidates", ""), where),
    )


def _float(cells: dict[str, str], name: str, where: str) -> float:
    return _number_of(cells[name], name, where) if cells.get(name) else math.nan


def _int(cells: dict[str, str], name: str, where: str) -> int:
    return int(_number_of(cells.get(name) or "0", name, where))


def _number_of(text: str, name: str, where: str) -> float:
    try:
        found = float(text.replace(",", "."))  # a spreadsheet may write a comma
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ManifestError(f"{where}: {name} is '{text}', not a number; put it back, or empty the cell")
    return found


def _answer(cells: dict[str, str], name: str) -> str | None:
    value = cells.get(f"{name}_target", UNMAPPED)
    return None if value in (UNMAPPED, "") else value


def _candidates(text: str, where: str) -> tuple[tuple[str, float], ...]:
    pairs = [item.rpartition("=") for item in text.split()]
    return tuple((gloss, _number_of(weight, "candidates", where)) for gloss, _, weight in pairs)
