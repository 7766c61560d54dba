"""Frozen encoders, the head on their features, and both together in a bundle."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from signwave import bundle, command
from signwave.errors import ArtefactError, ConfigError
from signwave.media.video import write_video
from signwave.text import Vocabulary
from slr.features.encoders import EncoderSpec, FrameEncoder
from slr.features.loading import RANDOM, load_encoder
from slr.models.feature_head import FeatureHead, FeatureHeadConfig


def frames_of(lengths: list[int], *, size_px: tuple[int, int] = (32, 32)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (len(lengths), max(lengths), 3, *size_px)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8), torch.tensor(lengths)


@pytest.fixture(scope="module")
def picture_encoder() -> FrameEncoder:
    """torchvision's smallest classifier, untrained, for small pictures."""
    spec = asdict(load_encoder("torchvision:mobilenet_v3_small", weights=RANDOM).spec)
    torch.manual_seed(0)
    return FrameEncoder(EncoderSpec(**(spec | {"height_px": 32, "width_px": 32})))


@pytest.fixture(scope="module")
def window_encoder() -> FrameEncoder:
    """torchvision's S3D, untrained, on small windows."""
    encoder = load_encoder("torchvision:s3d", weights=RANDOM, window_frames=8, stride=3)
    return FrameEncoder(EncoderSpec(**(asdict(encoder.spec) | {"height_px": 32, "width_px": 32})), batch_windows=4)


@pytest.mark.parametrize("which", ["picture_encoder", "window_encoder"])
def test_a_clip_alone_is_the_clip_in_a_padded_batch(which: str, request: pytest.FixtureRequest) -> None:
    encoder: FrameEncoder = request.getfixturevalue(which)
    lengths = [1, 4, 10]
    frames, num_frames = frames_of(lengths)
    together = encoder(frames, num_frames)
    assert together.num_steps.tolist() == [-(-length // encoder.stride) for length in lengths]
    assert together.features.shape[2] == encoder.dim == encoder.spec.dim
    for row, length in enumerate(lengths):
        alone = encoder(frames[row : row + 1, :length], num_frames[row : row + 1]).features[0]
        torch.testing.assert_close(together.features[row, : len(alone)], alone, atol=1e-4, rtol=1e-4)
        assert not together.features[row, len(alone) :].any()


def test_a_window_is_centred_and_the_ends_are_repeated(window_encoder: FrameEncoder) -> None:
    frames, num_frames = frames_of([7])
    found = window_encoder(frames, num_frames).features[0]
    for step in range(3):
        window = frames[0, [min(max(3 * step + place, 0), 6) for place in range(-3, 5)]]
        torch.testing.assert_close(found[step], window_encoder.encode(window[None])[0], atol=1e-4, rtol=1e-4)
    assert window_encoder.receptive_radius_frames == 4


def test_pixels_are_normalised_and_brought_to_size() -> None:
    spec = EncoderSpec("torchvision", "mobilenet_v3_small", 32, 32, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0), dim=3)
    encoder = FrameEncoder(spec)
    encoder.backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    frames = torch.full((1, 2, 3, 50, 40), 255, dtype=torch.uint8)
    torch.testing.assert_close(
        encoder(frames, torch.tensor([2])).features, torch.tensor([1.0, 3.0, 1.0]).expand(1, 2, 3)
    )


def test_an_encoder_stays_frozen(picture_encoder: FrameEncoder) -> None:
    nn.ModuleList([picture_encoder]).train()
    assert not any(module.training for module in picture_encoder.modules())
    assert not any(p.requires_grad for p in picture_encoder.parameters())
    assert not picture_encoder(*frames_of([3])).features.requires_grad


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvision_weights_come_from_a_local_file(tmp_path: Path, suffix: str) -> None:
    from torchvision import models

    torch.manual_seed(1)
    donor = models.mobilenet_v3_small(weights=None).eval()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{name}": value for name, value in donor.state_dict().items()}}, path)
    else:
        save_file(donor.state_dict(), path)
    encoder = load_encoder("torchvision:mobilenet_v3_small", weights=path)
    assert encoder.spec.size_px == (224, 224)
    assert (encoder.dim, encoder.stride) == (576, 1)
    donor.classifier = nn.Identity()  # type: ignore[assignment]
    frames, num_frames = frames_of([1], size_px=(224, 224))
    mean, std = (torch.tensor(values)[:, None, None] for values in (encoder.spec.mean, encoder.spec.std))
    with torch.no_grad():
        wanted = donor((frames[0].float() / 255 - mean) / std)
    torch.testing.assert_close(encoder(frames, num_frames).features[0], wanted, atol=1e-4, rtol=1e-4)
    assert encoder.digest() != load_encoder("torchvision:mobilenet_v3_small", weights=RANDOM).digest()


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"something.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ArtefactError, match=r"doesn't fit the model: \d+ weights missing, 1 unknown, 0 of another"):
        load_encoder("torchvision:resnet18", weights=tmp_path / "other.safetensors")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    with pytest.raises(ArtefactError, match=r"broken.pth: holds no plain weights .* give a state dict"):
        load_encoder("torchvision:resnet18", weights=tmp_path / "broken.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ArtefactError, match=r"broken.safetensors: can't be read"):
        load_encoder("torchvision:resnet18", weights=tmp_path / "broken.safetensors")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ArtefactError, match=r"list.pth: holds no state dict"):
        load_encoder("torchvision:resnet18", weights=tmp_path / "list.pth")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {}, r"encoder 'resnet18': give torchvision:MODEL"),
        ("torchvision:resnet18", {}, r"needs --weights FILE, .* or --weights random .* nothing is downloaded"),
        ("torchvision:resnet17", {"weights": RANDOM}, r"torchvision has no classifier 'resnet17'; it has resnet18"),
        ("torchvision:resnet18", {"weights": RANDOM, "window_frames": 4}, "takes single pictures"),
        ("torchvision:resnet18", {"weights": RANDOM, "stride": 0}, "stride must be at least 1, got 0"),
        ("torchvision:resnet18", {"weights": "none.pth"}, "none.pth: no such weights file"),
        ("transformers:nowhere", {}, r"nowhere: no config.json there; give a local transformers folder"),
        ("transformers:nowhere", {"weights": "a.pth"}, "brings its own weights; leave --weights a.pth out"),
    ],
)
def test_what_cannot_be_loaded_is_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_encoder(name, **options)


