"""Caches of windows: what is chosen is what is stored, and interruptions, bad clips and odd ids do no harm."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from signwave import bundle, command, manifest
from signwave.errors import ArtefactError, ConfigError, ManifestError, MediaError
from signwave.manifest import Clip
from signwave.media.video import write_video
from slr.features.building import build
from slr.features.cache import CachedFeatures, FeatureCache
from slr.features.recipe import FeatureCorpusConfig
from slr.features.window_encoders import WindowEncoder, load_window_encoder
from slr.features.windows import SlidingWindows, select
from slr.isolated.model import IsolatedSigns
from slr.models.keypoint_conformer import KeypointConformerConfig
from slr.reading import Reading
from slr.retrieval.streams import Stream, StreamConfig, Streams, join_streams

WINDOWS = SlidingWindows(most=6)
POSES = Path(__file__).parents[3] / "shared" / "data" / "sign" / "poses" / "mediapipe.pose"


class Means(WindowEncoder):
    """The mean of a window: an encoder that a test can work out."""

    def __init__(self, *, reads: Any = "keypoints", rate_hz: float | None = None) -> None:
        super().__init__()
        self.reads, self.rate_hz, self.dim, self.window_frames = reads, rate_hz, 3, 16
        self.size_px = (8, 8) if "frames" in reads else None
        self.scale = nn.Parameter(torch.ones(1))

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": "means", "name": "means", "dim": 3}

    def _encode(self, windows: Tensor, points: Tensor | None) -> Tensor:
        means = windows.float().mean((1, 3, 4)) if "frames" in self.reads else windows.mean((1, 2))
        return means if points is None else means + points.mean((1, 2))


def points_of(clip: Clip) -> NDArray[np.float32]:
    if "bad" in clip.id:
        raise MediaError(clip.path, "is no pose file")
    size = 0 if "none" in clip.id else 5 if "short" in clip.id else 20 + 7 * len(clip.id)
    return np.random.default_rng(len(clip.id)).normal(size=(size, 63, 3)).astype(np.float32)


def frames_of(clip: Clip) -> NDArray[np.uint8]:
    return np.random.default_rng(len(clip.id)).integers(0, 256, (30, 3, 8, 8), dtype=np.uint8)


def clips_of(*ids: str) -> list[Clip]:
    return [Clip(id=name, path=f"{name}.pose", kind="pose") for name in ids]


def make(folder: Path, clips: list[Clip], windows: SlidingWindows = WINDOWS, **options: Any) -> Any:
    return build(clips, Means(), folder, windows=windows, read_frames=points_of, **options)


def test_the_chosen_windows_are_stored(tmp_path: Path) -> None:
    clips = clips_of("-a", "bbbb", "short")
    assert make(tmp_path, clips).num_done == 3
    cache = FeatureCache.open(tmp_path)
    assert (cache.windows, cache.dim, cache.stride, cache.header.rate_hz) == (WINDOWS, 3, 1, 25.0)
    for clip in clips:
        points = points_of(clip)
        padded = np.concatenate([points, np.repeat(points[-1:], max(0, 16 - len(points)), axis=0)])
        expected = [padded[start : start + 16].mean((0, 1)) for start in WINDOWS.chosen(len(points))]
        np.testing.assert_allclose(cache.get(clip), expected, atol=1e-3)
        assert cache.get(clip).dtype == np.float16
        assert isinstance(cache.get(clip), np.memmap)
        assert cache.num_frames(clip) == len(points)
    assert cache.num_steps(clips[2]) == 1
    content = json.loads((tmp_path / "cache.json").read_text())
    assert content["windows"] == {"window_frames": 16, "stride": 1, "most": 6}
    cache.verify()


def test_a_bad_clip_is_named_and_a_second_run_makes_only_what_lacks(tmp_path: Path) -> None:
    first = make(tmp_path, clips_of("a", "bad", "cc", "none"))
    told = "none.pose: has no frame in its span; prepare the corpus again"
    assert first.problems == {"bad": "bad.pose: is no pose file", "none": told}
    again = make(tmp_path, clips_of("a", "cc", "ddd"))
    assert (again.num_done, again.num_skipped) == (1, 2)
    with pytest.raises(ManifestError, match="'a' occurs more than once"):
        make(tmp_path, clips_of("a", "a"))
    assert sorted(FeatureCache.open(tmp_path).ids) == ["a", "cc", "ddd"]


def test_other_windows_are_other_features(tmp_path: Path) -> None:
    make(tmp_path, clips_of("a"))
    told = r"holds other features \(windows of 16 frames, stride 1, all instead of .* at most 6\)"
    with pytest.raises(ArtefactError, match=told):
        make(tmp_path, clips_of("a"), SlidingWindows(most=None))
    with pytest.raises(ConfigError, match="windows of 8 frames, stride 1, all: the encoder takes windows of 16 frames"):
        make(tmp_path / "other", clips_of("a"), SlidingWindows(8, 1, None))
    with pytest.raises(ConfigError, match="25 frames a second: the encoder was trained at 30; give --rate-hz 30"):
        build(clips_of("a"), Means(rate_hz=30.0), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_cache_of_windows_is_not_one_of_steps(tmp_path: Path) -> None:
    make(tmp_path, clips_of("a"))
    told = r"holds windows of 16 frames, .* which retrieval reads; make features of steps"
    with pytest.raises(ArtefactError, match=told):
        CachedFeatures(FeatureCache.open(tmp_path))
    with pytest.raises(ArtefactError, match=told):
        FeatureCorpusConfig(features_dir=str(tmp_path)).open()


def test_a_cache_of_all_windows_serves_any_choice(tmp_path: Path) -> None:
    clips = clips_of("a", "bbbbbbb", "short")
    make(tmp_path / "all", clips, SlidingWindows(most=None))
    make(tmp_path / "few", clips)
    every, few = FeatureCache.open(tmp_path / "all"), FeatureCache.open(tmp_path / "few")
    for clip in clips:
        np.testing.assert_array_equal(every.select(clip, WINDOWS), few.get(clip))
        np.testing.assert_array_equal(select(every.get(clip), WINDOWS, every.num_frames(clip)), few.get(clip))
        sparse = SlidingWindows(16, 4, None)
        starts = sparse.starts(every.num_frames(clip))
        np.testing.assert_array_equal(every.select(clip, sparse), every.get(clip)[starts])
    with pytest.raises(ArtefactError, match=r"at most 6\) lack some of .* `slr features … --stride 1 --most 0`"):
        few.select(clips[0], SlidingWindows(most=None))


def test_crops_are_variants_of_frames_alone(tmp_path: Path) -> None:
    clips = clips_of("a", "bb")
    build(clips, Means(reads="frames"), tmp_path, windows=WINDOWS, read_frames=frames_of, num_variants=3, flip=0.5)
    cache = FeatureCache.open(tmp_path)
    plain, *crops = (cache.get(clips[0], variant=variant).astype(np.float32) for variant in range(3))
    expected = frames_of(clips[0])[WINDOWS.frames(30)].mean((1, 3, 4))
    np.testing.assert_allclose(plain, expected, atol=0.1)
    assert all(0.5 < np.abs(plain - other).max() < 60 for other in crops)
    with pytest.raises(ConfigError, match="3 variants: they are crops of pictures, and this encoder reads keypoints"):
        make(tmp_path / "other", clips, num_variants=3)


def test_two_streams_need_keypoints(tmp_path: Path) -> None:
    def read(clip: Clip) -> Reading:
        points = None if clip.id == "a" else np.ones((30, 63, 3), np.float32)
        return Reading(frames_of(clip), points, 1.2)

    clips = clips_of("a", "bb")
    built = build(clips, Means(reads="frames+keypoints"), tmp_path, windows=WINDOWS, read_frames=read)
    assert list(built.problems) == ["a"]
    assert "has no keypoints beside it, and this encoder reads both" in built.problems["a"]
    expected = frames_of(clips[1])[WINDOWS.frames(30)].mean((1, 3, 4)) + 1
    np.testing.assert_allclose(FeatureCache.open(tmp_path).get(clips[1]), expected, atol=0.1)


NUM_KILLED = 200
KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import test_feature_windows as t

def slow(clip):
    time.sleep(0.02)
    return t.points_of(clip)

t.build(t.clips_of(*[f"clip{{i}}" for i in range(t.NUM_KILLED)]), t.Means(), Path(sys.argv[1]), windows=t.WINDOWS,
        read_frames=slow, shard_bytes=200)
"""


