"""Every format read back by a small parser of its own; cues checked as properties over random transcripts."""

import html
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave import formats
from signwave.command import Failure
from signwave.errors import UserError
from signwave.transcript import ModelName, Segment, Transcript, Word, split_at_pauses

PERSIAN = "سلام دنیا می‌خواهم بروم"


def transcript_of(*segments: list[Word]) -> Transcript:
    return Transcript(
        file="talks/day 1.wav",
        segments=tuple(Segment(tuple(words)) for words in segments),
        duration_seconds=9.0,
        language="fa",
        model=ModelName("m", "abc"),
    )


def words_at(text: str, *, start: float = 0.0, seconds: float = 0.4) -> list[Word]:
    return [Word(w, start + i * seconds, start + (i + 0.8) * seconds, 0.9) for i, w in enumerate(text.split())]


def read_clock(text: str) -> float:
    hours, minutes, seconds = text.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def read_srt(text: str) -> list[tuple[float, float, str]]:
    found = []
    for number, block in enumerate(re.split(r"\n\n", text.rstrip("\n")) if text else [], 1):
        index, times, *lines = block.split("\n")
        assert int(index) == number
        start, end = times.split(" --> ")
        assert re.fullmatch(r"\d{2,}:\d\d:\d\d,\d{3}", start)
        found.append((read_clock(start), read_clock(end), "\n".join(lines)))
    return found


def read_vtt(text: str) -> list[tuple[float, float, str]]:
    head, *blocks = re.split(r"\n\n", text.rstrip("\n"))
    assert head == "WEBVTT"
    found = []
    for block in blocks:
        times, *lines = block.split("\n")
        start, end = times.split(" --> ")
        assert re.fullmatch(r"\d{2,}:\d\d:\d\d\.\d{3}", start)
        found.append((read_clock(start), read_clock(end), html.unescape("\n".join(lines))))
    return found


word_texts = st.text(st.characters(blacklist_categories=("Zs", "Zl", "Zp", "Cc", "Cs")), min_size=1, max_size=30)


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    now, segments = 0.0, []
    for _ in range(draw(st.integers(0, 4))):
        words = []
        for text in draw(st.lists(word_texts, min_size=1, max_size=15)):
            now += draw(st.sampled_from([0.0, 0.0, 0.1, 0.7, 3.0]))
            end = now + draw(st.sampled_from([0.0, 0.0004, 0.2, 1.0, 8.0]))
            words.append(Word(text, now, end, draw(st.floats(0, 1))))
            now = end
        segments.append(words)
    return transcript_of(*segments)


@given(transcripts())
@settings(max_examples=150, deadline=None)
def test_cues_hold_all_words_in_order_and_never_overlap_or_vanish(transcript: Transcript) -> None:
    cues = formats.cues(transcript)
    assert " ".join(cue.text for cue in cues).split() == [word.text for word in transcript.words]
    for cue in cues:
        assert round(cue.end_seconds, 3) > round(cue.start_seconds, 3) >= 0
        assert cue.text.count("\n") <= 1
    for previous, cue in pairwise(cues):
        assert cue.start_seconds >= previous.end_seconds
    for read in (read_srt(formats.write(transcript, "srt")), read_vtt(formats.write(transcript, "vtt"))):
        assert [text.replace("->", "-->").replace("--->", "-->") for _, _, text in read] == [
            cue.text.replace("->", "-->").replace("--->", "-->") for cue in cues
        ]
        assert [start for start, _, _ in read] == pytest.approx([cue.start_seconds for cue in cues], abs=6e-4)
        assert all(end > start for start, end, _ in read)


def test_cues_break_at_pauses_lengths_and_segments() -> None:
    long = words_at(" ".join(["word"] * 60))
    assert all(len(cue.text) <= formats.MAX_CUE_CHARS for cue in formats.cues(transcript_of(long)))
    assert all(
        cue.end_seconds - cue.start_seconds <= formats.MAX_CUE_SECONDS + 0.01
        for cue in formats.cues(transcript_of(long))
    )
    paused = [*words_at("before it"), *words_at("after it", start=2.0)]
    assert [cue.text for cue in formats.cues(transcript_of(paused))] == ["before it", "after it"]
    apart = transcript_of(words_at("one"), words_at("two", start=0.35))
    assert [cue.text for cue in formats.cues(apart)] == ["one", "two"]


def test_the_pause_that_ends_a_cue_can_be_another_one() -> None:
    transcript = transcript_of([Word("A", 0.0, 0.4, 1), Word("B", 1.2, 1.6, 1)])
    assert len(read_srt(formats.write(transcript, "srt"))) == 2
    assert len(read_vtt(formats.write(transcript, "vtt", cue_pause_seconds=1.0))) == 1


@given(transcripts(), st.sampled_from([0.05, 0.7, 5.0]))
@settings(max_examples=50, deadline=None)
def test_segments_hold_all_words_and_part_exactly_at_pauses(transcript: Transcript, pause_seconds: float) -> None:
    segments = split_at_pauses(transcript.words, pause_seconds=pause_seconds)
    assert tuple(word for segment in segments for word in segment.words) == transcript.words
    for segment in segments:
        assert all(b.start_seconds - a.end_seconds < pause_seconds for a, b in pairwise(segment.words))
    for before, after in pairwise(segments):
        assert after.start_seconds - before.end_seconds >= pause_seconds


