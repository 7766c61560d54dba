"""Common Voice by header, in the layouts of several releases, and a genuine delta release."""

from pathlib import Path

import pytest

from asr.datasets import common_voice
from asr.prepare import CharacterTable, ClipCheck
from signwave import manifest
from signwave.errors import UserError
from signwave.prepare import Problem, Row, run_prepare

HEADERS = {
    "14.0": "client_id path sentence up_votes down_votes age gender accents variant locale segment",
    "22.0": "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale",
    "7.0": "client_id path sentence up_votes down_votes age gender accent locale segment",
    "shuffled": "locale sentence client_id path",
}


def make_release(folder: Path, header: str, splits: dict[str, list[dict[str, str]]]) -> Path:
    (folder / "clips").mkdir(parents=True)
    names = header.split()
    for split, clips in splits.items():
        lines = ["\t".join(names), *("\t".join(clip.get(name, "") for name in names) for clip in clips)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def clip_of(number: int, sentence: str) -> dict[str, str]:
    return {
        "client_id": f"speaker{number % 2}", "path": f"common_voice_fa_{number}.mp3", "sentence": sentence,
        "sentence_id": f"s{number}", "locale": "fa",
    }  # fmt: skip


@pytest.mark.parametrize("release", HEADERS)
def test_every_header_is_read_by_its_names(release: str, tmp_path: Path) -> None:
    clips = [clip_of(1, 'او گفت "بیا'), clip_of(2, "سلام")]  # one bare quote: quoting would swallow the next line
    folder = make_release(tmp_path / "fa", HEADERS[release], {"train": clips, "test": [clip_of(3, "پایان")]})
    rows = list(common_voice.prepare(folder))
    assert all(isinstance(row, Row) for row in rows)
    first = rows[0].clip  # type: ignore[union-attr]
    assert (first.id, first.text, first.person, first.language, first.split) == (
        "common_voice_fa_1", 'او گفت "بیا', "speaker1", "fa", "train",
    )  # fmt: skip
    assert first.path == str(folder / "clips" / "common_voice_fa_1.mp3")
    assert first.group == ("s1" if release == "22.0" else first.text)
    assert first.duration_seconds is None
    assert [row.where for row in rows if isinstance(row, Row)] == [
        f"{folder}/train.tsv:2", f"{folder}/train.tsv:3", f"{folder}/test.tsv:2",
    ]  # fmt: skip


def test_announced_durations_are_taken_over(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "fa", HEADERS["22.0"], {"dev": [clip_of(1, "سلام"), clip_of(2, "بدرود")]})
    (folder / "clip_durations.tsv").write_text("clip\tduration[ms]\ncommon_voice_fa_1.mp3\t3816\n")
    known, unknown = (row.clip for row in common_voice.prepare(folder) if isinstance(row, Row))
    assert known.duration_seconds == pytest.approx(3.816)
    assert unknown.duration_seconds is None


def test_splits_and_languages_are_chosen(tmp_path: Path) -> None:
    for language in ("fa", "ur"):
        make_release(tmp_path / language, HEADERS["14.0"], {"train": [clip_of(1, "a")], "other": [clip_of(2, "b")]})
    rows = list(common_voice.prepare(tmp_path, language="ur", splits="other"))
    assert [(row.clip.split, row.clip.text) for row in rows if isinstance(row, Row)] == [("other", "b")]
    with pytest.raises(UserError, match=r"language '' is not one of fa, ur; name one with --language"):
        list(common_voice.prepare(tmp_path))
    with pytest.raises(UserError, match=r"has no dev\.tsv; found train, other"):
        list(common_voice.prepare(tmp_path, language="fa", splits="dev"))


def test_bad_tables_are_named(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "fa", "client_id path up_votes", {"train": []})
    with pytest.raises(UserError, match=r"train.tsv:1: has no column 'sentence', only client_id, path, up_votes"):
        list(common_voice.prepare(folder))
    (folder / "train.tsv").write_bytes(b"path\tsentence\nx.mp3\t\xff\xfe\n")
    with pytest.raises(UserError, match=r"train\.tsv: can't be read as a table .*invalid start byte"):
        list(common_voice.prepare(folder))
    with pytest.raises(UserError, match="holds no clips/ folder"):
        list(common_voice.prepare(tmp_path / "fa" / "clips"))


def test_short_lines_old_names_and_empty_paths(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "fa", "path sentence up_votes", {"train": []})
    (folder / "train.tsv").write_text("path\tsentence\tup_votes\nabc123\tfirst\n\tlost\t0\n")
    row, problem = common_voice.prepare(folder)
    assert isinstance(row, Row)
    assert (row.clip.id, Path(row.clip.path).name) == ("abc123", "abc123.mp3")
    assert isinstance(problem, Problem)
    assert problem.where.endswith("train.tsv:3")


@pytest.mark.parametrize("header", ["sentence_id\tsentence\tlocale\treason", "sentence\tsentence_id\tlocale\treason"])
def test_reported_sentences_are_left_out_on_request(header: str, tmp_path: Path) -> None:
    clips = [clip_of(1, 'او گفت "بیا'), clip_of(2, "سلام"), clip_of(3, "پایان")]
    folder = make_release(tmp_path / "fa", HEADERS["22.0"], {"validated": clips})
    by_name = {"sentence_id": "s1", "sentence": 'او گفت "بیا', "locale": "fa", "reason": "grammar-or-spelling"}
    old = {**by_name, "sentence_id": "", "sentence": "پایان"}  # early releases know no ids
    lines = ["\t".join(row[name] for name in header.split("\t")) for row in (by_name, old)]
    (folder / "reported.tsv").write_text("\n".join([header, *lines, "cut\n"]), encoding="utf-8")
    assert len(list(common_voice.prepare(folder))) == 3
    rows = list(common_voice.prepare(folder, reported="drop"))
    assert [row.clip.text for row in rows if isinstance(row, Row)] == ["سلام"]
    problems = [row for row in rows if isinstance(row, Problem)]
    assert [(p.kind, p.where.rsplit(":", 1)[1]) for p in problems] == [("reported", "2"), ("reported", "4")]
    with pytest.raises(UserError, match="reported=skip: unknown; allowed are keep, drop"):
        list(common_voice.prepare(folder, reported="skip"))


def test_a_clip_without_a_sentence_is_named(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "fa", HEADERS["7.0"], {"invalidated": [clip_of(1, ""), clip_of(2, "سلام")]})
    problem, row = common_voice.prepare(folder)
    assert isinstance(problem, Problem)
    assert (problem.kind, problem.where) == ("no_text", f"{folder}/invalidated.tsv:2")
    assert isinstance(row, Row)
    assert row.clip.split == "invalidated"


def test_a_genuine_urdu_delta_release(shared_data: Path) -> None:
    rows = list(common_voice.prepare(shared_data / "speech" / "common_voice_ur_22.0_delta"))
    clips = [row.clip for row in rows if isinstance(row, Row)]
    assert len(clips) == len(rows) == 15
    assert {(clip.split, clip.language) for clip in clips} == {("other", "ur")}
    assert clips[0].id == "common_voice_ur_42810146"
    assert clips[0].text == "کوئی پارٹی نہیں چھوڑی، ہر گھاٹ کا پانی پیا۔"
    assert clips[0].group == "1abca81baa01938b9bc20c7acdab0c0441b7ad2e131347a62a3fc274649f3220"
    assert sum(clip.duration_seconds or 0 for clip in clips) == pytest.approx(70.0, abs=5)
    assert len({clip.person for clip in clips}) == 3


def test_the_genuine_release_through_every_check(shared_data: Path, tmp_path: Path) -> None:
    """Golden: each mp3 decodes to the length that the release announces, and the report says what is in it."""
    raw = shared_data / "speech" / "common_voice_ur_22.0_delta"
    characters = CharacterTable()
    report = run_prepare(
        common_voice.prepare(raw, reported="drop"), tmp_path, check=ClipCheck(), on_clip=characters, show_progress=False
    )
    assert (report.exit_code, report.num_clips, report.problems) == (0, 15, [])
    assert vars(report.splits["other"])["num_persons"] == 3
    announced = {row.clip.id: row.clip.duration_seconds for row in common_voice.prepare(raw) if isinstance(row, Row)}
    kept = list(manifest.read(tmp_path / "other.jsonl.gz"))
    for clip in kept:
        assert clip.duration_seconds == pytest.approx(announced[clip.id], abs=0.1)
    assert len({clip.sha256 for clip in kept}) == len({clip.group for clip in kept}) == 15
    assert characters.counts["\u06cc"] > 30  # Farsi yeh: the sentences are Urdu as typed
