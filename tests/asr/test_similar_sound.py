"""Copies of recordings are found and placed, other takes are not, and what can't be read is named."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import typer
from numpy.typing import NDArray

from asr import similar_index, similarity
from asr.commands import similar
from asr.similar_index import open_clip_index
from asr.similar_sound import Fingerprint, band_energies, best_alignments
from signwave import command, manifest
from signwave.errors import ArtefactError
from signwave.manifest import Clip
from signwave.media.audio import write_wav

Audio = NDArray[np.float32]
RATE_HZ = 16_000


def babble(seconds: float, seed: int) -> Audio:
    """Syllables of a buzzing voice with two moving resonances: enough like speech for a fingerprint."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    knots = np.arange(0, seconds + 0.2, 0.12)

    def track(low: float, high: float) -> NDArray[np.float64]:
        return np.interp(time, knots, rng.uniform(low, high, len(knots)))

    phase = 2 * np.pi * np.cumsum(track(90, 180)) / RATE_HZ
    first, second = track(300, 800), track(1000, 2800)
    pitch = np.diff(phase, prepend=0) * RATE_HZ / (2 * np.pi)
    voice = np.zeros(len(time))
    for harmonic in range(1, 36):
        height = harmonic * pitch
        gain = np.exp(-(((height - first) / 150) ** 2)) + 0.5 * np.exp(-(((height - second) / 250) ** 2))
        voice += gain * np.sin(harmonic * phase)
    voice *= np.clip(track(-0.4, 1.0), 0, 1)
    voice += 1e-3 * rng.standard_normal(len(time))
    return (0.3 * voice / np.abs(voice).max()).astype(np.float32)


def noisy(audio: Audio, snr_db: float = 20.0) -> Audio:
    noise = np.random.default_rng(9).standard_normal(len(audio))
    return (audio + noise * np.sqrt(np.square(audio).mean() / 10 ** (snr_db / 10))).astype(np.float32)


def telephone(audio: Audio) -> Audio:
    return np.asarray(soxr.resample(soxr.resample(audio, RATE_HZ, 8000), 8000, RATE_HZ), dtype=np.float32)


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Clip]:
    def make(name: str, audio: Audio, **values: Any) -> Clip:
        return Clip(id=name, path=str(write_wav(tmp_path / f"{name}.wav", audio)), kind="audio", **values)

    return make


def pairs_of(*sides: list[Clip], **options: Any) -> list[similarity.Pair]:
    with open_clip_index(None, Fingerprint()) as index:
        against = sides[1] if len(sides) > 1 else None
        return similarity.find_near_duplicates(index, sides[0], against=against, **options).pairs


@pytest.mark.parametrize(
    "change",
    [
        lambda audio: 0.1 * audio,
        lambda audio: np.clip(3 * audio, -1, 1),
        telephone,
        noisy,
        lambda audio: audio[4_877:],
        lambda audio: audio[: -int(0.3 * RATE_HZ)],
        lambda audio: noisy(telephone(0.5 * audio[3_001:])),
    ],
    ids=["quieter", "clipped", "telephone", "noise", "start cut", "end cut", "all"],
)
def test_a_changed_copy_is_found_among_others(clip: Callable[..., Clip], change: Callable[[Audio], Audio]) -> None:
    originals = [babble(2.5, seed) for seed in range(6)]
    clips = [clip(f"o{number}", audio) for number, audio in enumerate(originals)]
    found = pairs_of([clip("copy", change(originals[3]).astype(np.float32))], clips)
    assert [(pair.id, pair.other_id) for pair in found] == [("copy", "o3")]
    assert found[0].score >= similarity.THRESHOLD


def test_where_the_copy_lies_is_told(clip: Callable[..., Clip]) -> None:
    short = babble(2.4, 1)
    long = np.concatenate([babble(7.13, 2), noisy(0.4 * short), babble(5.0, 3)])
    (pair,) = pairs_of([clip("short", short)], [clip("long", long), clip("other", babble(9.0, 4))])
    assert (pair.id, pair.other_id) == ("short", "long")
    assert pair.offset_seconds == pytest.approx(7.13, abs=0.02)
    assert pair.shared_seconds == pytest.approx(2.4, abs=0.1)
    assert pair.start_seconds == 0
    (turned,) = pairs_of([clip("long", long)], [clip("short", short)])
    assert turned.offset_seconds == pytest.approx(-7.13, abs=0.02)
    assert turned.start_seconds == pytest.approx(7.13, abs=0.6)
    assert turned.score == pytest.approx(pair.score, abs=0.1)


def test_pairs_within_one_manifest_come_once(clip: Callable[..., Clip]) -> None:
    audio = babble(2.0, 1)
    clips = [clip("b", audio), clip("a", 0.5 * audio), clip("c", babble(2.0, 2)), clip("d", babble(2.0, 3))]
    same = Clip(id="e", path=clips[2].path, kind="audio")
    found = pairs_of([*clips, same])
    assert [(pair.id, pair.other_id) for pair in found] == [("c", "e"), ("a", "b")]
    assert found[0].score == 1.0
    assert found[0].shared_seconds == pytest.approx(2.0, abs=0.1)


