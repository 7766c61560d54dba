"""The feature cache: what is written comes back, what was broken off or belongs to something else is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from signwave.errors import ArtefactError, ManifestError, MediaError
from signwave.manifest import Clip
from slr.features.building import build
from slr.features.cache import CachedFeatures, FeatureCache, variant_of
from slr.features.encoders import EncoderSpec, Features, FrameEncoder
from slr.features.encoding import crop
from slr.models.masking import conv_steps


class MeanColours(FrameEncoder):
    """Every second frame's mean red, green and blue: an encoder that a test can work out."""

    def __init__(self, *, scale: float = 1.0) -> None:
        nn.Module.__init__(self)
        self.spec = EncoderSpec("torchvision", "colours", 8, 8, (0, 0, 0), (1, 1, 1), dim=3, stride=2)
        self.stride, self.dim = 2, 3
        self.backbone = nn.Module()
        self.backbone.register_buffer("scale", torch.tensor([scale]))

    def forward(self, frames: Tensor, num_frames: Tensor) -> Features:
        scale = self.backbone.get_buffer("scale")
        return Features(frames[:, ::2].float().mean((3, 4)) * scale, conv_steps(num_frames, 2))


def frames_of(clip: Clip) -> NDArray[np.uint8]:
    if "bad" in clip.id:
        raise MediaError(clip.path, "is an empty file")
    rng = np.random.default_rng(len(clip.id) + round(10 * clip.start_seconds))
    return rng.integers(0, 256, (5 + len(clip.id), 3, 8, 8), dtype=np.uint8)


def expected(clip: Clip) -> NDArray[np.float16]:
    return frames_of(clip)[::2].mean((2, 3)).astype(np.float16)


def clips_of(*ids: str) -> list[Clip]:
    return [Clip(id=name, path=f"{name}.mp4", kind="video") for name in ids]


def make(folder: Path, clips: list[Clip], **options: object) -> object:
    return build(clips, MeanColours(), folder, read_frames=frames_of, **options)  # type: ignore[arg-type]


def test_what_is_written_comes_back_as_a_view(tmp_path: Path) -> None:
    clips = clips_of("a", "bb", "cccccc")
    built = make(tmp_path, clips, shard_bytes=30)
    assert (built.num_done, built.num_skipped, built.problems) == (3, 0, {})  # type: ignore[attr-defined]
    assert len(list(tmp_path.glob("shard-*.npy"))) > 1
    cache = FeatureCache.open(tmp_path)
    assert (len(cache), cache.dim, cache.stride, cache.header.rate_hz) == (3, 3, 2, 25.0)
    for clip in clips:
        np.testing.assert_allclose(cache[clip.id], expected(clip), atol=0.06)
        assert cache[clip.id].dtype == np.float16
        assert isinstance(cache[clip.id], np.memmap)
        assert cache.num_steps(clip) == len(cache.get(clip)) == -(-(5 + len(clip.id)) // 2)
    assert "a" in cache
    assert "z" not in cache
    cache.verify()
    mean, std = cache.moments(clips)
    rows = np.concatenate([expected(clip).astype(np.float64) for clip in clips])
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-3)
    np.testing.assert_allclose(std, rows.std(0), rtol=1e-2)
    other = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(other["bb"], cache["bb"])
    reading = CachedFeatures(cache)(clips[0])
    assert reading.duration_seconds == pytest.approx(3 * 2 / 25)
    np.testing.assert_array_equal(reading.inputs, cache["a"])


def test_a_second_run_adds_only_what_is_missing(tmp_path: Path) -> None:
    make(tmp_path, clips_of("a", "bb"))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("shard-*")}
    built = make(tmp_path, clips_of("a", "bb", "ccc"))
    assert (built.num_done, built.num_skipped) == (1, 2)  # type: ignore[attr-defined]
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("shard-*")}
    assert before.items() <= after.items()
    assert sorted(FeatureCache.open(tmp_path).ids) == ["a", "bb", "ccc"]