def test_a_killed_build_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    """Twice in a row, the second one going on where the first was killed."""
    clips = clips_of(*[f"clip{i}" for i in range(NUM_KILLED)])
    script, done = KILLED.format(here=str(Path(__file__).parent)), 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "killed")])
        before, deadline = done, time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            done = len(list((tmp_path / "killed").glob("shard-*.json")))
            if done >= before + 3:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(ArtefactError, match="its build was broken off after"):
            FeatureCache.open(tmp_path / "killed")
    done = len(FeatureCache.open(tmp_path / "killed", partial=True))
    assert 6 <= done < NUM_KILLED
    rest = make(tmp_path / "killed", clips)
    assert rest.num_skipped == done
    assert rest.num_done + rest.num_skipped == NUM_KILLED
    make(tmp_path / "whole", clips)
    killed, whole = (FeatureCache.open(tmp_path / name) for name in ("killed", "whole"))
    for clip in clips:
        np.testing.assert_array_equal(killed.get(clip), whole.get(clip))
    killed.verify()
    assert not list((tmp_path / "killed").glob(".tmp-*"))


def save_run(folder: Path) -> Path:
    """An untrained recogniser of isolated signs from keypoints."""
    sizes: Any = {"dim": 16, "group_dim": 8, "num_heads": 2, "num_blocks": 1}
    from dataclasses import asdict

    trunk = {**asdict(KeypointConformerConfig(**sizes)), "vocab_size": 2}
    config: dict[str, Any] = {"trunk_kind": "slr.keypoint_conformer", "trunk": trunk, "num_classes": {"a": 3}}
    torch.manual_seed(0)
    info = {"rate_hz": 30.0, "window_frames": 16}
    bundle.save(folder / "bundle", kind="slr.isolated", model=IsolatedSigns(**config), config=config, info=info)
    return folder


