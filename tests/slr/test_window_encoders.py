"""Encoders of windows: choosing first gives the bits of encoding all, bundles build them again, bad input is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from signwave import bundle
from signwave.errors import ArtefactError, ConfigError, UserError
from slr.features.encoders import EncoderSpec, FrameEncoder
from slr.features.loading import load_encoder
from slr.features.window_backbones import FrameWindows
from slr.features.window_encoders import WindowEncoder, build_window_encoder, load_window_encoder
from slr.features.windows import SlidingWindows, select
from slr.isolated.model import IsolatedSigns
from slr.models.keypoint_conformer import KeypointConformerConfig
from slr.models.s3d import S3dConfig
from slr.models.two_stream import TwoStreamConfig

NUM_FRAMES = 37
TINY = {"dim": 16, "group_dim": 8, "num_heads": 2, "num_blocks": 1}
POINTS: Any = KeypointConformerConfig(**TINY)
FRAMES: Any = S3dConfig(width=0.125)
BOTH: Any = TwoStreamConfig(width=0.125, heatmap_height_px=16, heatmap_width_px=16, sigma_px=1.0)
TRUNKS = {"slr.keypoint_conformer": POINTS, "slr.s3d": FRAMES, "slr.two_stream": BOTH}


def save_run(folder: Path, kind: str) -> Path:
    """A recogniser of isolated signs of two languages, untrained."""
    config: dict[str, Any] = {
        "trunk_kind": kind,
        "trunk": {**dataclasses.asdict(TRUNKS[kind]), "vocab_size": 2},
        "num_classes": {"a": 3, "b": 4},
    }
    info: dict[str, Any] = {"name": "try", "rate_hz": 30.0, "window_frames": 16}
    if kind != "slr.keypoint_conformer":
        info["size_px"] = [32, 32]
    torch.manual_seed(0)
    bundle.save(folder / "bundle", kind="slr.isolated", model=IsolatedSigns(**config), config=config, info=info)
    return folder


def save_clip_model(folder: Path) -> Path:
    import transformers as t

    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text = {**vision, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    model = t.CLIPModel(t.CLIPConfig(vision_config={**vision, "image_size": 32, "patch_size": 8}, text_config=text))
    model.save_pretrained(folder)
    return folder


def small(name: str) -> FrameWindows:
    """Random weights, for pictures of 32 pixels."""
    spec = dataclasses.asdict(load_encoder(name, weights="random", stride=1).spec)
    torch.manual_seed(0)
    encoder = FrameEncoder(EncoderSpec(**{**spec, "height_px": 32, "width_px": 32}))
    return FrameWindows(encoder, window_frames=16)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WindowEncoder]:
    folder = tmp_path_factory.mktemp("models")
    found: dict[str, WindowEncoder] = {
        kind: load_window_encoder(f"isolated:{save_run(folder / kind, kind)}") for kind in TRUNKS
    }
    for name in ("torchvision:r3d_18", "torchvision:s3d", "torchvision:resnet18", "i3d"):
        found[name] = small(name)
    found["clip"] = load_window_encoder(f"transformers:{save_clip_model(folder / 'clip')}")
    return found


NAMES = [*TRUNKS, "torchvision:r3d_18", "torchvision:s3d", "torchvision:resnet18", "i3d", "clip"]


def inputs_of(encoder: WindowEncoder, num_frames: int = NUM_FRAMES) -> tuple[Tensor, Tensor | None]:
    """What it reads, and the keypoints beside it."""
    generator = torch.Generator().manual_seed(num_frames)
    points = torch.rand(num_frames, 63, 3, generator=generator)
    if encoder.reads == "keypoints":
        return points, None
    frames = torch.randint(0, 256, (num_frames, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return frames, points if encoder.reads == "frames+keypoints" else None


@pytest.mark.parametrize("name", NAMES)
def test_choosing_first_gives_the_very_bits_of_encoding_all(name: str, encoders: dict[str, WindowEncoder]) -> None:
    encoder = encoders[name]
    inputs, points = inputs_of(encoder)
    everything = encoder.encode_clip(inputs, SlidingWindows(most=None), points=points)
    assert everything.shape == (NUM_FRAMES - 15, encoder.dim)
    assert everything.dtype == torch.float32
    assert float((everything[0] - everything[-1]).abs().max()) > 1e-4 * float(everything.abs().max()) > 0
    for most in (1, 3, 5, 21):
        few = SlidingWindows(most=most)
        chosen = encoder.encode_clip(inputs, few, points=points)
        np.testing.assert_array_equal(select(everything.numpy(), few, NUM_FRAMES), chosen.numpy())


@pytest.mark.parametrize("name", NAMES)
def test_a_window_is_what_the_encoder_makes_of_its_frames(name: str, encoders: dict[str, WindowEncoder]) -> None:
    encoder = encoders[name]
    inputs, points = inputs_of(encoder)
    windows = SlidingWindows(16, 3, 4)
    found = encoder.encode_clip(inputs, windows, points=points)
    rows = torch.from_numpy(np.stack([np.arange(s, s + 16) for s in windows.chosen(NUM_FRAMES)]))
    alone = encoder.encode(inputs[rows], points=None if points is None else points[rows])
    torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-3)


def test_bits_stay_the_same_in_batches_of_any_size(encoders: dict[str, WindowEncoder]) -> None:
    encoder = encoders["torchvision:r3d_18"]
    inputs, _ = inputs_of(encoder)
    for size in (1, 7, 32):
        encoder.batch_windows = size
        everything = encoder.encode_clip(inputs, SlidingWindows(most=None)).numpy()
        chosen = encoder.encode_clip(inputs, SlidingWindows(most=5)).numpy()
        np.testing.assert_array_equal(select(everything, SlidingWindows(most=5)), chosen)
    encoder.batch_windows = None


def test_only_what_is_kept_is_encoded(encoders: dict[str, WindowEncoder], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def count(encoder: FrameEncoder, windows: Tensor) -> Tensor:
        seen.append(len(windows))
        return torch.zeros(len(windows), 3)

    monkeypatch.setattr(FrameEncoder, "encode", count)
    clip = torch.zeros(400, 3, 8, 8, dtype=torch.uint8)
    encoders["torchvision:s3d"].encode_clip(clip, SlidingWindows(most=64))
    assert seen == [4] * 16
    seen.clear()
    # Of pictures, the frames that any window shows: 8 windows share none.
    encoders["torchvision:resnet18"].encode_clip(clip, SlidingWindows(most=8))
    assert sum(seen) == 8 * 16


@pytest.mark.parametrize("name", ["slr.keypoint_conformer", "slr.two_stream", "torchvision:resnet18", "i3d"])
def test_a_short_clip_is_one_window_whose_last_frame_stays(name: str, encoders: dict[str, WindowEncoder]) -> None:
    encoder = encoders[name]
    inputs, points = inputs_of(encoder, 5)

    def longer(part: Tensor | None) -> Tensor | None:
        return None if part is None else torch.cat([part, part[-1:].expand(11, *part.shape[1:])])

    whole: Any = longer(inputs)
    found = encoder.encode_clip(inputs, SlidingWindows(), points=points)
    assert found.shape == (1, encoder.dim)
    torch.testing.assert_close(found, encoder.encode_clip(whole, SlidingWindows(), points=longer(points)))


def test_a_window_of_pictures_is_their_mean(encoders: dict[str, WindowEncoder]) -> None:
    encoder: Any = encoders["torchvision:resnet18"]
    inputs, _ = inputs_of(encoder, 16)
    single = torch.stack([encoder.encoder.encode(frame[None, None])[0] for frame in inputs])
    found = encoder.encode_clip(inputs, SlidingWindows())
    torch.testing.assert_close(found[0], single.mean(0), atol=1e-4, rtol=1e-4)


def test_a_trunk_gives_what_its_recogniser_embeds(encoders: dict[str, WindowEncoder], tmp_path: Path) -> None:
    from slr.isolated.infer import IsolatedRecognizer

    run = save_run(tmp_path, "slr.keypoint_conformer")
    stored = bundle.load(run)
    info = {**stored.info, "glosses": {}, "temperatures": {}, "sources": {}}
    config = {**stored.config, "num_classes": {}}
    bundle.save(tmp_path / "bare", kind="slr.isolated", model=IsolatedSigns(**config), config=config, info=info)
    recogniser = IsolatedRecognizer.load(tmp_path / "bare", device="cpu")
    encoder = load_window_encoder(f"isolated:{tmp_path / 'bare'}")
    windows = torch.rand(4, 16, 63, 3)
    np.testing.assert_allclose(encoder.encode(windows).numpy(), recogniser.look(windows)[0], atol=1e-6)
    first = encoders["slr.keypoint_conformer"]
    assert (first.rate_hz, first.size_px, first.reads) == (30.0, None, "keypoints")
    assert encoders["slr.s3d"].size_px == (32, 32)
    assert not any("classifier" in name for name in first.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_builds_the_same_encoder(name: str, encoders: dict[str, WindowEncoder]) -> None:
    first = encoders[name]
    spec = json.loads(json.dumps(first.spec))
    assert spec == first.spec
    second = build_window_encoder(spec)
    second.load_state_dict(first.state_dict())
    assert second.digest() == first.digest()
    assert (second.dim, second.window_frames, second.reads) == (first.dim, first.window_frames, first.reads)
    assert (second.size_px, second.rate_hz) == (first.size_px, first.rate_hz)
    with torch.no_grad():
        next(second.parameters()).add_(1)
    assert second.digest() != first.digest()
    assert not any(parameter.requires_grad for parameter in first.parameters())
    nn.ModuleList([first]).train()
    assert not any(module.training for module in first.modules())


def test_windows_of_another_length_are_another_encoder() -> None:
    long, short = (load_window_encoder("torchvision:s3d", weights="random", window_frames=w) for w in (None, 8))
    assert (long.window_frames, short.window_frames, short.dim) == (16, 8, 1024)
    assert long.digest() != short.digest()
    with pytest.raises(ConfigError, match="windows of 16 frames: this encoder takes 8; give --window 8"):
        short.encode_clip(torch.zeros(20, 3, 8, 8, dtype=torch.uint8), SlidingWindows(16))
    with pytest.raises(ConfigError, match="s3d can't look at windows of 4 frames"):
        load_window_encoder("torchvision:s3d", weights="random", window_frames=4)
    with pytest.raises(ConfigError, match="mvit_v1_b can't look at windows of 8 frames"):
        load_window_encoder("torchvision:mvit_v1_b", weights="random", window_frames=8)


def test_what_cannot_be_loaded_is_named(tmp_path: Path, encoders: dict[str, WindowEncoder]) -> None:
    run = save_run(tmp_path / "run", "slr.keypoint_conformer")
    with pytest.raises(ConfigError, match="i3d needs --weights FILE"):
        load_window_encoder("i3d")
    with pytest.raises(ConfigError, match=r"brings its own weights; leave --weights x.pth out"):
        load_window_encoder(f"isolated:{run}", weights="x.pth")
    with pytest.raises(ConfigError, match=r"windows of 8 frames: isolated:.* was trained on 16; give --window 16"):
        load_window_encoder(f"isolated:{run}", window_frames=8)
    for wrong in ({"kind": "telepathy"}, {}, {"kind": "isolated", "config": {}, "size_px": None}):
        with pytest.raises(ArtefactError, match="stored encoder can't be read"):
            build_window_encoder(wrong)
    bundle.save(tmp_path / "other", kind="slr.pose_conv", model=nn.Linear(1, 1), config={})
    with pytest.raises(ConfigError, match=r"a model of kind 'slr.pose_conv', .* name a run of a recipe \*_islr"):
        load_window_encoder(f"isolated:{tmp_path / 'other'}")
    bundle.save(tmp_path / "bare", kind="slr.isolated", model=nn.Linear(1, 1), config={})
    with pytest.raises(ArtefactError, match="can't be used"):
        load_window_encoder(f"isolated:{tmp_path / 'bare'}")
    both = encoders["slr.two_stream"]
    with pytest.raises(UserError, match="no keypoints beside the video"):
        both.encode_clip(inputs_of(both)[0], SlidingWindows())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_choosing_first_is_equal_up_to_round_off() -> None:
    encoder = small("i3d").to("cuda")
    inputs, _ = inputs_of(encoder)
    everything = encoder.encode_clip(inputs, SlidingWindows(most=None)).cpu().numpy()
    chosen = encoder.encode_clip(inputs, SlidingWindows(most=5)).cpu().numpy()
    np.testing.assert_allclose(select(everything, SlidingWindows(most=5)), chosen, rtol=1e-2, atol=1e-4)
