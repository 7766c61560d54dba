"""Readers of corpora that fit into a test: digits, Arabic commands, TuxPaint's captions."""

import os
from collections import Counter
from pathlib import Path

import pytest

from asr.corpora.ties import ties_of
from asr.datasets import arabic_speech_commands, free_spoken_digits, tuxpaint
from asr.datasets.free_spoken_digits import parse_numbers
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row


def told(rows: "list[Row | Problem]") -> tuple[list[Clip], list[Problem]]:
    return [row.clip for row in rows if isinstance(row, Row)], [row for row in rows if isinstance(row, Problem)]


def test_digits_by_take_and_by_speaker(tmp_path: Path) -> None:
    for name in ("0_ann_0", "0_ann_10", "7_ann_12", "7_bob_3", "7_bob_20", "notes"):
        path = tmp_path / "recordings" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    clips, problems = told(list(free_spoken_digits.prepare(tmp_path)))
    assert {c.id: (c.text, c.person, c.split) for c in clips} == {
        "0_ann_0": ("zero", "ann", "test"), "0_ann_10": ("zero", "ann", "dev"), "7_ann_12": ("seven", "ann", "train"),
        "7_bob_3": ("seven", "bob", "test"), "7_bob_20": ("seven", "bob", "train"),
    }  # fmt: skip
    assert [problem.kind for problem in problems] == ["invalid"]
    unseen = told(list(free_spoken_digits.prepare(tmp_path, test_speakers="bob", dev_takes="12")))[0]
    assert {c.id: c.split for c in unseen} == {
        "0_ann_0": "train", "0_ann_10": "train", "7_ann_12": "dev", "7_bob_3": "test", "7_bob_20": "test",
    }  # fmt: skip
    with pytest.raises(UserError, match="has no speaker 'eve'; found ann, bob"):
        list(free_spoken_digits.prepare(tmp_path, test_speakers="eve"))
    with pytest.raises(UserError, match=r"holds no take of test_takes=4-9; name others"):
        list(free_spoken_digits.prepare(tmp_path, test_takes="4-9"))
    assert parse_numbers("0-2, 7") == {0, 1, 2, 7}
    with pytest.raises(UserError, match="'x-3' is no number and no range"):
        parse_numbers("x-3")


def test_the_real_digits(shared_data: Path) -> None:
    raw = shared_data / "speech" / "free_spoken_digit_dataset"
    clips, problems = told(list(free_spoken_digits.prepare(raw, test_takes="5-9")))
    assert not problems
    assert Counter(clip.split for clip in clips) == {"train": 1080, "test": 300, "dev": 120}
    unseen, _ = told(list(free_spoken_digits.prepare(raw, test_speakers="theo,yweweler")))
    persons = {split: {c.person for c in unseen if c.split == split} for split in ("train", "test")}
    assert persons["test"] == {"theo", "yweweler"}
    assert not persons["train"] & persons["test"]


def test_the_real_arabic_commands_of_which_most_are_missing(shared_data: Path) -> None:
    raw = shared_data / "speech" / "arabic_speech_commands"
    clips, problems = told(list(arabic_speech_commands.prepare(raw, val="test", dev_speakers="00000001")))
    assert Counter(clip.split for clip in clips) == {"train": 240, "dev": 60, "test": 150}
    assert Counter(problem.kind for problem in problems) == {"missing": 9_150}
    persons = [{c.person for c in clips if c.split == split} for split in ("train", "dev", "test")]
    assert [len(some) for some in persons] == [6, 1, 4]
    assert len(set.union(*persons)) == 11
    assert len({clip.text for clip in clips}) == len(arabic_speech_commands.WORDS) == 40
    by_id = {clip.id: clip for clip in clips}
    assert by_id["zoom-in-00000002_NO_01"].text == "تكبير"
    assert len(by_id) == 450


