"""Readers of published corpora, on small copies of their official layouts with bad rows among good ones."""

import gzip
from pathlib import Path

import pytest

from asr.datasets import common_voice_spontaneous, fleurs, librispeech, masc, mls, voxpopuli
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def told(rows: "list[Row | Problem]") -> tuple[list[Clip], list[Problem]]:
    return [row.clip for row in rows if isinstance(row, Row)], [row for row in rows if isinstance(row, Problem)]


FLEURS_ROWS = (
    '904\t11.wav\tاو گفت: "بیا\tاو گفت بیا\tا و |\t48000\tMALE\n'
    "904\t12.wav\tاو گفت: بیا\tاو گفت بیا\tا و |\t52000\tFEMALE\n"
    "7\tbad.wav\tno samples\n"
    "8\t13.wav\t\t\t\t100\tMALE\n"
)


@pytest.mark.parametrize(
    ("table", "audio"),
    [
        ("fa_ir/dev.tsv", "fa_ir/audio/dev"),
        ("data/fa_ir/dev.tsv", "data/fa_ir/audio/dev"),
        ("metadata/fa_ir/dev.tsv", "fa_ir/dev"),
    ],
)
def test_fleurs_has_no_header(table: str, audio: str, tmp_path: Path) -> None:
    write(tmp_path / table, FLEURS_ROWS)
    write(tmp_path / audio / "11.wav")
    clips, problems = told(list(fleurs.prepare(tmp_path)))
    assert [(c.id, c.text, c.group, c.language, c.split, c.person) for c in clips] == [
        ("11", "او گفت بیا", "fleurs-904", "fa", "dev", ""), ("12", "او گفت بیا", "fleurs-904", "fa", "dev", ""),
    ]  # fmt: skip
    assert clips[0].path == str(tmp_path / audio / "11.wav")
    assert clips[0].duration_seconds == 3.0
    assert [problem.where for problem in problems] == [f"{tmp_path / table}:{line}" for line in (3, 4)]
    assert "expected 7 fields" in problems[0].reason
    raw_text = told(list(fleurs.prepare(tmp_path, raw_text=True)))[0]
    assert raw_text[0].text == 'او گفت: "بیا'


def test_fleurs_asks_for_one_of_several_languages(tmp_path: Path) -> None:
    for language in ("fa_ir", "ur_pk"):
        write(tmp_path / language / "test.tsv", FLEURS_ROWS)
    assert told(list(fleurs.prepare(tmp_path, language="ur")))[0][0].language == "ur"
    assert told(list(fleurs.prepare(tmp_path, language="ur_pk")))[0][0].language == "ur"
    with pytest.raises(UserError, match="language '' is not one of fa_ir, ur_pk"):
        list(fleurs.prepare(tmp_path))
    with pytest.raises(UserError, match="has no split 'train'; found test"):
        list(fleurs.prepare(tmp_path, language="fa", splits="train"))
    with pytest.raises(UserError, match=r"holds no train\.tsv"):
        list(fleurs.prepare(tmp_path / "fa_ir" / "audio"))


def test_librispeech(tmp_path: Path) -> None:
    root = tmp_path / "LibriSpeech"
    write(root / "dev-clean/84/121123/84-121123.trans.txt", "84-121123-0000 GO DO YOU HEAR\n84-121123-0001\n")
    write(root / "test-clean/61/70968/61-70968.trans.txt", "61-70968-0000 HE BEGAN\n")
    clips, problems = told(list(librispeech.prepare(tmp_path)))
    assert [(c.id, c.text, c.person, c.group, c.split) for c in clips] == [
        ("84-121123-0000", "GO DO YOU HEAR", "84", "84-121123", "dev-clean"),
        ("61-70968-0000", "HE BEGAN", "61", "61-70968", "test-clean"),
    ]
    assert clips[0].path == str(root / "dev-clean/84/121123/84-121123-0000.flac")
    assert [problem.kind for problem in problems] == ["no_text"]
    lower = told(list(librispeech.prepare(root, splits="test-clean", lower=True)))[0]
    assert [clip.text for clip in lower] == ["he began"]
    with pytest.raises(UserError, match="has no split 'train-clean-100'; found dev-clean, test-clean"):
        list(librispeech.prepare(root, splits="train-clean-100"))


