"""Every kind of recogniser, small and untrained, on real clips: what is read, decoded and written fits together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from signwave import bundle
from signwave.text import Vocabulary
from slr.infer import Recognizer
from slr.medium import KINDS
from slr.models.keypoint_conformer import KeypointConformerConfig
from slr.models.pose_conv import PoseConvConfig
from slr.models.resnet_bilstm import ResnetBilstmConfig
from slr.models.s3d import S3dConfig
from slr.models.two_stream import TwoStreamConfig

VOCABULARY = Vocabulary(("<blank>", "A", "B", "C"))
MAPS = {"heatmap_height_px": 16, "heatmap_width_px": 16, "sigma_px": 1.0}
NARROW = {"width": 0.125, "head_dim": 16, "feedforward_dim": 16}
MODELS: dict[str, Any] = {
    "slr.pose_conv": PoseConvConfig(dim=8),
    "slr.keypoint_conformer": KeypointConformerConfig(dim=16, group_dim=8, num_blocks=1, num_heads=2),
    "slr.resnet_bilstm": ResnetBilstmConfig(base_channels=8, dim=16),
    "slr.s3d": S3dConfig(**NARROW),
    "slr.two_stream": TwoStreamConfig(**NARROW, **MAPS),
}
VIDEOS = ("videos/test_video.mp4", "how2sign_samples/g1xdqxCZxTg-3-rgb_front-12.13-13.71-rescaled.mp4")
POSES = ("poses/mediapipe.pose", "poses/phoenix14t-25October_2010_Monday_tagesschau-17.pose")
CLIPS = {"hands": POSES, "keypoints": (*POSES, "poses/openpose.pose"), "frames": VIDEOS, "frames+keypoints": VIDEOS}


def test_no_kind_is_forgotten() -> None:
    # The head on frozen features needs an encoder; tests/slr/test_feature_recipe.py takes it to a video.
    # Other tests add kinds of their own, which live in their modules.
    shipped = {name for name, kind in KINDS.items() if kind.module.startswith("slr.models.")}
    assert shipped - set(MODELS) == {"slr.feature_head"}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_reads_real_clips(kind: str, tmp_path: Path, shared_data: Path) -> None:
    pytest.importorskip("pose_format")
    torch.manual_seed(0)
    config = MODELS[kind]
    model = config.build(vocab_size=VOCABULARY.size)
    info = {"name": kind, "rate_hz": 25.0, "stride": model.stride, "reads": model.reads, "size_px": [32, 32]}
    settings = {**asdict(config), "vocab_size": VOCABULARY.size}
    bundle.save(tmp_path / "bundle", kind=kind, model=model, config=settings, vocabulary=VOCABULARY, info=info)
    recognizer = Recognizer.load(tmp_path, device="cpu")
    for name in CLIPS[model.reads]:
        transcript = recognizer(shared_data / "sign" / name)
        assert transcript.status in ("ok", "empty"), name
        assert transcript.duration_seconds, name
        ends = [word.end_seconds for word in transcript.words]
        assert ends == sorted(ends)
        assert all(end <= transcript.duration_seconds + 1e-6 for end in ends)
