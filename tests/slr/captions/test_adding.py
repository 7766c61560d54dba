"""Captions of tables: wide and long, every separator, and what is wrong with a row named by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwave import manifest
from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from slr.captions.adding import add_captions, read_captions
from slr.captions.manifests import read_manifests, write_manifests


def table(folder: Path, text: str) -> Path:
    path = folder / "captions.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def clip(name: str, group: str = "", **captions: str) -> Clip:
    return Clip(id=name, path=f"{name}.pose", kind="pose", group=group, captions=captions)


@pytest.mark.parametrize("separator", ["\t", ",", ";", "|"])
def test_wide_and_long_tables_say_the_same(tmp_path: Path, separator: str) -> None:
    wide = ("id/set/EN/fa", "-a/train/the dog/سگ", "b/train/a cat/گربه")
    long = ("language/id/text", "en/-a/the dog", "fa/-a/سگ", "en/b/a cat", "fa/b/گربه")
    for lines in (wide, long):
        read = read_captions(table(tmp_path, "\n".join(lines).replace("/", separator)))
        assert (read.key, read.problems) == ("id", [])
        assert {(c.key, c.language, c.text) for c in read.captions} == {
            ("-a", "en", "the dog"),
            ("-a", "fa", "سگ"),
            ("b", "en", "a cat"),
            ("b", "fa", "گربه"),
        }


def test_every_problem_has_its_place_and_the_rest_is_done(tmp_path: Path) -> None:
    path = table(
        tmp_path, "id\ten\tde\na\tdog\tHund\n\nb\t\tKatze\na\tcat\tKater\nx\tcow\tKuh\n\tno\tnein\nb\t1\t2\t3\n"
    )
    added = add_captions([clip("a", fa="سگ", en="old"), clip("b"), clip("c")], read_captions(path))
    assert [one.captions for one in added.clips] == [{"fa": "سگ", "en": "dog", "de": "Hund"}, {"de": "Katze"}, {}]
    assert (added.num_captions, added.num_without) == (3, 1)
    assert [(one.where.rpartition(":")[2], one.kind) for one in added.problems] == [
        ("4", "empty"),
        ("5", "duplicate"),
        ("5", "duplicate"),
        ("7", "label"),
        ("8", "fields"),
        ("6", "unknown"),
    ]
    assert f"already, at {path}:2; the first counts" in str(added.problems[1])
    assert str(added.problems[-1]) == f"{path}:6: no clip has the id 'x'"


def test_a_group_gives_its_captions_to_all_its_clips(tmp_path: Path) -> None:
    read = read_captions(table(tmp_path, "group,en,en+keywords\ng1,the dog,dog\n"))
    added = add_captions([clip("a", "g1"), clip("b", "g1"), clip("c", "g2")], read)
    assert [one.captions for one in added.clips] == [{"en": "the dog", "en+keywords": "dog"}] * 2 + [{}]


@pytest.mark.parametrize(
    "rows", ["id,group,en\na,s1,dog\nb,s1,dog\n", "id,language,text,group\na,en,dog,s1\nb,en,dog,s1\n"]
)
def test_a_group_beside_ids_is_set_anew(tmp_path: Path, rows: str) -> None:
    read = read_captions(table(tmp_path, rows))
    added = add_captions([clip("a", "broadcast"), clip("b", "s1"), clip("c", "broadcast")], read)
    assert [one.group for one in added.clips] == ["s1", "s1", "broadcast"]
    assert (added.num_groups, added.num_captions, added.problems) == (1, 2, [])


def test_groups_that_disagree_are_a_problem_and_an_empty_one_changes_nothing(tmp_path: Path) -> None:
    path = table(tmp_path, "id,language,text,group\na,en,dog,s1\na,de,Hund,s2\nb,en,cat,\n")
    added = add_captions([clip("a"), clip("b", "old")], read_captions(path))
    assert [one.group for one in added.clips] == ["s1", "old"]
    assert [str(one) for one in added.problems] == [
        f"{path}:3: id 'a' is in group 's1' by an earlier row and in 's2' by this one; the first counts"
    ]
    assert added.clips[0].captions == {"en": "dog", "de": "Hund"}


def test_quotation_marks_are_text_between_tabs_and_quotes_between_commas(tmp_path: Path) -> None:
    read = read_captions(table(tmp_path, 'id\ten\na\t"Go, he said.\nb\tyes\n'))
    assert [one.text for one in read.captions] == ['"Go, he said.', "yes"]
    read = read_captions(table(tmp_path, 'id,en\na,"Go,\nhe said."\nb,"a ""word"""\nb,again\n'))
    assert [one.text for one in read.captions] == ["Go, he said.", 'a "word"']
    assert read.problems[0].where.endswith(":5")
    assert [one.where.rpartition(":")[2] for one in read.captions] == ["2", "4"]


