"""Tables of corpora line by line, and subtitles."""

import gzip
from pathlib import Path

import pytest

from asr.corpora.subtitles import read_subtitles
from asr.corpora.tables import chosen, locate, read_lines, read_records, read_table
from signwave.errors import ManifestError, UserError


def test_without_quoting_a_sentence_may_hold_anything_but_tab_and_line_feed(tmp_path: Path) -> None:
    odd = 'he said "go\rnow\u2028then'  # a bare quote, a carriage return and a line separator inside one field
    long = "x" * 200_000  # beyond the limit of the csv module
    (tmp_path / "t.tsv").write_bytes(f"\ufeffa\tb\r\n{odd}\t1\r\n\n{long}\n".encode())
    assert list(read_table(tmp_path / "t.tsv")) == [(2, {"a": odd, "b": "1"}), (4, {"a": long, "b": ""})]


def test_quoted_tables_may_be_packed_and_span_lines(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "t.tsv.gz", "wt") as file:
        file.write('a|b\n"x | y\nz"|2\nw|3\n')
    rows = list(read_table(tmp_path / "t.tsv.gz", delimiter="|", quoted=True, required=["b"]))
    assert rows == [(3, {"a": "x | y\nz", "b": "2"}), (4, {"a": "w", "b": "3"})]


def test_unusable_tables_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\n")
    with pytest.raises(UserError, match=r"t\.tsv:1: has no column 'c', only a, b"):
        list(read_table(tmp_path / "t.tsv", required=["c"]))
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(UserError, match=r"empty\.tsv:1: has no column 'c', only an empty line"):
        list(read_table(tmp_path / "empty.tsv", required=["c"]))
    with pytest.raises(UserError, match="no such file"):
        list(read_lines(tmp_path / "absent.txt"))
    packed = tmp_path / "cut.tsv.gz"
    packed.write_bytes(gzip.compress(b"a\n" * 1000)[:-20])
    for read in (read_table, read_lines, read_records):
        with pytest.raises(UserError, match=r"cut\.tsv\.gz: can't be read as a table"):
            list(read(packed))


def test_files_are_found_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.wav").touch()
    found = tmp_path / "clips" / "a.wav"
    assert locate("a.wav", tmp_path / "other", tmp_path / "clips") == found
    assert locate("somebody/disk/clips/a.wav", tmp_path) == found
    assert locate("b.wav", tmp_path / "other", tmp_path) == tmp_path / "b.wav"


def test_names_of_a_list_are_checked(tmp_path: Path) -> None:
    assert chosen(" b, a ", ["a", "b", "c"], where=tmp_path) == ["b", "a"]
    assert chosen("", ["a", "b"], where=tmp_path) == ["a", "b"]
    with pytest.raises(UserError, match="has no split 'd'; found a"):
        chosen("d", ["a"], where=tmp_path)
    with pytest.raises(UserError, match="holds no split"):
        chosen("", [], where=tmp_path)


SUBTITLES = """\ufeffWEBVTT
Kind: captions

NOTE 00:00 is not a time
and this is not said

1
00:01.000 --> 00:02.500 align:start position:0%
<c.arabic>\u200fمرحبا</c>  &amp; أهلا
بكم

02:00:03,250 --> 02:00:04,000

00:05.000 --> 00:06.000
last"""


def test_subtitles_without_their_trimmings(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text(SUBTITLES, encoding="utf-8")
    assert [tuple(line) for line in read_subtitles(tmp_path / "a.vtt")] == [
        (8, 1.0, 2.5, "مرحبا & أهلا بكم"), (12, 7203.25, 7204.0, ""), (14, 5.0, 6.0, "last"),
    ]  # fmt: skip
    (tmp_path / "b.vtt").write_text("WEBVTT\n\n00:02.000 --> 00:01.000\nx\n")
    with pytest.raises(ManifestError, match=r"b\.vtt:3: ends at 1 s, before its start at 2 s"):
        list(read_subtitles(tmp_path / "b.vtt"))
