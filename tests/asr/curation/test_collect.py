"""`asr collect` from raw files to a manifest: bad input, resume after a kill, rescreening, test data, closeness."""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr.cli import app
from asr.curation import collecting
from asr.curation.collecting import Collected, Request, collect
from asr.curation.picture import write_page
from asr.curation.settings import CollectSettings, MeasureSettings, Thresholds
from asr.similar_domain import SpectrumStatistics
from signwave import command, manifest
from signwave.errors import ConfigError, UserError
from signwave.manifest import Clip
from signwave.media.audio import read_audio, write_wav

Audio = NDArray[np.float32]
Write = Callable[..., Path]
ENERGY = MeasureSettings(voice="energy")
LOOSE = Thresholds(min_bandwidth_hz=1000.0, min_snr_db=3.0)


def run(
    tmp_path: Path, *, out: str = "out", keep: Thresholds = LOOSE, measure: MeasureSettings = ENERGY, **more: Any
) -> Collected:
    settings = CollectSettings(measure, keep)
    return collect(Request(tmp_path / "raw", tmp_path / out, "fa", settings, num_workers=0, **more))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture
def pool(raw: Write, babble: Callable[..., Audio], pause: Callable[..., Audio], tmp_path: Path) -> Path:
    """Good and bad recordings of every kind."""
    raw("radio/news.wav", pause(1.0), babble(5.0, 1), pause(3.0, 1), babble(4.0, 2), pause(1.0, 2))
    raw("radio/short.wav", pause(1.0), babble(0.7, 3), pause(2.0))
    raw("copied.wav", pause(1.0), 0.4 * babble(4.0, 2), pause(1.0))
    raw("held_out.wav", pause(1.0), babble(6.0, 4), pause(1.0))
    raw("clipped.wav", pause(1.0), np.clip(20 * babble(4.0, 5), -1, 1), pause(1.0))
    raw("silent.wav", np.zeros(48_000, np.float32))
    raw("tiny.wav", babble(0.01))
    folder = tmp_path / "raw"
    (folder / "empty.wav").write_bytes(b"")
    (folder / "broken.flac").write_bytes(b"fLaC" + bytes(range(200)))
    (folder / "cut.wav").write_bytes((folder / "radio/news.wav").read_bytes()[:50_000])
    (folder / "notes.txt").write_text("not audio")
    return folder


@pytest.fixture
def held_out(tmp_path: Path, babble: Callable[..., Audio]) -> Path:
    clip = Clip(id="t1", path=str(write_wav(tmp_path / "t1.wav", 0.5 * babble(6.0, 4)[20_000:70_000])), kind="audio")
    manifest.write(tmp_path / "test.jsonl.gz", [clip])
    return tmp_path / "test.jsonl.gz"


def test_from_raw_files_to_a_manifest(pool: Path, held_out: Path, tmp_path: Path) -> None:
    done = run(tmp_path, against=(held_out,))
    assert done.exit_code == 3
    report = done.report
    assert (report["num_files"], report["num_failed"], report["num_without_speech"]) == (10, 3, 2)
    assert {Path(f["file"]).name: f["kind"] for f in report["failures"]} == {
        "empty.wav": "empty", "broken.flac": "unreadable", "cut.wav": "truncated",
    }  # fmt: skip
    assert {reason: row["num"] for reason, row in report["dropped"].items()} == {
        "short": 1, "copy": 1, "in dev or test": 1, "clipped": 1,
    }  # fmt: skip
    clips = list(manifest.read(tmp_path / "out/train.jsonl.gz"))
    assert len(clips) == report["num_kept"] == 2
    for clip, (start, end) in zip(clips, [(1.0, 6.0), (9.0, 13.0)]):
        assert (clip.group, clip.language) == ("radio", "fa")
        assert clip.start_seconds == pytest.approx(start - 0.1, abs=0.07)
        assert clip.end_seconds == pytest.approx(end + 0.1, abs=0.12)
        audio = read_audio(clip.path, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds)
        assert len(audio) == pytest.approx(clip.num_frames, abs=1)
    segments = lines_of(tmp_path / "out/segments.jsonl.gz")
    assert len(segments) == 6
    assert all({"snr_db", "bandwidth_hz", "speech_share", "clipped_share"} <= set(s["scores"]) for s in segments)
    (copy,) = [s for s in segments if "copy" in s["reasons"]]
    assert (copy["file"], copy["copy_of"][0][:14]) == ("copied.wav", "radio/news.wav")
    (leak,) = [s for s in segments if "in dev or test" in s["reasons"]]
    assert leak["copy_of"] == [f"{held_out}: t1"]
    assert len((tmp_path / "out/problems.jsonl").read_text().splitlines()) == 3


