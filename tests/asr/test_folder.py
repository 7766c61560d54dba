"""Own recordings: text files beside the audio, tables of every kind, and the tables of real corpora."""

import gzip
import json
from pathlib import Path

import pytest

from asr.datasets import folder
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row


def touch(base: Path, *names: str) -> None:
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(b"audio")


def clips(raw: Path, **settings: str) -> list[Clip]:
    rows = list(folder.prepare(raw, **settings))
    assert not [row for row in rows if isinstance(row, Problem)]
    return [row.clip for row in rows if isinstance(row, Row)]


def test_transcripts_beside_the_audio(tmp_path: Path) -> None:
    touch(tmp_path, "b.wav", "train/a.FLAC", "test/c.mp3", ".hidden.wav", "notes.pdf")
    for name, text in (("b", "hello\nthere"), ("train/a", "\ufeffسلام"), ("test/c", "you")):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    found = clips(tmp_path, language="fa", split="rest")
    assert [(c.id, c.text, c.split) for c in found] == [
        ("b", "hello there", "rest"), ("test/c", "you", "test"), ("train/a", "سلام", "train"),
    ]  # fmt: skip
    assert {c.language for c in found} == {"fa"}


def test_a_missing_or_broken_transcript_is_a_problem_of_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav", "c.wav")
    (tmp_path / "a.txt").write_text("fine")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\x00")
    good, missing, broken = folder.prepare(tmp_path)
    assert isinstance(good, Row)
    assert isinstance(missing, Problem)
    assert str(missing).startswith(f"{tmp_path}/b.wav: has no transcript b.txt beside it")
    assert isinstance(broken, Problem)
    assert "save it as UTF-8" in broken.reason


def test_json_beside_the_audio(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav", "c.wav", "d.wav", "e.wav")
    said = {
        "a": {"text": "one  two", "speaker": 7, "lang": "ur"},
        "b": {"sentence": "three"},
        "c": {"words_per_minute": 9},
    }
    for name, values in said.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    (tmp_path / "d.json").write_text("[1]")
    (tmp_path / "e.txt").write_text("four")
    rows = list(folder.prepare(tmp_path))
    kept = [row.clip for row in rows if isinstance(row, Row)]
    assert [(c.id, c.text, c.person, c.language) for c in kept] == [
        ("a", "one two", "7", "ur"), ("b", "three", "", ""), ("e", "four", "", ""),
    ]  # fmt: skip
    problems = [row for row in rows if isinstance(row, Problem)]
    assert [(p.where, p.kind) for p in problems] == [
        (f"{tmp_path}/c.json", "no_text"), (f"{tmp_path}/d.json", "invalid"),
    ]  # fmt: skip


def test_audio_without_transcripts_is_unlabelled(tmp_path: Path) -> None:
    touch(tmp_path, "x.ogg", "y.opus")
    assert [(c.id, c.text) for c in clips(tmp_path)] == [("x", ""), ("y", "")]


TABLES = {
    "metadata.csv": 'file_name,transcription,speaker_id\na.wav,"hello, you",s1\nb.wav,bye,s2\n',
    "list.tsv": "path\tsentence\tspeaker\na.wav\thello, you\ts1\nb.wav\tbye\ts2\n",
    "semicolon.csv": "Wav;Text;spk_id\na.wav;hello, you;s1\nb.wav;bye;s2\n",
    "rows.jsonl": '{"audio_filepath": "a.wav", "text": "hello, you", "speaker": "s1"}\n'
    '{"audio_filepath": "b.wav", "text": "bye", "speaker": "s2"}\n',
    "rows.json": '[{"audio": "a.wav", "transcript": "hello, you", "speaker": "s1"},'
    '{"audio": "b.wav", "transcript": "bye", "speaker": "s2"}]',
}


@pytest.mark.parametrize("name", TABLES)
def test_one_table_of_any_kind(name: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / name).write_text(TABLES[name], encoding="utf-8")
    found = clips(tmp_path)
    assert [(c.id, c.text, c.person) for c in found] == [("a", "hello, you", "s1"), ("b", "bye", "s2")]
    assert [c.path for c in found] == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]