def test_bad_clips_are_counted_and_named_when_asked_for(tmp_path: Path) -> None:
    built = make(tmp_path, clips_of("a", "bad", "cc"))
    assert built.num_done == 2  # type: ignore[attr-defined]
    assert built.problems == {"bad": "bad.mp4: is an empty file"}  # type: ignore[attr-defined]
    make(tmp_path, clips_of("dddd"))  # another manifest into the same folder forgets nothing
    cache = FeatureCache.open(tmp_path)
    with pytest.raises(ArtefactError, match=r"has no features of clip 'bad': bad.mp4: is an empty file"):
        cache["bad"]
    with pytest.raises(ArtefactError, match="has no features of clip 'zz': run `slr features` on its manifest"):
        cache["zz"]
    with pytest.raises(MediaError, match=r"bad.mp4: is an empty file"):
        make(tmp_path, clips_of("bad"), fail_fast=True)


def test_features_beyond_half_precision_are_a_problem_of_the_clip(tmp_path: Path) -> None:
    built = build(clips_of("a"), MeanColours(scale=1e4), tmp_path, read_frames=frames_of)
    assert "values beyond float16" in built.problems["a"]
    built = build(clips_of("a"), MeanColours(scale=1e-6), tmp_path / "small", read_frames=frames_of)
    assert "vanish in half precision" in built.problems["a"]


def test_a_run_that_was_broken_off_is_not_taken_for_a_complete_one(tmp_path: Path) -> None:
    def interrupted(clip: Clip) -> NDArray[np.uint8]:
        if clip.id == "ccc":
            raise KeyboardInterrupt
        return frames_of(clip)

    make(tmp_path, clips_of("zzzz"))
    with pytest.raises(KeyboardInterrupt):
        build(clips_of("a", "bb", "ccc"), MeanColours(), tmp_path, read_frames=interrupted, num_workers=1)
    with pytest.raises(ArtefactError, match=r"broken off after 3 clips; run the same `slr features` again"):
        FeatureCache.open(tmp_path)
    assert sorted(FeatureCache.open(tmp_path, partial=True).ids) == ["a", "bb", "zzzz"]
    built = make(tmp_path, clips_of("a", "bb", "ccc"))
    assert (built.num_done, built.num_skipped) == (1, 2)  # type: ignore[attr-defined]
    assert len(FeatureCache.open(tmp_path)) == 4


def test_a_shard_without_its_list_does_not_count(tmp_path: Path) -> None:
    make(tmp_path, clips_of("a"))
    (tmp_path / "shard-00000.json").unlink()  # as if the process had been killed between the two files
    assert len(FeatureCache.open(tmp_path)) == 0
    make(tmp_path, clips_of("a", "bb"))
    cache = FeatureCache.open(tmp_path)
    np.testing.assert_allclose(cache["a"], expected(clips_of("a")[0]), atol=0.06)


