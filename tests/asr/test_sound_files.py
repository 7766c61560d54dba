"""Noise and rooms from files: levels, times, recordings that can't be read, and the real ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.augment import NOTHING, AugmentConfig, Surroundings, vary_audio
from asr.data import ToneDataConfig
from asr.features import FeatureSettings
from asr.sound_files import SoundFiles, add_noise, put_in_room
from signwave.errors import ConfigError, UserError
from signwave.sampling import Draw

OFF: dict[str, Any] = {"speed_range": 0.0, "gain_range_db": 0.0, "noise_probability": 0.0,
                       "num_time_masks_per_second": 0.0, "frequency_mask_share": 0.0}  # fmt: skip


def tone(seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * hz * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    folder = tmp_path / "noise"
    folder.mkdir()
    rng = np.random.default_rng(0)
    soundfile.write(folder / "long.wav", rng.normal(0, 0.1, 48000).astype(np.float32), 16000)
    soundfile.write(folder / "short.wav", rng.normal(0, 0.1, 300).astype(np.float32), 16000)
    return folder


def test_noise_is_mixed_at_the_ratio_asked_for(noises: Path) -> None:
    config = AugmentConfig(**{**OFF, "noise_probability": 1.0}, noise_snr_db_min=7.0, noise_snr_db_max=7.0,
                           noise_dir=str(noises))  # fmt: skip
    surroundings = Surroundings.of(config)
    audio, heard = tone(), set()
    for seed in range(8):
        noise = vary_audio(audio, config, np.random.default_rng(seed), surroundings=surroundings) - audio
        assert 10 * np.log10(np.mean(audio**2) / np.mean(noise**2)) == pytest.approx(7.0, abs=0.05)
        heard.add(bool(np.allclose(noise[:300], noise[300:600], atol=1e-4)))
    assert heard == {True, False}  # the short one is repeated, the long one isn't


def test_silent_noise_changes_nothing() -> None:
    assert np.array_equal(add_noise(tone(), np.zeros(16000, np.float32), 0.0), tone())


def test_recordings_that_cannot_be_read_are_passed_over(noises: Path, caplog: pytest.LogCaptureFixture) -> None:
    (noises / "a.wav").write_bytes(b"RIFF nothing")
    soundfile.write(noises / "b.wav", np.zeros(500, np.float32), 16000)
    files = SoundFiles(noises, setting="augment.noise_dir")
    lengths = {len(files.draw(np.random.default_rng(seed))) for seed in range(20)}
    assert lengths == {48000, 300}
    assert caplog.text.count("a.wav") == 1  # told once
    assert caplog.text.count("b.wav: is silent") == 1
    for name in ("long.wav", "short.wav"):
        (noises / name).unlink()
    with pytest.raises(UserError, match="none of its 2 recordings can be read"):
        SoundFiles(noises, setting="augment.noise_dir").draw(np.random.default_rng(0))


def test_a_stretch_begins_anywhere(noises: Path) -> None:
    (noises / "short.wav").unlink()
    files = SoundFiles(noises, setting="x")
    whole = files.draw(np.random.default_rng(0))
    starts = set()
    for seed in range(20):
        part = files.stretch(1000, np.random.default_rng(seed))
        (start,) = (i for i in np.flatnonzero(whole == part[0]) if np.array_equal(whole[i : i + 1000], part))
        starts.add(start)
    assert len(starts) > 15


@pytest.mark.parametrize("setting", ["noise_dir", "room_dir"])
def test_folders_without_recordings_are_refused(setting: str, tmp_path: Path) -> None:
    on = {"noise_probability": 0.5, "room_probability": 0.5, "room_dir": str(tmp_path)}
    with pytest.raises(ConfigError, match=rf"augment\.{setting}=.*: (no such folder|holds no recording)"):
        Surroundings.of(AugmentConfig(**{**on, "room_dir": "", "room_probability": 0.0, setting: "nowhere"})
                        if setting == "noise_dir" else AugmentConfig(**on))  # fmt: skip
    with pytest.raises(ConfigError, match=r"augment\.room_dir"):
        AugmentConfig(room_probability=0.5)
    assert Surroundings.of(AugmentConfig()) == NOTHING


def test_a_room_keeps_level_length_and_times() -> None:
    audio = np.zeros(8000, np.float32)
    audio[1000] = 0.5
    response = np.zeros(4000, np.float32)
    response[700], response[900] = 1.0, 0.5  # 700 samples until the sound arrives, then an echo
    wet = put_in_room(audio, response)
    assert len(wet) == 8000
    assert np.abs(wet).argmax() == 1000
    assert wet[1200] == pytest.approx(0.5 * wet[1000], rel=1e-4)
    assert np.mean(wet**2) == pytest.approx(np.mean(audio**2), rel=1e-4)
    plain = np.zeros(10, np.float32)
    plain[3] = -2.0
    assert np.allclose(put_in_room(tone(), plain), -tone(), atol=1e-5)


def test_real_rooms_and_noise(shared_data: Path) -> None:
    folder = shared_data / "speech" / "speechbrain_samples"
    augment = AugmentConfig(**{**OFF, "noise_probability": 1.0}, noise_dir=str(folder / "noise"),
                            room_probability=1.0, room_dir=str(folder / "RIRs"))  # fmt: skip
    data = ToneDataConfig(augment=augment).build(FeatureSettings("log_mel"), budget=3000)
    train = data.splits["train"]
    heard, again, other = train[Draw(0, 1)], train[Draw(0, 1)], train[Draw(0, 2)]
    assert np.array_equal(heard.features, again.features)
    assert not np.array_equal(heard.features, other.features)
    assert heard.features.shape == train.plain_item(0).features.shape
    assert bool(heard.features.isfinite().all())