def test_named_columns_splits_and_packed_lines(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    with gzip.open(tmp_path / "all.jsonl.gz", "wt") as file:
        file.write('{"f": "a.wav", "t": "x", "split": "validation"}\n\n{"f": "b.wav", "t": "y", "split": "train"}\n')
    found = clips(tmp_path, path_column="f", text_column="t")
    assert [(c.id, c.split) for c in found] == [("a", "dev"), ("b", "train")]


def test_tables_named_after_splits_win_over_others(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    for name, line in (("train.csv", "a.wav,x"), ("valid.csv", "b.wav,y"), ("speakers.csv", "s1,f")):
        (tmp_path / name).write_text(f"file,text\n{line}\n")
    assert [(c.id, c.split) for c in clips(tmp_path)] == [("a", "train"), ("b", "dev")]


def test_spans_of_long_recordings(tmp_path: Path) -> None:
    touch(tmp_path, "long.wav")
    lines = [{"audio_filepath": "long.wav", "text": str(i), "offset": 2.5 * i, "duration": 2.0} for i in range(2)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, second = clips(tmp_path)
    assert (first.start_seconds, first.end_seconds) == (0.0, 2.0)
    assert (second.id, second.start_seconds, second.end_seconds) == ("long@2.5", 2.5, 4.5)


def test_bad_rows_are_problems_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(
        '{"path": "a.wav", "text": "x"}\nnot json\n[1]\n{"path": "", "text": "y"}\n'
        '{"path": "b.wav", "text": "z", "offset": "soon"}\n{"path": "c.wav", "text": "w", "offset": -1}\n'
        '{"path": "d.wav"}\n'
    )
    row, *problems = folder.prepare(tmp_path)
    assert isinstance(row, Row)
    assert row.where == f"{tmp_path}/m.jsonl:1"
    texts = [str(problem).removeprefix(f"{tmp_path}/") for problem in problems]
    assert [text.split(" ")[0] for text in texts] == [f"m.jsonl:{line}:" for line in (2, 3, 4, 5, 6, 7)]
    assert "not valid JSON" in texts[0]
    assert "expected an object" in texts[1]
    assert "the column 'path' is empty" in texts[2]
    assert "could not convert string to float: 'soon'" in texts[3]
    assert "start_seconds must be at least 0" in texts[4]
    assert "no column for the text" in texts[5]


def test_errors_say_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no audio file and no table"):
        list(folder.prepare(tmp_path))
    with pytest.raises(UserError, match="no such folder"):
        list(folder.prepare(tmp_path / "absent"))
    with pytest.raises(UserError, match="layout=tables: unknown; allowed are text, table, audio"):
        list(folder.prepare(tmp_path, layout="tables"))
    with pytest.raises(UserError, match="no such table"):
        list(folder.prepare(tmp_path, table="absent.csv"))
    (tmp_path / "m.csv").write_text("where,what\na.wav,b\n")
    with pytest.raises(
        UserError, match=r"m.csv:1: no column for the path .*only where, what; name it with path_column="
    ):
        list(folder.prepare(tmp_path))
    with pytest.raises(UserError, match="no column 'wat', only where, what"):
        list(folder.prepare(tmp_path, path_column="where", text_column="wat"))
    (tmp_path / "m.csv").write_bytes(b"path,text\n\xff\xfe,x\n")
    with pytest.raises(UserError, match="can't be read as a table"):
        list(folder.prepare(tmp_path))
    (tmp_path / "m.csv").unlink()
    (tmp_path / "m.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="expected a list of objects"):
        list(folder.prepare(tmp_path))


def test_a_corpus_of_arabic_commands_with_files_missing(shared_data: Path) -> None:
    raw = shared_data / "speech" / "arabic_speech_commands"
    found = clips(raw, text_column="class", language="ar")
    present = [c for c in found if Path(c.path).is_file()]
    assert (len(found), len(present)) == (9_600, 450)
    assert {c.split for c in present} == {"train", "dev"}


def test_speechbrain_tables_with_their_placeholder(shared_data: Path) -> None:
    raw = shared_data / "speech" / "speechbrain_samples"
    found = clips(raw, table="annotation/ASR_train.json", audio_root=str(raw / "ASR"), text_column="wrd")
    assert len(found) == 8
    assert all(Path(c.path).is_file() for c in found)
    assert (found[0].id, found[0].text.lower()) == ("spk1_snt1", "the child almost hurt the small dog")
    csv = clips(raw, table="annotation/ASR_train.csv", path_column="wav")
    assert all(Path(c.path).is_file() for c in csv)  # the table's own leading folders are passed over
