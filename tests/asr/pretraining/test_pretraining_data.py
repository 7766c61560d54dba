"""Crops, and clips that are silent, short, long or damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from asr.features import FeatureSettings
from asr.pretraining.data import PretrainingDataConfig, PretrainingDataset
from signwave import manifest
from signwave.errors import ConfigError, MediaError
from signwave.manifest import Clip
from signwave.sampling import Draw
from signwave.training.mixed_data import MixedData

WAVEFORM = FeatureSettings("waveform")


def ramp_clip(folder, seconds, *, name="ramp"):
    """A file whose samples tell their place."""
    size = int(seconds * 16000)
    path = folder / f"{name}.wav"
    soundfile.write(path, np.linspace(-1, 1, size, dtype=np.float32), 16000, subtype="FLOAT")
    return Clip(id=name, path=str(path), kind="audio", num_frames=size, rate_hz=16000.0, language="fa")


def test_a_crop_is_a_place_of_the_clip_that_the_seed_chooses(tmp_path):
    clip = ramp_clip(tmp_path, 60)
    dataset = PretrainingDataset([clip], settings=FeatureSettings("waveform", normalise=False), max_seconds=2.0)
    assert dataset.lengths == [32000]
    crops = [dataset[Draw(0, seed)] for seed in (1, 1, 2)]
    assert all(len(crop.features) == 32000 for crop in crops)
    assert torch.equal(crops[0].features, crops[1].features)
    assert not torch.equal(crops[0].features, crops[2].features)
    starts = [float(dataset[Draw(0, seed)].features[0]) for seed in range(60)]
    assert min(starts) < -0.85
    assert max(starts) > 0.8
    assert all(torch.allclose(crop.features.diff(), crop.features.diff()[0], atol=1e-6) for crop in crops)


def test_a_crop_stays_inside_its_span_of_the_file(tmp_path):
    whole = ramp_clip(tmp_path, 60)
    clip = Clip(id="part", path=whole.path, kind="audio", start_seconds=30.0, end_seconds=35.0, language="fa")
    dataset = PretrainingDataset([clip], settings=FeatureSettings("waveform", normalise=False), max_seconds=2.0)
    values = torch.cat([dataset[Draw(0, seed)].features for seed in range(40)])
    assert float(values.min()) >= 0.0
    assert float(values.max()) <= 2 * 35 / 60 - 1 + 1e-4


def test_of_a_three_hour_file_only_the_crop_is_decoded(tmp_path):
    """Decoding all of it would be 172.8 million samples."""
    size = 3 * 3600 * 16000
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 16000, 1, subtype="PCM_16") as file:
        block = (np.random.default_rng(0).standard_normal(size // 100) * 3000).astype(np.int16)
        for _ in range(100):
            file.write(block)
    clip = Clip(id="long", path=str(path), kind="audio", num_frames=size, rate_hz=16000.0)
    seen = []

    def read(span):
        from asr.data import read_clip

        audio = read_clip(span)
        seen.append(len(audio))
        return audio

    dataset = PretrainingDataset([clip], settings=WAVEFORM, max_seconds=20.0, read=read, cache_hours=1.0)
    for seed in range(5):
        assert len(dataset[Draw(0, seed)].features) == 320_000
    assert seen == [320_000] * 5
    assert dataset.hours == pytest.approx(3.0)


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_a_silent_clip_is_refused_by_name(tmp_path, level):
    audio = np.random.default_rng(0).standard_normal(32000) * level + 0.2
    soundfile.write(tmp_path / "dead.wav", audio, 16000, subtype="FLOAT")
    clip = Clip(id="dead", path=str(tmp_path / "dead.wav"), kind="audio", num_frames=32000, rate_hz=16000.0)
    dataset = PretrainingDataset([clip], settings=WAVEFORM, max_seconds=20.0)
    with pytest.raises(MediaError, match=r"dead.wav: clip 'dead' is silent"):
        dataset[Draw(0, 0)]


def test_bad_clips_are_counted_and_dont_take_the_batch_with_them(tmp_path):
    clips = [ramp_clip(tmp_path, 3, name=f"good-{number}") for number in range(18)]
    soundfile.write(tmp_path / "dead.wav", np.zeros(48000), 16000)
    (tmp_path / "torn.wav").write_bytes(b"RIFF not a wav at all")
    for name in ("dead", "torn"):
        clips.append(Clip(id=name, path=str(tmp_path / f"{name}.wav"), kind="audio", num_frames=48000, rate_hz=16000.0))
    clips.append(ramp_clip(tmp_path, 0.01, name="tiny"))
    for split in ("train", "dev"):
        manifest.write(tmp_path / f"{split}.jsonl.gz", [clip.seen_from(tmp_path) for clip in clips])
    data = PretrainingDataConfig(manifest_dir=str(tmp_path)).build(WAVEFORM, with_targets=True, budget=200_000)
    assert len(data.splits["train"]) == 20, "the one of 10 ms is left out"
    data.num_train_batches = len(data.sampler("train"))
    ids = [name for batch in data.train_dataloader() for name in batch.ids]
    assert sorted(ids) == sorted(f"good-{number}" for number in range(18))
    assert len(data.items["train"].bad) == 2
    batch = next(iter(data.val_dataloader()))
    batch.check()
    assert batch.targets.shape == (len(batch), 149, 160)


def test_targets_of_shorter_clips_repeat_their_last_frame(tmp_path):
    dataset = PretrainingDataset(
        [ramp_clip(tmp_path, 3, name="a"), ramp_clip(tmp_path, 2, name="b")],
        settings=WAVEFORM, max_seconds=20.0, with_targets=True,
    )  # fmt: skip
    items = [dataset[Draw(0, 1)], dataset[Draw(1, 2)]]
    batch = dataset.collate(items)
    assert batch.seeds == (1, 2)
    assert batch.num_frames.tolist() == [48000, 32000]
    assert torch.equal(batch.targets[1, len(items[1].targets) :], items[1].targets[-1].expand(50, -1))
    assert float(batch.inputs[1, 32000:].abs().max()) == 0.0


def test_missing_and_useless_folders_say_what_to_do(tmp_path):
    config = PretrainingDataConfig(manifest_dir=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"no train.jsonl.gz there; make it with: asr prepare CORPUS RAW_DIR"):
        config.clips(config.manifest_dir, "train")
    manifest.write(tmp_path / "train.jsonl.gz", [ramp_clip(tmp_path, 1).seen_from(tmp_path)])
    with pytest.raises(ConfigError, match=r"none of 1 clips lasts data.min_seconds=2"):
        config.clips(str(tmp_path), "train")
    with pytest.raises(ConfigError, match="has no length"):
        PretrainingDataset([Clip(id="x", path="x.wav", kind="audio")], settings=WAVEFORM, max_seconds=2)


def test_held_out_clips_are_thinned_evenly(tmp_path):
    clips = [ramp_clip(tmp_path, 2, name=f"c{number}") for number in range(10)]
    config = PretrainingDataConfig(max_held_out_seconds=7.0)
    assert [clip.id for clip in config._held_out(clips)] == ["c0", "c3", "c6", "c9"]
    assert config._held_out(clips[:3]) == clips[:3]


def test_replay_reads_train_and_dev_of_each_donor(tmp_path):
    for name, language in (("target", "fa"), ("donor", "hi")):
        folder = tmp_path / name
        folder.mkdir()
        clips = [ramp_clip(folder, 2, name=f"{name}-{number}") for number in range(4)]
        for split in ("train", "dev"):
            manifest.write(folder / f"{split}.jsonl.gz", [
                Clip(**{**json.loads(manifest.dump_line(clip.seen_from(folder))), "language": language})
                for clip in clips
            ])  # fmt: skip
    config = PretrainingDataConfig(
        manifest_dir=str(tmp_path / "target"), replay_dirs={"hindi": str(tmp_path / "donor")}, replay_share=0.5
    )
    data = config.build(WAVEFORM, with_targets=False, budget=32_000)
    assert isinstance(data, MixedData)
    assert {clip.language for clip in data.splits["val"].clips} == {"fa", "hi"}
    data.num_train_batches = 8
    languages = [batch.languages[0] for batch in data.train_dataloader()]
    assert languages.count("hi") == languages.count("fa") == 4


def test_real_speech_gives_batches(shared_data):
    files = sorted((shared_data / "speech" / "speechbrain_samples").rglob("*.wav"))[:4]
    if not files:
        pytest.skip("no speechbrain samples in the shared data")
    from signwave.media.audio import probe_audio

    clips = []
    for path in files:
        info = probe_audio(path)
        clips.append(Clip(id=path.stem, path=str(path), kind="audio", num_frames=info.num_samples,
                          rate_hz=float(info.rate_hz)))  # fmt: skip
    dataset = PretrainingDataset(clips, settings=WAVEFORM, max_seconds=3.0, with_targets=True)
    batch = dataset.collate([dataset[Draw(number, number)] for number in range(len(clips))])
    batch.check()
    for row, size in enumerate(batch.num_frames.tolist()):
        assert float(batch.inputs[row, :size].std()) == pytest.approx(1.0, abs=0.01)
