"""The table of the mapping: written, edited as people and spreadsheets do, read back."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signwave.errors import ManifestError
from slr.crosslingual.mapping import COLUMNS, MappedSign, Mapping, read_mapping, write_mapping

ANSWERS = {"posterior": "X", "prototype": None, "transport": "Y=Z"}
ROWS = (
    MappedSign("A", "X", True, 0.75, 0.5, 12, 0.95, True, 2, ANSWERS, (("X", 0.75), ("Y=Z", 0.25))),
    MappedSign("ÄPFEL", "Y=Z", False, 0.5, -0.25, 3, math.nan, False, 1, ANSWERS, (("X", 0.5),)),
    MappedSign('"B', None, False),
)
HEADER = {"auxiliary": "csl", "rules": "method=agree, min_score=0.2"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "map.tsv"
    write_mapping(path, Mapping(ROWS, HEADER))
    return path


def _same(found: MappedSign, row: MappedSign) -> None:
    for name in ("source", "target", "keep", "support", "mutual", "agreement"):
        assert getattr(found, name) == getattr(row, name)
    for name in ("score", "margin", "split_half", "gap"):
        assert getattr(found, name) == pytest.approx(getattr(row, name), abs=5e-5, nan_ok=True)
    assert {key: found.answers.get(key) for key in ANSWERS} == {key: row.answers.get(key) for key in ANSWERS}
    assert [gloss for gloss, _ in found.candidates] == [gloss for gloss, _ in row.candidates]
    assert [one for _, one in found.candidates] == pytest.approx([one for _, one in row.candidates], abs=5e-5)


def _read(path: Path, text: str | bytes) -> Mapping:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_mapping(path)


def _refused(path: Path, text: str | bytes) -> str:
    """The message, which is one line."""
    with pytest.raises(ManifestError, match=r"^\S+\.tsv") as caught:
        _read(path, text)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}:")


# There and back


def test_what_is_written_is_read(table: Path) -> None:
    found = read_mapping(table)
    assert found.header == HEADER
    assert found.sha256 == hashlib.sha256(table.read_bytes()).hexdigest()
    assert len(found.rows) == len(ROWS)
    for row, wanted in zip(found.rows, ROWS, strict=True):
        _same(row, wanted)


def test_writing_it_again_changes_nothing(table: Path) -> None:
    before = table.read_bytes()
    assert write_mapping(table, read_mapping(table)) == hashlib.sha256(before).hexdigest()
    assert table.read_bytes() == before


def test_the_table_is_plain(table: Path) -> None:
    lines = table.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# format: ")
    assert lines[1:3] == ["# auxiliary: csl", "# rules: method=agree, min_score=0.2"]
    assert lines[3].split("\t") == list(COLUMNS)
    assert lines[4].split("\t") == [
        *("A", "X", "yes", "0.7500", "0.5000", "12", "0.9500", "yes", "", "2", "X", "-", "Y=Z", "X=0.7500 Y=Z=0.2500"),
    ]


# Anything but what str.split takes for a space, as a gloss is a word of a sentence.
GLOSSES = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")) | st.sampled_from("\"'#-=,;:*<>|"), min_size=1
)
FRACTIONS = st.floats(-1, 1) | st.just(math.nan)


@st.composite
def rows_of(draw: st.DrawFn) -> MappedSign:
    target = draw(st.none() | GLOSSES.filter(lambda gloss: gloss != "-"))
    return MappedSign(
        source=draw(GLOSSES),
        target=target,
        keep=target is not None and draw(st.booleans()),
        score=draw(FRACTIONS),
        margin=draw(FRACTIONS),
        support=draw(st.integers(0, 10**6)),
        split_half=draw(FRACTIONS),
        mutual=draw(st.booleans()),
        agreement=draw(st.integers(0, 3)),
        answers={name: draw(st.none() | GLOSSES.filter(lambda gloss: gloss != "-")) for name in ANSWERS},
        candidates=tuple(draw(st.lists(st.tuples(GLOSSES, st.floats(0, 1)), max_size=3))),
    )


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(rows_of(), max_size=6, unique_by=lambda row: row.source))
def test_odd_glosses_come_back(tmp_path: Path, rows: list[MappedSign]) -> None:
    path = tmp_path / "odd.tsv"
    sha256 = write_mapping(path, Mapping(tuple(rows), {"auxiliary": "x: y  # z"}))
    found = read_mapping(path)
    assert found.sha256 == sha256
    assert found.header == {"auxiliary": "x: y # z"}
    assert len(found.rows) == len(rows)
    for row, wanted in zip(found.rows, rows, strict=True):
        _same(row, wanted)


# What people and spreadsheets do


def test_a_spreadsheet_may_have_saved_it(table: Path, tmp_path: Path) -> None:
    text = table.read_text(encoding="utf-8")
    wanted = read_mapping(table).rows
    other = tmp_path / "saved.tsv"
    assert _read(other, b"\xef\xbb\xbf" + text.encode()).rows == wanted
    assert _read(other, text.replace("\n", "\r\n")).rows == wanted
    assert _read(other, text.replace("\n", "\r")).rows == wanted
    assert _read(other, text + "\n\t\t\t\n  \n").rows == wanted, "empty lines at the end"
    # A comma in a cell makes some put it in quotes, the lines of the header too; short lines are filled up with tabs.
    lines = text.splitlines()
    quoted = [f'"{line}"\t\t' if line.startswith("# rules") else line for line in lines]
    quoted[4] = "\t".join(f'"{cell}"' for cell in lines[4].split("\t"))
    found = _read(other, "\n".join(quoted))
    assert (found.rows, found.header) == (wanted, HEADER)
    names = {"model": 'the "best"', "target": '"x'}
    write_mapping(other, Mapping(ROWS, names))
    assert read_mapping(other).header == names
    doubled = other.read_text(encoding="utf-8").replace('# model: the "best"', '"# model: the ""best"""\t')
    assert _read(other, doubled).header == names
    commas = text.replace("0.7500", "0,7500").replace("-0.2500", "-0,2500")
    assert _read(other, commas).rows == wanted