def run_features(arguments: list[str]) -> int:
    import typer

    from slr.commands.features import features

    app = typer.Typer()
    app.command()(features)
    return command.run(lambda **options: app(arguments, **options))


def test_the_command_encodes_windows_of_poses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not POSES.is_file():
        pytest.skip(f"{POSES.name} isn't in ../shared/data")
    (tmp_path / "broken.pose").write_bytes(b"no poses")
    whole = Clip(id="-starts-with-a-dash", path=str(POSES), kind="pose")
    clips = [
        whole,
        replace(whole, id="short", start_seconds=0.2, end_seconds=0.4),
        Clip(id="broken", path="broken.pose", kind="pose"),
        Clip(id="video", path="video.mp4", kind="video", poses_path=str(POSES)),
    ]
    manifest.write(tmp_path / "train.jsonl", clips)
    run, out = save_run(tmp_path / "run"), tmp_path / "cache"
    arguments = [str(tmp_path / "train.jsonl"), str(out), "--encoder", f"isolated:{run}", "--most", "8"]
    arguments += ["--device", "cpu", "--quiet"]
    assert run_features([*arguments, "--dry-run"]) == command.EXIT_DONE
    assert "windows of 16 frames, stride 1, at most 8, into" in capsys.readouterr().out
    assert run_features(arguments) == command.EXIT_SOME_FAILED
    captured = capsys.readouterr()
    assert "3 clips encoded" in captured.out
    assert "failed: broken:" in captured.err
    cache = FeatureCache.open(out)
    assert (cache.windows, cache.header.rate_hz) == (SlidingWindows(most=8), 30.0)
    assert [cache.num_steps(clip) for clip in clips if clip.id != "broken"] == [8, 1, 8]
    np.testing.assert_array_equal(cache["video"], cache["-starts-with-a-dash"])
    assert cache.header.encoder_digest == load_window_encoder(f"isolated:{run}").digest()
    np.testing.assert_allclose(np.linalg.norm(cache["video"].astype(np.float32), axis=1), 1, atol=1e-2)
    assert run_features([*arguments, "--rate-hz", "25"]) == command.EXIT_FAILED
    assert "trained at 30; give --rate-hz 30" in capsys.readouterr().err