def test_arabic_commands_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds none of train\.csv"):
        list(arabic_speech_commands.prepare(tmp_path))
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("file,class\ndataset/fly/00000001_NO_01.wav,fly\n")
    clips, problems = told(list(arabic_speech_commands.prepare(tmp_path)))
    assert (clips, [problem.kind for problem in problems]) == ([], ["label", "label"])
    with pytest.raises(UserError, match=r"val=test: allowed are dev, or test where the folder holds no test\.csv"):
        list(arabic_speech_commands.prepare(tmp_path, val="test"))
    with pytest.raises(UserError, match="has no speaker '00000002'; found 00000001"):
        list(arabic_speech_commands.prepare(tmp_path, dev_speakers="00000002"))


def make_stamps(raw: Path) -> Path:
    root = raw / tuxpaint.STAMPS / "animals"
    root.mkdir(parents=True)
    for number in range(30):
        (root / f"p{number}.txt").write_text(f"Animal {chr(97 + number)}.\nru.utf8=Зверь {chr(1072 + number)}. \n")
        for language in ("", "_ru"):
            (root / f"p{number}_desc{language}.ogg").write_bytes(f"{number}{language}".encode())
    (root / "p1_desc_ru.ogg").write_bytes((root / "p0_desc_ru.ogg").read_bytes())  # one recording, two pictures
    (root / "twin.txt").write_text("A twin.\nru.utf8=Зверь в!\n")  # the words of p2, other punctuation
    (root / "twin_desc_ru.ogg.ogg").write_bytes(b"twin")
    (root / "p3.ogg").write_bytes(b"roars")
    (root / "coin.txt").write_text("A coin of $1.\nru.utf8=25 центов.\n")
    (root / "coin_desc_ru.ogg").write_bytes(b"coin")
    (root / "lost_desc_ru.ogg").write_bytes(b"lost")
    (root / "p4_desc_lt.ogg").write_bytes(b"without a caption")
    return raw


def test_captions_of_pictures_and_what_ties_them(tmp_path: Path) -> None:
    raw = make_stamps(tmp_path)
    clips, problems = told(list(tuxpaint.prepare(raw)))
    assert Counter(clip.language for clip in clips) == {"en": 30, "ru": 31}
    assert Counter(problem.kind for problem in problems) == {"no_text": 2, "digits": 1}
    split = {clip.id: clip.split for clip in clips}
    assert set(split.values()) == {"train", "dev", "test"}
    for number in range(30):
        assert split[f"animals/p{number}-ru"] == split[f"animals/p{number}-en"]
    assert split["animals/p0-ru"] == split["animals/p1-ru"]
    assert split["animals/p2-ru"] == split["animals/twin-ru"]
    russian, _ = told(list(tuxpaint.prepare(raw, language="ru")))
    assert {clip.id: clip.split for clip in russian} == {
        id_: name for id_, name in split.items() if id_.endswith("-ru")
    }
    kept = {clip.text for clip in told(list(tuxpaint.prepare(raw, language="ru", digits="keep")))[0]}
    assert "25 центов." in kept
    with pytest.raises(UserError, match="has no language 'xx'; found en, lt, ru"):
        list(tuxpaint.prepare(raw, language="xx"))
    with pytest.raises(UserError, match="digits=spell: unknown; allowed are drop, keep"):
        list(tuxpaint.prepare(raw, digits="spell"))


def test_the_real_captions() -> None:
    raw = os.environ.get("SIGNWAVE_TUXPAINT", "")
    if not raw:
        pytest.skip("SIGNWAVE_TUXPAINT doesn't name a folder; tools/fetch_tuxpaint.py makes one (161 MB)")
    clips, problems = told(list(tuxpaint.prepare(Path(raw))))
    counts = Counter(clip.language for clip in clips)
    assert counts["ru"] > 850
    assert counts["be"] > 600
    assert {problem.kind for problem in problems} == {"no_text", "digits"}
    owners: dict[tuple[str, str], str] = {}
    for clip in clips:
        for tie in ties_of(clip, ["prompt"]):
            assert owners.setdefault(tie, clip.split) == clip.split, tie