def test_columns_may_move_and_rows_come_and_go(table: Path, tmp_path: Path) -> None:
    lines = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    moved = [["remark", *reversed(line)] if place == 0 else ["looks fine", *reversed(line)] for place, line in
             enumerate(lines)]  # fmt: skip
    moved[0] = [name.upper() + " " for name in moved[0]]
    other = tmp_path / "moved.tsv"
    wanted = read_mapping(table).rows
    assert _read(other, "\n".join("\t".join(line) for line in moved)).rows == wanted
    del moved[1]
    assert _read(other, "\n".join("\t".join(line) for line in moved)).rows == wanted[1:]
    found = _read(other, "target\tsource\tkeep\nX\tNEW\tyes\n\tOLD\t\n-\tNONE\tno\n")
    assert found.targets == {"NEW": "X"}
    assert [(row.source, row.target, row.keep, row.support) for row in found.rows] == [
        *(("NEW", "X", True, 0), ("OLD", None, False, 0), ("NONE", None, False, 0)),
    ]
    assert math.isnan(found.rows[0].score)
    assert found.header == {}, "a table made by hand has none"


@pytest.mark.parametrize(("word", "keep"), [
    *((word, True) for word in ("yes", "YES", "y", "true", "1", "x", " yes ")),
    *((word, False) for word in ("no", "n", "False", "0", "")),
])  # fmt: skip
def test_words_for_keep(tmp_path: Path, word: str, keep: bool) -> None:
    assert _read(tmp_path / "m.tsv", f"source\ttarget\tkeep\nA\tX\t{word}\n").rows[0].keep is keep


# What is refused