def test_the_command_encodes_windows_of_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name, size in (("short", 6), ("long", 40)):
        write_video(tmp_path / f"{name}.mp4", rng.integers(0, 256, (size, 3, 32, 48), dtype=np.uint8), fps=25)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    clips = [Clip(id=name, path=f"{name}.mp4", kind="video") for name in ("short", "long", "broken")]
    manifest.write(tmp_path / "train.jsonl", clips)
    out = tmp_path / "cache"
    start = [str(tmp_path / "train.jsonl"), str(out), "--encoder", "torchvision:resnet18", "--weights", "random"]
    start += ["--device", "cpu", "--quiet"]
    arguments = [*start, "--window", "16", "--stride", "2", "--most", "3"]
    assert run_features(arguments) == command.EXIT_SOME_FAILED
    assert "failed: broken:" in capsys.readouterr().err
    cache = FeatureCache.open(out)
    assert cache.windows == SlidingWindows(16, 2, 3)
    assert (cache["short"].shape, cache["long"].shape) == ((1, 512), (3, 512))
    assert run_features(start) == command.EXIT_FAILED  # steps into a folder of windows
    assert "holds other features" in capsys.readouterr().err
    assert run_features([*arguments, "--window-frames", "8"]) == command.EXIT_FAILED
    assert "windows take --window alone" in capsys.readouterr().err


def test_streams_lie_beside_each_other_and_an_absent_one_is_zero(tmp_path: Path) -> None:
    make(tmp_path / "one", clips_of("a", "both"))
    make(tmp_path / "two", clips_of("both"))
    configs = {name: StreamConfig(str(tmp_path / name)) for name in ("one", "two")}
    streams = Streams.open(configs, max_tokens=4)
    assert streams.dims == [3, 3]
    alone, both, neither = clips_of("a", "both", "c")
    assert streams.read(alone).shape == (4, 6)
    assert not streams.read(alone)[:, 3:].any()
    np.testing.assert_array_equal(streams.read(both)[:, :3], streams.read(both)[:, 3:])
    assert streams.has(alone)
    assert not streams.has(neither)
    assert streams.info()["streams"][0]["windows"] == {"window_frames": 16, "stride": 1, "most": 6}


def test_streams_of_other_lengths_are_refused() -> None:
    parts = [np.ones((5, 2), np.float32), np.ones((9, 3), np.float32)]
    with pytest.raises(Exception, match="'x' has 5 and 9 windows in its streams"):
        join_streams(parts, [2, 3], max_tokens=64, clip_id="x")
    assert join_streams([parts[0], parts[1][:6]], [2, 3], max_tokens=64, clip_id="x").shape == (5, 5)
    with pytest.raises(Exception, match="has no features in any stream"):
        join_streams([None, None], [2, 3], max_tokens=64, clip_id="x")


def test_two_encoders_are_fused(tmp_path: Path) -> None:
    make(tmp_path / "one", clips_of("a"))
    cache = FeatureCache.open(tmp_path / "one")
    (clip,) = clips_of("a")
    mixed, beside = (Stream("s", (cache, cache), 0.8, mode) for mode in ("mix", "concatenate"))
    np.testing.assert_allclose(mixed.read(clip), np.asarray(cache.get(clip), np.float32), atol=1e-6)
    assert (mixed.dim, beside.dim) == (3, 6)
    assert beside.read(clip).shape == (6, 6)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="allowed are mix and concatenate"):
        StreamConfig("x", fusion="sum")
