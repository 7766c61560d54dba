"""The asterisk corpus: a made-up package tree with every quirk of the real text file."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.datasets import asterisk
from asr.datasets.asterisk import prepare, read_prompts, spoken_text
from signwave.errors import ManifestError
from signwave.prepare import Problem, Row

LINES = [
    "; Core Asterisk Sounds in English",
    "",
    "activated: Activated.",
    "agent-alreadyon: That agent is already logged on.  Please enter your agent number followed by the pound key.",
    "at-tone: At the sound of the tone, the time will be exactly...",
    "confbridge-leave-in: To leave the conference...",
    "confbridge-leave-out: ...to leave the conference.",
    "confbridge-leave: <beep decending>",
    "dictate/both_help: press * to toggle pause, press # to enter a new dictation filename",
    "digits/60: sixty",
    "letters/at: at [@]",
    "note: Warning: this line has colons: three",
    "pls-try-call-later: Please try the call later.",
    "demo: dial 1234 or 28.8 now please",
    "silence/5: (5 seconds of silence)",
    'spy-iax2: IAX (note: does not say "2")',
    "vm-advopts: press 3 for advanced options",
    "broken: This file is not audio at all",
    "endless: This recording is far too long",
]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    texts = tmp_path / asterisk.TEXTS
    texts.parent.mkdir(parents=True)
    with gzip.open(texts, "wt", encoding="utf-8") as file:
        file.write("\n".join(LINES) + "\n")
    for line in LINES[2:]:
        key = line.partition(":")[0]
        path = tmp_path / asterisk.SOUNDS / f"{key}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        if key == "broken":
            path.write_bytes(b"not a wav file")
        elif key != "pls-try-call-later":
            seconds = 40 if key == "endless" else 1
            soundfile.write(path, np.zeros(8000 * seconds, np.int16), 8000, subtype="PCM_16")
    return tmp_path


def rows_of(raw: Path, **settings: int) -> dict[str, Row]:
    found = prepare(raw, **{"num_test": 2, "num_dev": 1, **settings})
    return {row.clip.id: row for row in found if isinstance(row, Row)}


def test_entries_are_split_at_the_first_colon_and_know_their_line(raw: Path) -> None:
    prompts = {prompt.key: prompt for prompt in read_prompts(raw / asterisk.TEXTS)}
    assert len(prompts) == len(LINES) - 2
    assert prompts["note"].text == "Warning: this line has colons: three"
    assert prompts["activated"].where.endswith("core-sounds-en.txt.gz:3")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("...to exit the menu.", "to exit the menu"),
        ("Press 1, 2 or 3D now", "press one two or three d now"),
        ("press * or #, then 342", "press star or pound then three hundred forty two"),
        ("at [@]", "at"),
        ("[sound of monkeys screaming]", ""),
        ("(5 seconds of silence)", ""),
        ("<beep ascending>", ""),
        ("dial 8500", ""),
        ("H.323", ""),
        ("a 28.8 modem", ""),
        ("don't  say “users' guide”", "don't say users guide"),
        ("Call-Forward on Busy.", "call forward on busy"),
        ("", ""),
    ],
)
def test_spoken_text(written: str, said: str) -> None:
    assert spoken_text(written) == said


def test_rows_have_text_length_and_voice(raw: Path) -> None:
    clip = rows_of(raw)["dictate/both_help"].clip
    assert clip.text == "press star to toggle pause press pound to enter a new dictation filename"
    assert (clip.num_frames, clip.rate_hz, clip.duration_seconds) == (8000, 8000.0, 1.0)
    assert (clip.language, clip.person, clip.kind) == ("en", "allison", "audio")


def test_what_is_left_out_is_told_with_place_and_reason(raw: Path) -> None:
    problems = [row for row in prepare(raw, num_test=0, num_dev=0) if isinstance(row, Problem)]
    kinds = {problem.where.rpartition(":")[2]: problem.kind for problem in problems}
    assert kinds == {
        "8": "no_speech",
        "13": "missing",
        "14": "no_speech",
        "15": "no_speech",
        "18": "unreadable",
        "19": "too_long",
    }
    assert any("'pls-try-call-later' has a text and no recording" in problem.reason for problem in problems)


def test_no_held_out_text_is_trained_on(raw: Path) -> None:
    for seed in range(20):
        rows = rows_of(raw, seed=seed)
        texts = {
            split: {row.clip.text for row in rows.values() if row.clip.split == split}
            for split in ("train", "dev", "test")
        }
        assert len(texts["test"]) == 2
        assert len(texts["dev"]) == 1
        assert not texts["train"] & (texts["dev"] | texts["test"])
        assert all(len(text.split()) >= asterisk.MIN_HELD_OUT_WORDS for text in texts["dev"] | texts["test"])


def test_bracketed_and_short_prompts_are_never_held_out(raw: Path) -> None:
    for seed in range(20):
        rows = rows_of(raw, seed=seed)
        assert rows["letters/at"].clip.split == rows["spy-iax2"].clip.split == rows["activated"].clip.split == "train"


def test_the_split_is_the_seeds(raw: Path) -> None:
    splits = [{name: row.clip.split for name, row in rows_of(raw, seed=seed).items()} for seed in (3, 3, 4)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


def test_a_missing_package_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no such file; .*tools/fetch_asterisk\.py"):
        list(prepare(tmp_path))


def test_a_line_without_a_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("good: text\nno colon here\n")
    with pytest.raises(ManifestError, match=r"texts\.txt:2: 'no colon here' has no key"):
        list(read_prompts(path))


def test_a_damaged_text_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt.gz"
    path.write_bytes(gzip.compress(b"key: text\n" * 100)[:30])
    with pytest.raises(ManifestError, match="can't be read"):
        list(read_prompts(path))