def test_transcripts_are_the_same_however_long_they_took() -> None:
    assert Transcript(file="a", rtf=0.1) == Transcript(file="a", rtf=0.2)
    assert Transcript(file="a") != Transcript(file="b")


def test_short_cues_stay_as_long_as_the_next_allows() -> None:
    first, second = formats.cues(transcript_of([Word("a", 1.0, 1.1, 1)], [Word("b", 1.5, 1.6, 1)]))
    assert (first.start_seconds, first.end_seconds) == (1.0, 1.5)
    assert second.end_seconds == pytest.approx(1.5 + formats.MIN_CUE_SECONDS)


def test_a_long_cue_is_two_lines_of_like_length() -> None:
    cue = formats.cues(transcript_of(words_at("a cue that is too long for one line of a screen", seconds=0.2)))[0]
    first, second = cue.text.split("\n")
    assert abs(len(first) - len(second)) <= 8


def test_right_to_left_text_is_written_as_it_is() -> None:
    transcript = transcript_of(words_at(PERSIAN))
    for name in formats.FORMATS:
        written = formats.write(transcript, name)
        assert all(word in written for word in PERSIAN.split()), name
        assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", written), name
    assert formats.to_txt(transcript) == PERSIAN + "\n"


def test_vtt_escapes_and_srt_keeps_its_structure() -> None:
    transcript = transcript_of([Word("a<b>&", 0, 1, 1), Word("-->", 1, 2, 1)])
    assert "a&lt;b&gt;&amp; --&gt;" in formats.write(transcript, "vtt")
    assert read_vtt(formats.write(transcript, "vtt")) == [(0.0, 2.0, "a<b>& -->")]
    assert read_srt(formats.write(transcript, "srt")) == [(0.0, 2.0, "a<b>& ->")]


def test_clock_rounds_and_carries() -> None:
    transcript = transcript_of([Word("a", 59.9996, 3600.0004, 1)])
    assert "00:01:00,000 --> 01:00:00,000" in formats.write(transcript, "srt")
    hours = transcript_of([Word("a", 360_000.5, 360_001.5, 1)])
    assert read_srt(formats.write(hours, "srt"))[0][:2] == (360_000.5, 360_001.5)


def test_json_is_the_record() -> None:
    record = json.loads(formats.to_json(transcript_of(words_at("hello you"))))
    assert set(record) == {
        "schema_version", "file", "sha256", "status", "text", "language", "segments", "duration", "rtf", "model",
        "warnings", "error",
    }  # fmt: skip
    assert record["segments"][0]["words"][1] == {"w": "you", "start": 0.4, "end": 0.72, "score": 0.9}
    assert (record["status"], record["text"], record["error"]) == ("ok", "hello you", None)
    line = formats.to_jsonl(transcript_of(words_at("hello you")))
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert json.loads(line) == record
    failed = Transcript(file="x", status="failed", error=Failure("x", "missing", "gone"))
    assert failed.to_dict()["error"] == {"kind": "missing", "message": "gone"}


def test_tsv_and_ctm() -> None:
    transcript = transcript_of(words_at("hello you"), words_at("there", start=3.0))
    assert formats.to_tsv(transcript) == "start\tend\ttext\n0\t720\thello you\n3000\t3320\tthere\n"
    lines = [line.split() for line in formats.to_ctm(transcript).splitlines()]
    assert lines[1] == ["day_1", "1", "0.400", "0.320", "you", "0.9000"]
    assert [line[4] for line in lines] == ["hello", "you", "there"]


def test_an_empty_transcript_is_a_valid_file_of_every_format() -> None:
    empty = Transcript(file="a.wav", status="empty")
    texts = {name: formats.write(empty, name) for name in formats.FORMATS}
    assert texts["txt"] == texts["srt"] == texts["ctm"] == ""
    assert texts["vtt"] == "WEBVTT\n"
    assert json.loads(texts["json"])["status"] == "empty"


def test_formats_are_lists_and_unknown_ones_are_named() -> None:
    assert formats.parse_formats(["srt, TXT", "srt", "json"]) == ("srt", "txt", "json")
    with pytest.raises(UserError, match="--format docx: unknown; allowed are txt, json"):
        formats.parse_formats(["docx"])
    with pytest.raises(UserError, match="format 'docx'"):
        formats.write(Transcript(), "docx")


def test_real_persian_sentences_survive_every_subtitle_format(shared_data: Path) -> None:
    table = shared_data / "speech/common_voice_ur_22.0_delta/ur/other.tsv"
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        sentence = line.split("\t")[3]
        transcript = transcript_of(words_at(sentence))
        for read in (read_srt(formats.write(transcript, "srt")), read_vtt(formats.write(transcript, "vtt"))):
            assert " ".join(text for _, _, text in read).split() == sentence.split()