def test_the_same_file_in_a_test_set_is_a_leak(clip: Callable[..., Clip]) -> None:
    one = clip("train-1", babble(1.5, 1))
    (pair,) = pairs_of([one], [Clip(id="test-7", path=one.path, kind="audio")])
    assert (pair.id, pair.other_id, pair.score) == ("train-1", "test-7", 1.0)


def test_spans_of_a_file_are_clips_of_their_own(clip: Callable[..., Clip]) -> None:
    audio = babble(8.0, 1)
    whole = clip("whole", audio)
    part = Clip(id="part", path=whole.path, kind="audio", start_seconds=3.0, end_seconds=5.0)
    copy = clip("copy", noisy(audio[int(3.5 * RATE_HZ) : int(5 * RATE_HZ)]))
    (pair,) = pairs_of([copy], [part])
    assert pair.offset_seconds == pytest.approx(0.5, abs=0.02)
    assert pairs_of([copy], [Clip(id="rest", path=whole.path, kind="audio", start_seconds=5.0)]) == []


def test_stage_two_finds_the_lag_that_trying_all_finds() -> None:
    rng = np.random.default_rng(0)
    long = np.log(band_energies([babble(4.0, 5)]) + 1e-12)
    for start in (0, 37, 220):
        window = long[start : start + 80] + 0.05 * rng.standard_normal((80, 24)).astype(np.float32)
        (match,) = best_alignments(window, [long])
        assert match.lag_seconds == pytest.approx(start / 100)
        assert match.score > 0.95


def test_energies_do_not_depend_on_the_chunks() -> None:
    audio = babble(1.3, 0)
    whole = band_energies([audio])
    for sizes in ([1, 700, 701, 5000], [16_000], list(range(0, len(audio), 333))):
        np.testing.assert_allclose(band_energies(np.split(audio, sizes)), whole, rtol=1e-4, atol=1e-9)
    assert band_energies([audio[:500]]).shape == (0, 24)


def test_silence_hum_and_snippets_match_nothing(clip: Callable[..., Clip]) -> None:
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    hum = (0.2 * np.sin(2 * np.pi * 50 * time)).astype(np.float32)
    quiet = [clip(f"q{n}", np.zeros(2 * RATE_HZ, np.float32)) for n in range(2)]
    with open_clip_index(None, Fingerprint()) as index:
        done = similarity.find_near_duplicates(
            index, [*quiet, clip("hum", hum), clip("hum2", 0.5 * hum), clip("snippet", babble(0.05, 1))]
        )
    assert done.pairs == []
    assert set(done.embedded.silent) >= {"q0", "q1", "snippet"}


def test_what_can_not_be_read_is_named_and_the_rest_is_done(clip: Callable[..., Clip], tmp_path: Path) -> None:
    audio = babble(2.0, 1)
    good = [clip("a", audio), clip("b", 0.5 * audio)]
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "broken.flac").write_bytes(b"fLaC" + os.urandom(200))
    cut = (tmp_path / "a.wav").read_bytes()[:9000]
    (tmp_path / "cut.wav").write_bytes(cut)
    bad = [Clip(id=n, path=str(tmp_path / n), kind="audio") for n in ("empty.wav", "broken.flac", "cut.wav", "no.wav")]
    with open_clip_index(None, Fingerprint()) as index:
        done = similarity.find_near_duplicates(index, [bad[0], good[0], *bad[1:], good[1]])
    assert [(pair.id, pair.other_id) for pair in done.pairs] == [("a", "b")]
    assert [Path(failure.file).name for failure in done.embedded.failures] == [c.id for c in bad]
    assert done.embedded.failures[0].kind == "empty"
    assert done.embedded.failures[3].kind == "missing"