def test_a_second_run_measures_only_what_failed_or_changed_and_writes_the_same(
    pool: Path, held_out: Path, tmp_path: Path, raw: Write, babble: Callable[..., Audio], pause: Callable[..., Audio]
) -> None:
    names = ("train.jsonl.gz", "segments.jsonl.gz", "collect.json", "measured.jsonl", "leaks.tsv", "copies.tsv")
    run(tmp_path, against=(held_out,))
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    again = run(tmp_path, against=(held_out,))
    assert again.num_new == 3
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == before
    (pool / "copied.wav").unlink()
    raw("silent.wav", pause(1.0), babble(3.0, 9), pause(1.0))
    changed = run(tmp_path, against=(held_out,))
    assert changed.num_new == 4
    assert sorted({s.file for s in changed.segments if s.is_kept}) == ["radio/news.wav", "silent.wav"]
    assert all(s.file != "copied.wav" for s in changed.segments)


def test_rescreening_opens_no_audio_and_equals_a_new_run(pool: Path, held_out: Path, tmp_path: Path) -> None:
    other = Thresholds(
        min_bandwidth_hz=1000.0, min_snr_db=3.0, max_clipped_share=1.0, min_crest_db=-1.0, min_seconds=0.5
    )
    run(tmp_path, against=(held_out,))
    fresh = run(tmp_path, out="fresh", keep=other, against=(held_out,))
    shutil.rmtree(pool)
    held_out.unlink()
    again = run(tmp_path, keep=other, rescreen=True)
    assert [s.to_dict() for s in again.segments] == [s.to_dict() for s in fresh.segments]
    assert (tmp_path / "out/train.jsonl.gz").read_bytes() == (tmp_path / "fresh/train.jsonl.gz").read_bytes()
    assert again.report["num_kept"] == 4


def test_a_killed_run_goes_on_where_it_was(
    raw: Write, babble: Callable[..., Audio], pause: Callable[..., Audio], tmp_path: Path, repository: Path
) -> None:
    voice = babble(40.0)
    for number in range(20):
        first, second = voice[32_000 * number :][:40_000], babble(2.5, 100 + number)
        raw(f"{number:02d}.wav", pause(1.0), first, pause(2.0), second, pause(15.0))
    code = "import sys; from asr.cli import main; sys.exit(main())"
    settings = ["measure.voice=energy", "keep.min_bandwidth_hz=1000", "keep.min_snr_db=3"]
    arguments = ["collect", str(tmp_path / "raw"), str(tmp_path / "out"), "--language", "fa", *settings]
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--num-workers", "0", "-q"],
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.DEVNULL,
    )
    log = tmp_path / "out/measured.jsonl"
    while child.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    num_done = log.read_bytes().count(b"\n")
    assert 3 <= num_done < 20
    resumed, unbroken = run(tmp_path), run(tmp_path, out="unbroken")
    assert resumed.num_new == 20 - num_done
    assert [s.to_dict() for s in resumed.segments] == [s.to_dict() for s in unbroken.segments]
    assert (tmp_path / "out/train.jsonl.gz").read_bytes() == (tmp_path / "unbroken/train.jsonl.gz").read_bytes()
    assert resumed.report["num_segments"] == 40