def test_mls_and_its_small_subsets(tmp_path: Path) -> None:
    root = tmp_path / "mls_polish_opus"
    write(root / "train/transcripts.txt", "6892_10049_000000\tjeden dwa\n6892_10049_000001\ttrzy\nbroken\tx\n")
    write(root / "train/segments.txt", "6892_10049_000000\thttp://x/a.mp3\t10.5\t24.25\n6892_10049_000001\tcut off\n")
    write(root / "train/audio/6892/10049/6892_10049_000000.opus")
    write(root / "train/limited_supervision/9hr/handles.txt", "6892_10049_000001\n")
    write(root / "train/limited_supervision/1hr/0/handles.txt", "6892_10049_000000\n")
    clips, problems = told(list(mls.prepare(root)))
    assert [(c.id, c.language, c.person, c.group, c.split) for c in clips[:1]] == [(
        "6892_10049_000000", "pl", "6892", "book-10049", "train",
    )]  # fmt: skip
    assert clips[0].path.endswith("6892_10049_000000.opus")
    assert [clip.duration_seconds for clip in clips] == [13.75, None]
    assert "got 'broken'" in problems[0].reason
    assert [c.id for c in told(list(mls.prepare(root, limited="9hr")))[0]] == ["6892_10049_000001"]
    assert [c.id for c in told(list(mls.prepare(root, limited="1hr")))[0]] == ["6892_10049_000000"]
    with pytest.raises(UserError, match=r"holds no handles\.txt; give limited=9hr, 1hr"):
        list(mls.prepare(root, limited="2hr"))


VOXPOPULI = (
    "session_id|id_|original_text|normed_text|speaker_id|vad|start_time|end_time|split|gender\n"
    "20100614-0900-PLENARY|fi_1|Hyvää!|hyvää|96|[(0.0, 1.0)]|12.5|14.0|train|female\n"
    "20100614-0900-PLENARY|fi_2|Kiitos|kiitos|None|[]|20.0|21.5|test|\n"
    "20100614-0900-PLENARY|fi_3|||96|[]|1|2|dev|\n"
    "20110101-0900-PLENARY|fi_4|Missä|missä|96|[]|1|2|dev|\n"
    "20100614-0900-PLENARY|fi_5|Mitä|mitä|96|[]|2|1|dev|\n"
    "20100614-0900-PLENARY|fi_6|Kuka|kuka|96|[]|1|2|nowhere|\n"
)


def test_voxpopuli_is_delimited_by_pipes(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "asr_fi.tsv.gz", "wt", encoding="utf-8") as file:
        file.write(VOXPOPULI)
    session = write(tmp_path / "raw_audios/original/2010/20100614-0900-PLENARY_original.ogg")
    cut = write(tmp_path / "transcribed_data/fi/2010/20100614-0900-PLENARY-fi_2.ogg")
    write(tmp_path / "transcribed_data/fi/asr_train.tsv", "id\traw_text\n")  # the corpus's own script leaves it
    clips, problems = told(list(voxpopuli.prepare(tmp_path)))
    assert [(c.path, c.start_seconds, c.end_seconds, c.person, c.text, c.split) for c in clips] == [
        (str(session), 12.5, 14.0, "96", "hyvää", "train"), (str(cut), 0.0, None, "", "kiitos", "test"),
    ]  # fmt: skip
    assert [(problem.where.rsplit(":", 1)[1], problem.kind) for problem in problems] == [
        ("4", "no_text"), ("5", "missing"), ("6", "invalid"), ("7", "invalid"),
    ]  # fmt: skip
    assert told(list(voxpopuli.prepare(tmp_path, raw_text=True, splits="train")))[0][0].text == "Hyvää!"
    write(tmp_path / "asr_et.tsv", VOXPOPULI)
    with pytest.raises(UserError, match="there are tables of et, fi; name one with --language"):
        list(voxpopuli.prepare(tmp_path))
    with pytest.raises(UserError, match=r"holds no asr_sv\.tsv\.gz"):
        list(voxpopuli.prepare(tmp_path, language="sv"))