def test_a_kept_index_embeds_only_what_is_new_or_changed(
    clip: Callable[..., Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [clip(f"c{seed}", babble(1.5, seed)) for seed in range(4)]
    folder = tmp_path / "index"

    def run(some: list[Clip]) -> similar_index.Embedded:
        with open_clip_index(folder, Fingerprint()) as index:
            return index.embed(some)

    assert run(clips[:3]).num_new == 3
    assert run(clips).num_new == 1
    write_wav(clips[1].path, babble(1.7, 99))
    again = run(clips)
    assert (again.num_new, len(set(again.stamps))) == (1, 4)
    with open_clip_index(folder, Fingerprint()) as index:
        assert len(index.stamps) == 4  # what the changed file was is gone
        copy = clip("copy", 0.3 * babble(1.7, 99))
        assert [p.other_id for p in similarity.find_near_duplicates(index, [copy], against=clips).pairs] == ["c1"]
        # rows of recordings that nobody asked about are no answer
        assert similarity.find_near_duplicates(index, [copy], against=clips[2:]).pairs == []
    monkeypatch.setitem(__import__("asr.similar_sound", fromlist=["x"])._SETTINGS, "version", 2)
    with pytest.raises(ArtefactError, match="fingerprint-"):
        run(clips)


def test_an_interrupted_run_keeps_what_it_wrote(
    clip: Callable[..., Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar_index, "_ROWS_AT_ONCE", 2)
    clips = [clip(f"c{seed}", babble(1.5, seed)) for seed in range(4)]

    class Interrupted(Fingerprint):
        num_done = 0

        def windows(self, chunks: Any) -> Any:
            self.num_done += 1
            if self.num_done == 3:
                raise KeyboardInterrupt
            return super().windows(chunks)

    with pytest.raises(KeyboardInterrupt), open_clip_index(tmp_path / "index", Interrupted()) as index:
        index.embed(clips)
    with open_clip_index(tmp_path / "index", Fingerprint()) as index:
        assert index.embed(clips).num_new == 2


def run_command(function: Callable[..., int], *arguments: str) -> int:
    app = typer.Typer()
    app.command()(function)
    return command.run(lambda **options: app(list(arguments), **options))


def test_the_command(clip: Callable[..., Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio = babble(2.0, 1)
    manifest.write(tmp_path / "mine.jsonl.gz", [clip("-a", audio), clip("b", babble(2.0, 2))])
    theirs = [clip("t\t1", noisy(audio)), Clip(id="gone", path="gone.wav", kind="audio")]
    manifest.write(tmp_path / "theirs.jsonl", theirs)
    mine, out = str(tmp_path / "mine.jsonl.gz"), str(tmp_path / "pairs.tsv")
    index = str(tmp_path / "index")
    arguments = [mine, "--against", str(tmp_path / "theirs.jsonl"), "--out", out, "--index", index, "-q"]
    assert run_command(similar.duplicates, *arguments, "--json") == 3
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (document["num_pairs"], document["num_clips"], document["failures"][0]["kind"]) == (1, 4, "missing")
    assert "gone.wav" in told.err
    with open(out, encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert (row["id"], row["other_id"]) == ("-a", "t\t1")
    assert float(row["score"]) > similarity.THRESHOLD
    assert run_command(similar.duplicates, mine, "--out", out, "--index", index, "-q") == 0
    assert "0 pairs" in capsys.readouterr().out
    assert run_command(similar.duplicates, str(tmp_path / "no.jsonl"), "--out", out) == 1
    assert run_command(similar.duplicates, mine) == 2


@pytest.mark.parametrize("kind", ["mp3", "8 kHz", "trimmed", "noise"])
def test_real_recordings(shared_data: Path, clip: Callable[..., Clip], tmp_path: Path, kind: str) -> None:
    """Takes of the same digits by the same speakers are no copies of each other; see docs/similar_audio.md."""
    folder = shared_data / "speech/free_spoken_digit_dataset/recordings"
    files = [folder / f"{d}_{who}_{take}.wav" for d in (3, 7) for who in ("george", "jackson") for take in range(5, 13)]
    urdu = sorted((shared_data / "speech/common_voice_ur_22.0_delta/ur/clips").glob("*.mp3"))
    originals = [Clip(id=path.stem, path=str(path), kind="audio") for path in [*files, *urdu]]
    from signwave.media.audio import read_audio

    copies = []
    for number, original in enumerate(originals[::3]):
        audio = read_audio(original.path)
        if len(audio) < 0.4 * RATE_HZ:
            continue
        if kind == "mp3":
            path = tmp_path / f"{number}.mp3"
            soundfile.write(str(path), 0.4 * audio, RATE_HZ, format="MP3")
            copies.append(Clip(id=f"copy {original.id}", path=str(path), kind="audio"))
            continue
        changed = {"8 kHz": telephone, "trimmed": lambda a: a[min(4_800, len(a) // 6) :], "noise": noisy}[kind](audio)
        copies.append(clip(f"copy {original.id}", changed))
    found = pairs_of(copies, originals)
    wrong = [pair for pair in found if pair.id != f"copy {pair.other_id}"]
    right = {pair.id for pair in found} - {pair.id for pair in wrong}
    assert len(right) >= 0.9 * len(copies)
    assert len(wrong) <= 0.05 * len(copies)


def test_tables_are_plain_text(tmp_path: Path) -> None:
    similarity.write_pairs(tmp_path / "p.tsv", [similarity.Pair("a", "b\n", 0.9, 0.8, -1.25, 2, 0.0)])
    with open(tmp_path / "p.tsv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file, delimiter="\t"))[1] == ["a", "b\n", "0.9000", "0.8000", "-1.2500", "2", "0.0000"]
