"""Any audio to mono at one rate: against whole-file computation, on odd and damaged files, in constant memory."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.errors import MediaError
from signwave.media.audio import iter_audio, probe_audio, read_audio, write_wav
from signwave.media.limits import Limits
from signwave.testing.corruption import encode_numbered, write_wave

ZOO = (
    *("common_voice_en_651325.mp3", "mono_c0.opus", "stereo.mp3", "stereo.opus", "stereo.sph", "stereo.wav"),
    *("ljspeech/storage/LJ002-0020.wav", "mix_cut_test/audio/storage/2412-153948-0000.flac"),
    "big_buck_bunny_small.mp4",
)


def chirp(seconds: float, rate_hz: int, *, low_hz: float = 100, high_hz: float = 3000) -> np.ndarray:
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * (low_hz * time + (high_hz - low_hz) * time**2 / (2 * seconds))
    return (0.5 * np.sin(phase)).astype(np.float32)


def write_aac(path: Path, audio: np.ndarray, rate_hz: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(audio[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("num_channels", [1, 2, 6])
def test_any_rate_and_channels(rate_hz: int, num_channels: int, tmp_path: Path) -> None:
    gains = np.linspace(0.5, 1, num_channels, dtype=np.float32)
    stored = chirp(1.3, rate_hz)[:, None] * gains
    soundfile.write(tmp_path / "a.wav", stored, rate_hz, subtype="FLOAT")
    audio = read_audio(tmp_path / "a.wav")
    assert audio.dtype == np.float32
    assert audio.shape == (round(len(stored) * 16000 / rate_hz),)
    expected = chirp(1.3, 16000)[: len(audio)] * gains.mean()
    # The filter rings at the ends of the file, nowhere else.
    np.testing.assert_allclose(audio[800:-800], expected[800:-800], atol=2e-3)
    info = probe_audio(tmp_path / "a.wav")
    assert (info.rate_hz, info.num_channels, info.num_samples) == (rate_hz, num_channels, round(1.3 * rate_hz))


def test_equals_one_shot_resampling(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).uniform(-0.3, 0.3, 100_003).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", stored, 44100, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), soxr.resample(stored, 44100, 16000), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(start=st.floats(0, 2.4), length=st.floats(0.01, 2), rate_hz=st.sampled_from([8000, 16000, 22050, 44100, 44101]))
def test_spans_are_cut_from_the_whole(
    start: float, length: float, rate_hz: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"span_{rate_hz}.wav"
    if not path.exists():
        rng = np.random.default_rng(rate_hz)
        soundfile.write(path, rng.uniform(-0.3, 0.3, round(2.5 * rate_hz)), rate_hz, subtype="FLOAT")
    whole = read_audio(path)
    part = read_audio(path, start_seconds=start, end_seconds=start + length)
    first, stop = round(start * 16000), min(round((start + length) * 16000), len(whole))
    assert len(part) == stop - first
    np.testing.assert_allclose(part, whole[first:stop], atol=2e-5)


@pytest.mark.parametrize("name", ZOO)
def test_formats(name: str, shared_data: Path) -> None:
    path = shared_data / "speech/formats" / name
    info, whole = probe_audio(path), read_audio(path)
    assert abs(len(whole) / 16000 - info.duration_seconds) < 0.02
    assert 0.001 < np.abs(whole).max() <= 1
    first, stop = len(whole) * 3 // 10, len(whole) * 7 // 10
    part = read_audio(path, start_seconds=first / 16000, end_seconds=stop / 16000)
    np.testing.assert_allclose(part, whole[first:stop], atol=1e-4)
    np.testing.assert_array_equal(np.concatenate(list(iter_audio(path, chunk_seconds=0.31))), whole)


def test_the_sound_of_a_video_by_span(tmp_path: Path) -> None:
    path = write_aac(tmp_path / "a.mp4", chirp(6, 44100), 44100)
    whole = read_audio(path)
    assert abs(len(whole) - 6 * 16000) < 2000
    part = read_audio(path, start_seconds=4.0, end_seconds=4.5)
    assert part.shape == (8000,)
    np.testing.assert_allclose(part, whole[64000:72000], atol=1e-3)
    # The coder's delay is taken off: the best match with what went in is where it was.
    original = chirp(6, 16000)
    lags = range(-50, 51)
    scores = [float(whole[32000 + lag : 64000 + lag] @ original[32000:64000]) for lag in lags]
    assert lags[int(np.argmax(scores))] == 0


def test_chunks(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", chirp(2.55, 22050), rate_hz=22050)
    chunks = list(iter_audio(path, chunk_seconds=0.5))
    assert [len(chunk) for chunk in chunks] == [8000] * 5 + [800]
    np.testing.assert_array_equal(np.concatenate(chunks), read_audio(path))
    long = list(iter_audio(path, chunk_seconds=60, start_seconds=1, rate_hz=8000))
    assert [len(chunk) for chunk in long] == [round(2.55 * 8000) - 8000]
    with pytest.raises(ValueError, match="chunk_seconds"):
        next(iter_audio(path, chunk_seconds=0))


def test_a_short_span_of_a_long_file_reads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wave(tmp_path / "long.wav", np.zeros(8000 * 600, np.int16), rate_hz=8000)
    counted = []
    read = soundfile.SoundFile.read

    def counting(self: soundfile.SoundFile, frames: int, **options: object) -> np.ndarray:
        counted.append(frames)
        return read(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    assert len(read_audio(path, start_seconds=500, end_seconds=505)) == 80000
    assert sum(counted) < 6 * 8000


def test_a_header_without_samples_is_a_valid_empty_result(tmp_path: Path) -> None:
    path = write_wave(tmp_path / "empty.wav", np.zeros(0, np.int16))
    assert path.stat().st_size == 44
    audio = read_audio(path)
    assert audio.shape == (0,)
    assert audio.dtype == np.float32
    assert list(iter_audio(path, chunk_seconds=1)) == []
    assert probe_audio(path).duration_seconds == 0


def test_ten_milliseconds_and_silence(tmp_path: Path) -> None:
    assert read_audio(write_wave(tmp_path / "short.wav", np.ones(441, np.int16), rate_hz=44100)).shape == (160,)
    assert read_audio(write_wave(tmp_path / "one.wav", np.ones(1, np.int16), rate_hz=8000)).shape == (2,)
    silence = read_audio(write_wave(tmp_path / "silence.wav", np.zeros(8000, np.int16), rate_hz=8000))
    assert silence.shape == (16000,)
    assert not silence.any()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.mp4", "a"])
def test_no_audio_at_all(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(MediaError, match=f"{name}: is an empty file") as caught:
        read_audio(path)
    assert caught.value.kind == "empty"
    for seed in range(5):
        path.write_bytes(np.random.default_rng(seed).bytes(20_000))
        with pytest.raises(MediaError, match=name):
            read_audio(path)


def test_a_video_without_sound(tmp_path: Path) -> None:
    path = encode_numbered(tmp_path / "mute.mp4", 10)
    for call in (read_audio, probe_audio):
        with pytest.raises(MediaError, match="no audio track") as caught:
            call(path)
        assert caught.value.kind == "no_stream"


def test_cut_off_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stored = rng.uniform(-0.5, 0.5, 80000).astype(np.float32)
    for name in ("a.wav", "a.flac"):
        path = tmp_path / name
        soundfile.write(path, stored, 16000, subtype="PCM_16")
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(MediaError, match="of 80000 samples") as caught:
            read_audio(path)
        assert caught.value.kind == "truncated"
        assert 30000 < (caught.value.frames_obtained or 0) < 50000
        assert 30000 < len(read_audio(path, on_short="keep")) < 50000
        assert len(read_audio(path, start_seconds=0, end_seconds=1)) == 16000
    path = write_aac(tmp_path / "a.mp4", stored, 16000)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(MediaError, match=r"a\.mp4"):
        read_audio(path)


def test_a_wav_from_a_pipe_announces_nothing(tmp_path: Path) -> None:
    data = bytearray(write_wave(tmp_path / "a.wav", np.ones(16000, np.int16)).read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav")) == 16000


def test_samples_that_are_no_number(tmp_path: Path) -> None:
    stored = chirp(1, 16000)
    stored[[5, 700]] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", stored, 16000, subtype="FLOAT")
    with pytest.raises(MediaError, match="2 of 16000 samples are not finite"):
        read_audio(tmp_path / "a.wav")
    audio = read_audio(tmp_path / "a.wav", on_nan="zero")
    assert np.isfinite(audio).all()
    assert audio[5] == audio[700] == 0
    soundfile.write(tmp_path / "b.wav", 32768 * chirp(1, 16000), 16000, subtype="FLOAT")
    with pytest.raises(MediaError, match="up to 16384; scale it"):
        read_audio(tmp_path / "b.wav")
    soundfile.write(tmp_path / "c.wav", 3 * chirp(1, 16000), 16000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "c.wav")).max() == 1


def test_caps(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "bomb.flac", np.zeros(16000 * 900, np.int16), 16000)
    assert (tmp_path / "bomb.flac").stat().st_size < 200_000
    for call in (read_audio, probe_audio):
        with pytest.raises(MediaError, match="900 s, over the limit max_seconds=600") as caught:
            call(tmp_path / "bomb.flac", limits=Limits(max_seconds=600))
        assert caught.value.kind == "too_large"
    soundfile.write(tmp_path / "wide.wav", np.zeros((100, 40), np.int16), 16000)
    with pytest.raises(MediaError, match="40 channels"):
        read_audio(tmp_path / "wide.wav")
    with pytest.raises(MediaError, match="max_bytes"):
        read_audio(tmp_path / "bomb.flac", limits=Limits(max_bytes=1000))


def test_wrong_arguments_and_spans(tmp_path: Path) -> None:
    path = write_wave(tmp_path / "a.wav", np.zeros(16000, np.int16))
    with pytest.raises(ValueError, match="start < end"):
        read_audio(path, start_seconds=2, end_seconds=1)
    with pytest.raises(ValueError, match="rate_hz"):
        read_audio(path, rate_hz=0)
    with pytest.raises(MediaError, match=r"1\.00 s long") as caught:
        read_audio(path, start_seconds=1.5)
    assert caught.value.kind == "empty"
    assert len(read_audio(path, end_seconds=7)) == 16000


def test_write_wav_round_trip(tmp_path: Path) -> None:
    audio = np.asarray([0, 0.5, -0.5, 1, -1, 3], np.float32)
    path = write_wav(tmp_path / "new/a.wav", audio)
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (1, 16000, 2)
    np.testing.assert_allclose(read_audio(path), audio.clip(-1, 1), atol=1e-4)
    with pytest.raises(ValueError, match=r"\(S,\)"):
        write_wav(path, np.zeros((2, 5), np.float32))
    assert [entry.name for entry in path.parent.iterdir()] == ["a.wav"]


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(8000 * 1200, np.int16), 8000)
    tracemalloc.start()
    total = sum(len(chunk) for chunk in iter_audio(path, chunk_seconds=5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 1200 * 16000
    assert peak < 4_000_000


def test_header_only_formats_do_not_crash_the_wav_parser(tmp_path: Path) -> None:
    for body in (b"RIFF", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEfmt ", b"RIFF\0\0\0\0WAVEdata\xff\xff\xff\x7f"):
        path = tmp_path / "a.wav"
        path.write_bytes(body + bytes(2))
        with pytest.raises(MediaError, match=r"a\.wav"):
            read_audio(path)


def test_a_short_span_in_the_missing_end_of_a_long_file_is_an_error(tmp_path):
    """One per cent of ten minutes is six seconds: a share of the whole file would let the whole span vanish."""
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(8000 * 600, dtype=np.int16), 8000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 2 * 8000 * 4])
    assert len(read_audio(path, rate_hz=8000)) == 596 * 8000
    with pytest.raises(MediaError, match="samples can be decoded") as caught:
        read_audio(path, start_seconds=595, end_seconds=600, rate_hz=8000)
    assert caught.value.kind == "truncated"