SMALL = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
TEXT = {key: SMALL[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
TEXT |= {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def donor_of(family: str) -> Any:
    import transformers as t

    torch.manual_seed(0)
    return {
        "clip": lambda: t.CLIPModel(t.CLIPConfig(vision_config=SMALL, text_config=TEXT)),
        "siglip": lambda: t.SiglipModel(t.SiglipConfig(vision_config=SMALL, text_config=TEXT)),
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(**SMALL)),
        "vit": lambda: t.ViTModel(t.ViTConfig(**SMALL), add_pooling_layer=False),
        "videomae": lambda: t.VideoMAEModel(t.VideoMAEConfig(**SMALL, num_frames=4)),
    }[family]().eval()


def reference(family: str, donor: Any, pixels: Tensor) -> Tensor:
    """What the family's users take as a picture's or clip's features."""
    with torch.no_grad():
        if family in ("clip", "siglip"):
            return donor.vision_model(pixels).pooler_output
        if family == "videomae":
            return donor(pixels[None].expand(-1, 4, -1, -1, -1)).last_hidden_state.mean(1)
        return donor(pixels).last_hidden_state[:, 0]  # DINOv2's pooled output is its first token


@pytest.mark.parametrize("family", ["clip", "siglip", "dinov2", "vit", "videomae"])
def test_local_transformers_folders(tmp_path: Path, family: str) -> None:
    donor = donor_of(family)
    donor.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"do_center_crop": true, "crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 36},'
        ' "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}'
    )
    encoder = load_encoder(f"transformers:{tmp_path}")
    assert encoder.spec.size_px == (32, 32)
    assert (encoder.stride, encoder.spec.window_frames) == ((4, 4) if family == "videomae" else (1, 1))
    frames, num_frames = frames_of([1])
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    wanted = reference(family, donor, (frames[0].float() / 255 - mean) / std)
    torch.testing.assert_close(encoder(frames, num_frames).features[0], wanted, atol=1e-4, rtol=1e-3)
    again = load_encoder(f"transformers:{tmp_path}")
    assert again.digest() == encoder.digest()
    rebuilt = FrameEncoder(EncoderSpec.from_dict(encoder.spec.to_dict()))
    rebuilt.load_state_dict(encoder.state_dict())
    assert rebuilt.digest() == encoder.digest()


def test_a_folder_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    donor = donor_of("dinov2")
    donor.save_pretrained(tmp_path)
    state = {name: value for name, value in donor.state_dict().items() if "layernorm" not in name}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtefactError, match=r"lacks 2 weights of 'dinov2', e.g. 'layernorm.bias'"):
        load_encoder(f"transformers:{tmp_path}")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ArtefactError, match="can't be loaded"):
        load_encoder(f"transformers:{tmp_path}")