def test_mistakes_are_told_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    head = "# format: signwave mapping 1\n# auxiliary: csl\nsource\ttarget\tkeep\tscore\tcandidates\nA\tX\tyes\t\t\n"

    def told(row: str) -> str:
        return _refused(path, head + row)

    assert told("A\tY\tno\t\t\n") == "5: 'A' has a row already; leave one of them"
    assert told("B C\tY\tno\t\t\n") == "5: source 'B C' is more than one gloss; a gloss has no space"
    assert told("B\tY Z\tyes\t\t\n") == "5: target 'Y Z' is more than one gloss; a gloss has no space"
    assert told("\n\nB\t-\tyes\t\t\n") == "7: keep is yes, but 'B' has no target; write a gloss, or no"
    assert told("B\t\tyes\t\t\n") == "5: keep is yes, but 'B' has no target; write a gloss, or no"
    assert told("B\tY\tperhaps\t\t\n") == "5: keep is 'perhaps'; allowed are yes and no"
    assert told("\tY\tyes\t\t\n") == "5: no source; give the auxiliary gloss, or delete the row"
    assert told("B\tY\tyes\tmuch\t\n") == "5: score is 'much', not a number; put it back, or empty the cell"
    assert told("B\tY\tyes\tinf\t\n") == "5: score is 'inf', not a number; put it back, or empty the cell"
    assert told("B\tY\tyes\t\tX=lot\n") == "5: candidates is 'lot', not a number; put it back, or empty the cell"
    assert told("B\tY\tyes\t\tX\n").startswith("5: candidates is 'X', not a number")
    # A cell in quotes holds two lines: one gloss no longer, and the lines below are counted as an editor does.
    assert told('"B\nC"\tY\tyes\t\t\n') == "5: source 'B C' is more than one gloss; a gloss has no space"
    assert told("B\tY\tyes\t\t\tof two\nC\tZ\tmaybe\t\t\n").startswith("6: keep is 'maybe'")
    assert told('B\tY\tyes\t\t\t"of\ntwo"\nC\tZ\tmaybe\t\t\n').startswith("7: keep is 'maybe'")
    assert told(f"B\tY\tyes\t\t\t{'x' * 200_000}\n").startswith("5: can't be read (field larger than")
    for name in ("support", "agreement"):
        table = f"source\ttarget\tkeep\t{name}\nA\tX\tyes\t"
        assert getattr(_read(path, table + "12,0\n").rows[0], name) == 12
        assert _refused(path, table + "inf\n").startswith(f"2: {name} is 'inf', not a number")


def test_files_that_are_no_table(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    assert _refused(path, "source\tkeep\nA\tyes\n").startswith(
        "1: no column 'target'; it has source, keep; keep it sep"
    )
    assert _refused(path, "# x: y\nsource,target,keep\nA,X,yes\n").startswith(
        "2: no column 'source'; it has source,tar"
    )
    assert _refused(path, "").startswith("1: no column 'source'; it has none")
    assert _refused(path, "# format: signwave mapping 9\nsource\ttarget\tkeep\n").startswith("1: another format, this")
    assert _refused(path, "\n\n# format: 9\nsource\ttarget\tkeep\n").startswith("3: another format, this")
    assert _refused(path, "source\ttarget\tkeep\tTarget\n").startswith("1: several columns 'target'; leave one")
    assert "save it as UTF-8" in _refused(path, "source\ttarget\tkeep\nÄ\tX\tyes\n".encode("utf-16"))
    with pytest.raises(ManifestError, match=r"none\.tsv: can't be read .* make it with `slr map`"):
        read_mapping(tmp_path / "none.tsv")
    with pytest.raises(ManifestError, match="can't be read"):
        read_mapping(tmp_path)


# What it says


def test_lookups() -> None:
    mapping = Mapping(ROWS)
    assert ("A" in mapping, "C" in mapping) == (True, False)
    assert [mapping.target_of(name) for name in ("A", "ÄPFEL", '"B', "C")] == ["X", None, None, None]
    assert mapping.targets == {"A": "X"}


def test_soft_weights_sum_to_one() -> None:
    def soft(target: str | None, *weights: float, keep: bool = True, top: int = 3) -> tuple[tuple[str, float], ...]:
        candidates = tuple(zip("XYZV", weights))
        return Mapping((MappedSign("A", target, keep, candidates=candidates),)).soft("A", top=top)

    assert dict(soft("X", 0.6, 0.3, 0.1)) == pytest.approx({"X": 0.6, "Y": 0.3, "Z": 0.1})
    assert dict(soft("X", 0.4, 0.2, 0.2, 0.1)) == pytest.approx({"X": 0.5, "Y": 0.25, "Z": 0.25}), "the best three"
    assert dict(soft("X", 0.4, 0.1, 0.1, top=2)) == pytest.approx({"X": 0.8, "Y": 0.2})
    assert [gloss for gloss, _ in soft("X", 0.6, 0.3, 0.1)] == ["X", "Y", "Z"]
    assert soft("X", 0.4, 0.1, top=1) == (("X", 1.0),)
    assert soft("X", 0.4, 0.0) == (("X", 1.0),)
    assert soft("X", 0.6, 0.02, 0.01) == (("X", 1.0),), "hardly anything beside the best"
    assert soft("Y", 0.6, 0.3) == (("Y", 1.0),), "a person wrote another"
    assert soft("NEW", 0.6, 0.3) == (("NEW", 1.0),)
    assert soft("X") == (("X", 1.0),)
    assert soft("X", 0.6, 0.3, keep=False) == ()
    assert soft(None, 0.6, 0.3) == ()
    assert Mapping(()).soft("A") == ()
