"""Synthetic speech: the plan without the synthesiser, and the synthesiser where it is installed."""

from collections import Counter
from pathlib import Path

import pytest
import soundfile

from asr.datasets import synthetic
from asr.datasets.synthetic import LANGUAGES, Synthesiser, plan, prepare, read_sentences
from asr.text import for_language
from signwave.errors import UserError
from signwave.prepare import Row


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_many_normalised_and_in_their_own_letters(language: str) -> None:
    sentences = read_sentences(language)
    assert len(sentences) >= 180
    assert len(set(sentences)) == len(sentences)
    assert all(for_language(language)(text) == text for text in sentences)
    foreign = {"fa": "يكةٹڈڑںہھے", "ar": "یکگپچژٹڈڑںہھے", "ur": "يكةه"}[language]
    assert not set("".join(sentences)) & set(foreign)


def test_sentence_files_are_small() -> None:
    assert sum(path.stat().st_size for path in synthetic.SENTENCES_DIR.glob("sentences_*.txt")) < 30_000


def test_plan_keeps_sentences_and_one_voice_apart() -> None:
    items = list(plan(num_train=50, num_dev=5, num_test=8))
    assert Counter(item.split for item in items) == {"train": 150, "dev": 15, "test": 24}
    assert len({item.id for item in items}) == len(items)
    splits_of: dict[tuple[str, str], set[str]] = {}
    for item in items:
        splits_of.setdefault((item.language, item.text), set()).add(item.split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    seen = {item.variant for item in items if item.split != "test"}
    tested = Counter(item.variant for item in items if item.split == "test")
    assert tested == {"m3": 12, "f3": 12}
    assert "m3" in seen
    assert "f3" not in seen
    assert items == list(plan(num_train=50, num_dev=5, num_test=8))
    assert items != list(plan(num_train=50, num_dev=5, num_test=8, seed=1))


def test_a_language_without_sentences_is_refused() -> None:
    with pytest.raises(UserError, match=r"no sentences for the language 'xx'; there are ar, fa, ur"):
        read_sentences("xx")
    with pytest.raises(UserError, match="must leave some for training"):
        list(plan(num_dev=100, num_test=100))


@pytest.fixture(scope="module")
def synthesiser() -> Synthesiser:
    pytest.importorskip("espeakng_loader")
    return Synthesiser()


@pytest.mark.parametrize("voice", ["fa", "ar", "ur", "fa+f3", "ar+m3"])
def test_it_speaks(synthesiser: Synthesiser, voice: str) -> None:
    (text, *_) = read_sentences(voice[:2])
    samples = synthesiser.speak(text, voice=voice)
    assert 0.5 < len(samples) / synthesiser.rate_hz < 10
    assert abs(samples).max() > 1000


def test_an_unknown_voice_is_refused_and_not_replaced(synthesiser: Synthesiser) -> None:
    synthesiser.speak("سلام", voice="fa")
    with pytest.raises(UserError, match="espeak-ng has no voice 'nn-nothing'"):
        synthesiser.speak("سلام", voice="nn-nothing")


def test_samples_are_copies(synthesiser: Synthesiser) -> None:
    first = synthesiser.speak("سلام", voice="fa")
    kept = first.copy()
    synthesiser.speak("خداحافظ", voice="fa+f3")
    assert (first == kept).all()


def test_speed_changes_the_length(synthesiser: Synthesiser) -> None:
    slow, fast = (len(synthesiser.speak("سلام بر شما", voice="fa", words_per_minute=speed)) for speed in (120, 240))
    assert slow > 1.3 * fast
    with pytest.raises(ValueError, match="words_per_minute must be 80 to 450, got 10"):
        synthesiser.speak("سلام", voice="fa", words_per_minute=10)


def test_prepare_writes_wav_files_once(synthesiser: Synthesiser, tmp_path: Path) -> None:
    sizes = {"languages": "fa,ur", "num_train": 4, "num_dev": 1, "num_test": 2}
    rows = [row for row in prepare(tmp_path, **sizes) if isinstance(row, Row)]
    assert Counter((row.clip.language, row.clip.split) for row in rows) == {
        ("fa", "train"): 4, ("fa", "dev"): 1, ("fa", "test"): 2, ("ur", "train"): 4, ("ur", "dev"): 1, ("ur", "test"): 2
    }  # fmt: skip
    for row in rows:
        info = soundfile.info(row.clip.path)
        assert (info.frames, float(info.samplerate)) == (row.clip.num_frames, row.clip.rate_hz)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    again = [row for row in prepare(tmp_path, **sizes) if isinstance(row, Row)]
    assert [row.clip for row in again] == [row.clip for row in rows]
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