def damaged(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    data = tmp_path / "shard-00000.npy"
    data.write_bytes(data.read_bytes()[:-2])
    yield data, r"shard-00000.npy: \d+ bytes instead of \d+ bytes; delete shard-00000.json"
    data.unlink()
    yield data, "shard-00000.npy: missing instead of"


def test_damage_is_named(tmp_path: Path) -> None:
    make(tmp_path, clips_of("a"))
    for _, message in damaged(tmp_path):
        with pytest.raises(ArtefactError, match=message):
            FeatureCache.open(tmp_path)
    (tmp_path / "shard-00000.json").unlink()
    make(tmp_path, clips_of("a"))
    data = tmp_path / "shard-00000.npy"
    data.write_bytes(data.read_bytes()[:-2] + b"xx")
    with pytest.raises(ArtefactError, match=r"shard-00000.npy: damaged"):
        FeatureCache.open(tmp_path).verify()
    (tmp_path / "cache.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"cache.json: not a feature cache"):
        FeatureCache.open(tmp_path)
    with pytest.raises(ArtefactError, match=r"holds no cache.json; make features with `slr features"):
        FeatureCache.open(tmp_path / "nowhere")


def test_other_features_are_refused_by_what_differs(tmp_path: Path) -> None:
    make(tmp_path, clips_of("a"))
    with pytest.raises(ArtefactError, match=r"holds other features .*encoder_digest"):
        build(clips_of("a"), MeanColours(scale=2.0), tmp_path, read_frames=frames_of)
    with pytest.raises(ArtefactError, match=r"rate_hz 30.0 instead of 25.0"):
        make(tmp_path, clips_of("a"), rate_hz=30.0)
    with pytest.raises(ArtefactError, match="num_variants 2 instead of 1"):
        make(tmp_path, clips_of("a"), num_variants=2)
    assert len(FeatureCache.open(tmp_path)) == 1  # a refused build leaves the cache as it was


def test_another_span_or_file_under_the_same_id_is_made_anew(tmp_path: Path) -> None:
    (clip,) = clips_of("a")
    make(tmp_path, [clip])
    moved = replace(clip, start_seconds=0.4, end_seconds=1.0)
    with pytest.raises(ArtefactError, match=r"under 'a' lies the span \[0.0, None\) .* not \[0.4, 1.0\)"):
        FeatureCache.open(tmp_path).get(moved)
    assert make(tmp_path, [moved]).num_done == 1  # type: ignore[attr-defined]
    cache = FeatureCache.open(tmp_path)
    np.testing.assert_allclose(cache.get(moved), expected(moved), atol=0.06)
    first, second = replace(moved, sha256="1" * 64), replace(moved, sha256="2" * 64)
    assert make(tmp_path, [first]).num_skipped == 1  # type: ignore[attr-defined]  # it wasn't said before which file
    for clip, num_done in ((first, 1), (first, 0), (second, 1)):
        assert make(tmp_path / "other", [clip]).num_done == num_done  # type: ignore[attr-defined]


def test_two_clips_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="id 'a' occurs more than once"):
        make(tmp_path, clips_of("a", "bb", "a"))


def test_variants_are_crops_that_depend_on_clip_and_number_alone(tmp_path: Path) -> None:
    clips = clips_of("a", "bb")
    make(tmp_path / "one", clips, num_variants=3, flip=0.5)
    make(tmp_path / "two", clips[::-1], num_variants=3, flip=0.5)
    one, two = FeatureCache.open(tmp_path / "one"), FeatureCache.open(tmp_path / "two")
    for clip in clips:
        found = [one.get(clip, variant=variant) for variant in range(3)]
        np.testing.assert_allclose(found[0], expected(clip), atol=0.06)
        for variant in range(3):
            np.testing.assert_array_equal(found[variant], two.get(clip, variant=variant))
        assert np.abs(found[1] - found[2]).max() > 0.5
    with pytest.raises(ValueError, match=r"variant must be in \[0, 3\), got 3"):
        one.get(clips[0], variant=3)
    assert {variant_of(seed, 3) for seed in range(30)} == {0, 1, 2}
    assert variant_of(5, 3) == variant_of(5, 3)


def test_crops_keep_most_of_the_picture_and_mirror_as_asked() -> None:
    frames = torch.arange(20 * 30).reshape(1, 1, 1, 20, 30).expand(-1, 2, 3, -1, -1)
    for variant in range(1, 30):
        plain, mirrored = (crop(frames, "clip", variant, flip=flip) for flip in (0.0, 1.0))
        assert torch.equal(plain.flip(-1), mirrored)
        height, width = plain.shape[3:]
        assert height * width >= 0.6 * 20 * 30
        assert int(plain[0, 0, 0, 0, 1] - plain[0, 0, 0, 0, 0]) == 1


def test_a_cache_from_before_there_were_windows_opens(tmp_path: Path) -> None:
    make(tmp_path, clips_of("a"))
    content = json.loads((tmp_path / "cache.json").read_text())
    assert content.pop("windows") is None
    (tmp_path / "cache.json").write_text(json.dumps(content))
    assert FeatureCache.open(tmp_path).windows is None
    assert make(tmp_path, clips_of("a")).num_skipped == 1  # type: ignore[attr-defined]
    content["windows"] = {"window_frames": 16, "stride": 0, "most": 64}
    (tmp_path / "cache.json").write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match=r"cache.json: not a feature cache \(window_frames, stride and most"):
        FeatureCache.open(tmp_path)


def test_the_header_names_the_encoder(tmp_path: Path) -> None:
    make(tmp_path, clips_of("a"))
    content = json.loads((tmp_path / "cache.json").read_text())
    assert content["encoder"]["name"] == "colours"
    assert content["encoder_digest"] == MeanColours().digest() != MeanColours(scale=2.0).digest()