def test_masc_cuts_videos_at_their_subtitles(tmp_path: Path) -> None:
    header = "video_id,category,video_duration,channel_id,country,dialect,gender,transcript_duration\n"
    write(tmp_path / "subsets/clean_train.csv", f'{header}v1,news,"60,0",ch1,EG,EGY,male,30\nv9,x,1,ch2,EG,MSA,,1\n')
    write(tmp_path / "subsets/clean_dev.csv", "the segments, not the videos\n")
    write(tmp_path / "subsets/clean_dev_meta.csv", f"{header}v2,news,60,ch2,SA,MSA,male,30\n")
    times = ["00:01.000 --> 00:02.000\nواحد", "00:02.250 --> 00:03.000\nاثنان", "00:09.000 --> 00:10.000\nثلاثة"]
    write(tmp_path / "subtitles/v1.ar.vtt", "WEBVTT\n\n" + "\n\n".join(times) + "\n")
    write(tmp_path / "subtitles/v2.ar.vtt", "WEBVTT\n\n00:02.000 --> 00:01.000\nx\n")
    for name in ("v1", "v2"):
        write(tmp_path / f"audios/{name}.wav")
    clips, problems = told(list(masc.prepare(tmp_path)))
    assert [(c.id, c.start_seconds, c.end_seconds, c.text) for c in clips] == [
        ("v1-00001000-00002000", 1.0, 2.0, "واحد"),
        ("v1-00002250-00003000", 2.25, 3.0, "اثنان"),
        ("v1-00009000-00010000", 9.0, 10.0, "ثلاثة"),
    ]
    assert {(c.person, c.group, c.split, c.language) for c in clips} == {("ch1", "v1", "clean_train", "ar")}
    assert [(problem.kind, "v9" in problem.reason) for problem in problems] == [("missing", True), ("invalid", False)]
    joined = told(list(masc.prepare(tmp_path, splits="clean_train", joined_seconds=15.0)))[0]
    assert [(c.start_seconds, c.end_seconds, c.text) for c in joined] == [
        (1.0, 3.0, "واحد اثنان"), (9.0, 10.0, "ثلاثة"),
    ]  # fmt: skip
    assert told(list(masc.prepare(tmp_path, dialect="IRQ"))) == ([], [])
    with pytest.raises(UserError, match="has no split 'noisy_test'; found clean_train, clean_dev"):
        list(masc.prepare(tmp_path, splits="noisy_test"))


def test_spontaneous_common_voice(tmp_path: Path) -> None:
    header = "client_id\taudio_id\taudio_file\tduration_ms\tprompt_id\tprompt\ttranscription\tsplit\n"
    rows = (
        "c1\t1\tspontaneous-ps-1.mp3\t5400\t9\tWhat?\t[disfluency] سلام  [noise] دې\ttrain\n"
        "c2\t2\tspontaneous-ps-2.mp3\t\t9\tWhat?\t\t\n"
        "c3\t3\tspontaneous-ps-3.mp3\t100\t9\tWhat?\t[noise]\tdev\n"
    )
    write(tmp_path / "ss-corpus-ps.tsv", header + rows)
    write(tmp_path / "ss-corpus-ps-reported.tsv", "audio_id\treason\n")
    clips, problems = told(list(common_voice_spontaneous.prepare(tmp_path)))
    assert [(c.id, c.text, c.person, c.group, c.split, c.language) for c in clips] == [
        ("spontaneous-ps-1", "سلام دې", "c1", "9", "train", "ps"),
        ("spontaneous-ps-2", "", "c2", "9", "unassigned", "ps"),
    ]
    assert clips[0].duration_seconds == pytest.approx(5.4)
    assert clips[0].path == str(tmp_path / "audios" / "spontaneous-ps-1.mp3")
    assert [problem.kind for problem in problems] == ["no_text"]
    kept = told(list(common_voice_spontaneous.prepare(tmp_path, splits="train", keep_marks=True)))[0]
    assert [clip.text for clip in kept] == ["[disfluency] سلام [noise] دې"]
    with pytest.raises(UserError, match=r"holds 0 tables ss-corpus-LOCALE\.tsv"):
        list(common_voice_spontaneous.prepare(tmp_path / "audios"))