HEADS: list[dict[str, Any]] = [
    {"context": "conformer"},
    {"context": "conformer", "attention_radius_steps": 2, "num_halvings": 1},
    {"context": "bilstm"},
    {"context": "none", "num_halvings": 0, "num_convolutions": 0},
]


@pytest.fixture(params=HEADS, ids=["conformer", "radius", "bilstm", "linear"])
def head(request: pytest.FixtureRequest) -> FeatureHead:
    torch.manual_seed(0)
    return FeatureHeadConfig(feature_dim=6, dim=16, num_heads=2, kernel_size=3, **request.param).build(vocab_size=5)


def features_of(lengths: list[int], dim: int = 6) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(len(lengths), max(lengths), dim, generator=torch.Generator().manual_seed(0)).half()
    return inputs, torch.tensor(lengths)


def test_a_clip_of_features_alone_is_the_clip_in_a_padded_batch(head: FeatureHead) -> None:
    head.eval()
    lengths = [1, 6, 21]
    inputs, num_frames = features_of(lengths)
    for row, length in enumerate(lengths):
        inputs[row, length:] = float("nan")
    together = head(inputs, num_frames)
    assert together.num_steps.tolist() == [-(-length // head.stride) for length in lengths]
    for row, length in enumerate(lengths):
        alone = head(inputs[row : row + 1, :length], num_frames[row : row + 1]).log_probs[0]
        torch.testing.assert_close(together.log_probs[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter_of_the_head(head: FeatureHead) -> None:
    heads = head.heads(*features_of([20, 33]))
    assert heads.others == {}
    assert head.losses().ctc == {"main": 1.0}
    heads.main.log_probs[..., 1].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_the_head_in_bf16_gives_float32(head: FeatureHead) -> None:
    head.eval()
    inputs, num_frames = features_of([20, 33])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head(inputs, num_frames).log_probs
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.exp(), head(inputs, num_frames).log_probs.exp(), atol=0.05, rtol=0.1)


def test_the_head_sees_exactly_as_far_as_it_says(head: FeatureHead) -> None:
    head.eval()
    radius = head.receptive_radius_frames
    if radius is None:
        return
    inputs, num_frames = features_of([40 + 2 * radius])
    inputs = inputs.float().requires_grad_()
    step = -(-(radius + 4) // head.stride)
    (gradient,) = torch.autograd.grad(head(inputs, num_frames).log_probs[0, step].square().sum(), inputs)
    seen = gradient[0].abs().sum(1).nonzero().flatten() - step * head.stride
    assert (int(seen.min()), int(seen.max())) == (-radius, radius)


def test_bad_settings_of_the_head_are_named() -> None:
    with pytest.raises(ValueError, match="context must be none, bilstm or conformer, got 'gru'"):
        FeatureHeadConfig(context="gru")
    with pytest.raises(ValueError, match=r"dim and num_layers at least 1; got 2, 1, 512, 0 and 2"):
        FeatureHeadConfig(dim=0)
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1.5"):
        FeatureHeadConfig(dropout=1.5)


def test_encoder_and_head_become_one_bundle(tmp_path: Path, window_encoder: FrameEncoder) -> None:
    config = FeatureHeadConfig(feature_dim=1024, dim=16, num_halvings=1, attention_radius_steps=1, kernel_size=3)
    head = config.build(vocab_size=4).eval()
    assert (head.reads, head.stride) == ("features", 2)
    model = head.with_encoder(window_encoder, digest=window_encoder.digest())
    assert (model.reads, model.stride, model.training) == ("frames", 6, False)
    assert head.receptive_radius_frames is not None
    assert model.receptive_radius_frames == 4 + 3 * head.receptive_radius_frames
    frames, num_frames = frames_of([13, 7])
    found = model(frames, num_frames)
    wanted = head(*window_encoder(frames, num_frames))
    assert found.num_steps.tolist() == wanted.num_steps.tolist() == [3, 2]
    torch.testing.assert_close(found.log_probs, wanted.log_probs, atol=1e-2, rtol=1e-2)  # through half precision
    vocabulary = Vocabulary.build(["A B C"])
    bundle.save(tmp_path / "b", kind="slr.feature_head", model=model, config=model.config, vocabulary=vocabulary)
    stored = bundle.load(tmp_path / "b")
    rebuilt = FeatureHead(**stored.config).eval()
    rebuilt.load_state_dict(stored.state_dict())
    torch.testing.assert_close(rebuilt(frames, num_frames).log_probs, found.log_probs)
    assert (rebuilt.reads, rebuilt.stride) == ("frames", 6)
    with pytest.raises(ArtefactError, match="'s3d' isn't the one that made the training features"):
        head.with_encoder(window_encoder, digest="other")
    with pytest.raises(ValueError, match="the head reads features of 512 values; the encoder 's3d' gives 1024"):
        FeatureHeadConfig().build(vocab_size=4).with_encoder(window_encoder)


def run_features(arguments: list[str]) -> int:
    import typer

    from slr.commands.features import features

    app = typer.Typer()
    app.command()(features)
    return command.run(lambda **options: app(arguments, **options))


def test_the_command_encodes_real_files_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from signwave import manifest
    from signwave.manifest import Clip
    from slr.features.cache import FeatureCache

    rng = np.random.default_rng(0)
    write_video(tmp_path / "a.mp4", rng.integers(0, 256, (6, 3, 32, 48), dtype=np.uint8), fps=25)
    clips = [Clip(id="a", path="a.mp4", kind="video"), Clip(id="b", path="b.mp4", kind="video")]
    manifest.write(tmp_path / "train.jsonl", clips)
    out = tmp_path / "cache"
    arguments = [str(tmp_path / "train.jsonl"), str(out), "--encoder", "torchvision:resnet18"]
    arguments += ["--weights", "random", "--device", "cpu", "--quiet"]
    assert run_features([*arguments, "--dry-run"]) == command.EXIT_DONE
    assert "would encode 2 clips" in capsys.readouterr().out
    assert not out.exists()
    assert run_features(arguments) == command.EXIT_SOME_FAILED
    captured = capsys.readouterr()
    assert "1 clips encoded" in captured.out
    assert "failed: b:" in captured.err
    cache = FeatureCache.open(out)
    assert cache["a"].shape == (6, 512)
    write_video(tmp_path / "b.mp4", rng.integers(0, 256, (3, 3, 32, 48), dtype=np.uint8), fps=25)
    assert run_features([*arguments, "--json"]) == command.EXIT_DONE
    assert '"num_skipped": 1' in capsys.readouterr().out
    assert sorted(FeatureCache.open(out).ids) == ["a", "b"]
    assert run_features([str(out), "--encoder", "torchvision:resnet18"]) == command.EXIT_FAILED
    assert "give one manifest or more, and then the folder" in capsys.readouterr().err


def test_the_head_asks_the_device_for_nothing(head: FeatureHead) -> None:
    """On the meta device any look at a value is an error; on a GPU it would wait for it."""
    inputs, num_frames = (tensor.to("meta") for tensor in features_of([20, 33]))
    size = -(-33 // head.stride)
    assert head.to("meta")(inputs, num_frames).log_probs.shape == (2, size, 5)


def test_an_encoder_asks_the_device_for_nothing(window_encoder: FrameEncoder) -> None:
    encoder = FrameEncoder(window_encoder.spec).to("meta")
    frames, num_frames = (tensor.to("meta") for tensor in frames_of([9, 17]))
    assert encoder(frames, num_frames).features.shape == (2, 6, 1024)