def test_hooks_score_and_refuse(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    measure = MeasureSettings(
        voice="energy", language_id="hooks_of_a_user:language", sound_kind="hooks_of_a_user:kinds"
    )
    done = run(tmp_path, measure=measure)
    by_file = {segment.file: segment for segment in done.segments}
    assert "other language" not in by_file["radio/news.wav"].reasons
    assert by_file["copied.wav"].scores["language.fa"] == 0.9
    assert by_file["copied.wav"].scores["kind.music"] == 0.1
    broken = run(tmp_path, out="other", measure=MeasureSettings(voice="energy", sound_kind="hooks_of_a_user:broken"))
    assert any("no such model" in failure["message"] for failure in broken.report["failures"])
    with pytest.raises(UserError, match="can't be imported"):
        run(tmp_path, out="third", measure=MeasureSettings(voice="energy", sound_kind="no_such:thing"))


def test_closeness_to_a_domain_is_a_score_and_an_order(
    raw: Write, babble: Callable[..., Audio], pause: Callable[..., Audio], tmp_path: Path
) -> None:
    def hissing(audio: Audio, seed: int) -> Audio:
        noise = np.diff(np.random.default_rng(seed).standard_normal(len(audio) + 1))
        return (audio + 0.02 * noise).astype(np.float32)

    for number in range(4):
        raw(f"plain/{number}.wav", pause(1.0), babble(4.0, number), pause(1.0))
        raw(f"hiss/{number}.wav", pause(1.0), hissing(babble(4.0, 10 + number), number), pause(1.0))
    target = [
        Clip(id=str(n), path=str(write_wav(tmp_path / f"{n}.wav", hissing(babble(3.0, 50 + n), n))), kind="audio")
        for n in range(4)
    ]
    manifest.write(tmp_path / "near.jsonl", target)
    keep = Thresholds(min_bandwidth_hz=1000.0, min_snr_db=-20.0, max_hours=17 / 3600)
    near = {"near": (tmp_path / "near.jsonl",), "embedder": SpectrumStatistics()}
    done = run(tmp_path, keep=keep, **near)
    assert {s.source for s in done.segments if s.is_kept} == {"hiss"}
    assert all("closeness" in s.scores for s in done.segments)
    assert {s.reasons[0] for s in done.segments if not s.is_kept} == {"enough in all"}


def test_the_report_says_what_was_dropped_and_why(pool: Path, held_out: Path, tmp_path: Path) -> None:
    done = run(tmp_path, against=(held_out,))
    write_page(tmp_path / "page.html", done, LOOSE, language="fa")
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64") == 2
    for text in ("in dev or test", "clipped", "copy", "short", "broken.flac", "10 recordings"):
        assert text in page


def test_the_command(pool: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run_command(*arguments: str) -> int:
        return command.run(lambda **options: app(["collect", *arguments], **options))

    raw, out = str(pool), str(tmp_path / "out")
    settings = ["measure.voice=energy", "keep.min_bandwidth_hz=1000", "keep.min_snr_db=3"]
    common = [raw, out, *settings, "--language", "fa", "--against", str(held_out), "--num-workers", "1", "-q"]
    assert run_command(*common, "--json", "--report") == 3
    told = capsys.readouterr()
    assert json.loads(told.out)["num_kept"] == 2
    assert "broken.flac" in told.err
    assert (tmp_path / "out/report.html").is_file()
    assert run_command(raw, out, "keep.min_snr_db=59.9", "--language", "fa", "--rescreen", "-q") == 3
    assert "kept 0" in capsys.readouterr().out
    assert run_command(raw, out, "--rescreen", "--against", str(held_out)) == 1
    assert run_command(raw, out, "measure.voice=energy", "measure.max_seconds=20") == 1
    assert "max_seconds=30.0 and not 20.0" in capsys.readouterr().err
    assert run_command(raw, str(tmp_path / "none"), "--rescreen") == 1
    assert run_command(str(tmp_path / "nowhere"), str(tmp_path / "none")) == 1
    assert run_command(raw, out, "keep.min_snr=3") == 1
    assert "keep.min_snr_db" in capsys.readouterr().err


def test_when_nothing_can_be_used_the_exit_code_says_so(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(UserError, match="holds no audio file"):
        run(tmp_path)
    (tmp_path / "raw/a.wav").write_bytes(b"")
    assert run(tmp_path).exit_code == 1
    with pytest.raises(ConfigError, match="duplicate_score"):
        run(tmp_path, keep=Thresholds(duplicate_score=0.5))


def test_two_runs_at_once_are_refused(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def while_running(*_: Any) -> int:
        with pytest.raises(UserError, match="locked by pid"):
            run(tmp_path, rescreen=True)
        return 0

    monkeypatch.setattr(collecting, "_measure", while_running)
    run(tmp_path)


def test_real_recordings_with_silero(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("silero_vad", reason="needs the extra 'curation'")
    speech = shared_data / "speech"
    (tmp_path / "raw").mkdir()
    for path in (
        speech / "jfk.flac",
        speech / "silero_vad_tests/test.wav",
        *(speech / "common_voice_ur_22.0_delta/ur/clips").glob("*.mp3"),
    ):
        (tmp_path / "raw" / path.name).symlink_to(path)
    shutil.copy(speech / "jfk.flac", tmp_path / "raw/again.flac")
    (tmp_path / "raw/boiler.wav").symlink_to(next((speech / "arabic_speech_commands/background_noise").glob("*.wav")))
    done = run(tmp_path, keep=Thresholds(), measure=MeasureSettings())
    assert done.report["num_without_speech"] == 1  # the boiler
    assert done.report["measure"]["voice"] == "silero"
    kept = {s.file for s in done.segments if s.is_kept}
    assert {"again.flac", "test.wav"} <= kept
    assert "jfk.flac" not in kept
    assert sum(s.seconds for s in done.segments if s.file == "test.wav") > 50
    assert len([name for name in kept if name.startswith("common_voice_ur")]) >= 8


@pytest.mark.slow
def test_three_hours_in_one_file(tmp_path: Path, babble: Callable[..., Audio], pause: Callable[..., Audio]) -> None:
    """Measured in windows: hundreds of segments, and memory that an hour would need too."""
    (tmp_path / "raw").mkdir()
    minute = np.concatenate([part for n in range(4) for part in (babble(12.0, n), pause(3.0, n))])
    with soundfile.SoundFile(tmp_path / "raw/long.flac", "w", 16_000, 1, "PCM_16") as file:
        for number in range(180):
            file.write(np.roll(minute, 400 * number))
    from asr.curation.measuring import Measure

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row = Measure(ENERGY)({"path": str(tmp_path / "raw/long.flac")})
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert row["failure"] is None
    assert row["seconds"] == 10_800.0
    assert 700 <= len(row["segments"]) <= 730
    assert grown_mib < 250