@pytest.mark.parametrize(
    ("text", "languages", "told"),
    [
        ("name\ten\na\tdog\n", (), "1: no column 'id' or 'group' names the clips; it has name, en"),
        ("id\tsigner\na\tS1\n", (), "1: no column of captions; it has id, signer"),
        ("id\ttext\na\tdog\n", (), "1: column 'language' is missing beside 'text'"),
        ("id\ten\na\tdog\n", ("de",), "1: column 'de' is missing; it has id, en"),
        ("id\ten\tEN\na\tdog\tdog\n", (), "1: two columns 'en'"),
        ("", (), "1: no column 'id' or 'group' names the clips; it has none"),
    ],
)
def test_a_missing_column_is_named(tmp_path: Path, text: str, languages: tuple[str, ...], told: str) -> None:
    with pytest.raises(ManifestError, match=r"captions\.tsv:") as caught:
        read_captions(table(tmp_path, text), languages)
    assert told in str(caught.value)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such table"):
        read_captions(tmp_path / "none.tsv")
    (tmp_path / "bytes.tsv").write_bytes(b"id\ten\n\xff\xfe\t\x80\n")
    with pytest.raises(ManifestError, match="save it as UTF-8"):
        read_captions(tmp_path / "bytes.tsv")


def test_a_code_that_is_none_is_a_problem(tmp_path: Path) -> None:
    read = read_captions(table(tmp_path, "id\tlanguage\ttext\na\tEnglish language\tdog\na\ten\tdog\n"), ["en"])
    assert [one.text for one in read.captions] == ["dog"]
    read = read_captions(table(tmp_path, "id\tlanguage\ttext\na\tEnglish language\tdog\n"))
    assert "'english language' is no code of a language" in str(read.problems[0])


def test_manifests_of_a_folder_are_written_as_they_were_split(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, ids in (("dev.jsonl.gz", ["a", "b"]), ("test.jsonl", ["c"]), ("train.jsonl.gz", ["d", "e"])):
        manifest.write(tmp_path / "in" / name, [clip(one) for one in ids])
    (tmp_path / "in" / "problems.jsonl").write_text('{"where": "x"}\n')
    read = read_manifests(tmp_path / "in")
    clips = [one for some in read.values() for one in some]
    written = write_manifests(clips, read, tmp_path / "in", tmp_path / "deep" / "out")
    assert [[one.id for one in manifest.read(path)] for path in written] == [["a", "b"], ["c"], ["d", "e"]]
    assert {Path(one.path).resolve() for path in written for one in manifest.read(path)} == {
        (tmp_path / "in" / f"{name}.pose").resolve() for name in "abcde"
    }
    with pytest.raises(UserError, match="must be a folder"):
        write_manifests(clips, read, tmp_path / "in", tmp_path / "one.jsonl.gz")
    with pytest.raises(UserError, match="must be a file"):
        write_manifests(clips[:2], {"dev.jsonl.gz": clips[:2]}, tmp_path / "in" / "dev.jsonl.gz", tmp_path / "folder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="holds no manifest"):
        read_manifests(tmp_path / "empty")
