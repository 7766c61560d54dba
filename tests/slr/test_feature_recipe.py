"""A recipe on cached features: rate and width come from the cache, the encoder is checked, its bundle reads frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from signwave import manifest
from signwave.errors import ArtefactError, ConfigError, MediaError, UserError
from signwave.manifest import Clip
from signwave.media.video import write_video
from signwave.sampling import Draw
from slr.features.building import build
from slr.features.loading import RANDOM, load_encoder
from slr.features.recipe import FeatureCorpusConfig, FeatureRecipe
from slr.infer import Recognizer
from slr.models.feature_head import FeatureHeadConfig

NAME = "torchvision:resnet18"


def frames_of(clip: Clip) -> NDArray[np.uint8]:
    if clip.id.endswith("-bad"):
        raise MediaError(clip.path, "is an empty file")
    return np.random.default_rng(len(clip.id)).integers(0, 256, (24, 3, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FeatureCorpusConfig:
    folder = tmp_path_factory.mktemp("corpus")
    encoder = load_encoder(NAME, weights=RANDOM, stride=4)
    for split, ids in (("train", ["one", "two", "bad"]), ("dev", ["one"]), ("test", ["one", "bad"])):
        clips = [
            Clip(id=f"{split}-{name}", path=f"{name}.mp4", kind="video", num_frames=24, rate_hz=25.0, text="A B")
            for name in ids
        ]
        manifest.write(folder / f"{split}.jsonl", clips)
        build(clips, encoder, folder / "features", read_frames=frames_of)
    return FeatureCorpusConfig(manifest_dir=str(folder), features_dir=str(folder / "features"))


def recipe_of(corpus: FeatureCorpusConfig, **changes: str) -> FeatureRecipe:
    model = FeatureHeadConfig(dim=16, num_heads=2, num_halvings=1, kernel_size=3)
    return FeatureRecipe(name="try", data=corpus, model=model, **changes)


def test_rate_and_width_come_from_the_cache(corpus: FeatureCorpusConfig) -> None:
    data, module = recipe_of(corpus).build()
    assert module.bundle_info["rate_hz"] == 25 / 4
    train = data.splits["train"]
    assert [clip.id for clip in train.clips] == ["train-one", "train-two"]  # the bad one is left out
    # Not of the test: there it is scored as missing.
    assert [clip.id for clip in data.splits["test"].clips] == ["test-one", "test-bad"]
    with pytest.raises(UserError, match="is an empty file"):
        data.splits["test"][Draw(1, 0)]
    batch = next(iter(data.train_dataloader()))
    assert batch.inputs.shape[2] == module.model.config["feature_dim"] == 512
    valid = torch.cat([batch.inputs[row, :size] for row, size in enumerate(batch.num_frames.tolist())]).float()
    centred = (valid - module.model.mean) / module.model.std
    assert float(centred.std()) == pytest.approx(1, abs=0.3)
    assert abs(float(valid.mean()) - float(centred.mean())) > 0.1
    encoded = module.encode(module.on_after_batch_transfer(batch, 0))
    assert encoded.log_probs.shape[2] == 3


def test_the_bundle_gets_the_encoder_of_the_features(corpus: FeatureCorpusConfig) -> None:
    _, module = recipe_of(corpus, encoder=NAME, weights=RANDOM).build()
    deployed = module.deploy()
    assert (deployed.model.reads, deployed.model.stride) == ("frames", 8)
    assert deployed.info == {"rate_hz": 25.0, "size_px": [224, 224]}
    assert deployed.config["encoder"]["stride"] == 4
    with pytest.raises(ConfigError, match=r"encoder=torchvision:mobilenet_v3_small isn't the one that made"):
        recipe_of(corpus, encoder="torchvision:mobilenet_v3_small", weights=RANDOM).build()


def test_the_bundle_reads_videos(corpus: FeatureCorpusConfig, tmp_path: Path) -> None:
    recipe = recipe_of(corpus, encoder=NAME, weights=RANDOM)
    _, module = recipe.build()
    module.export(tmp_path / "bundle")
    write_video(tmp_path / "clip.mp4", np.full((30, 3, 64, 64), 90, dtype=np.uint8), fps=25.0)
    transcript = Recognizer.load(tmp_path, device="cpu")(tmp_path / "clip.mp4")
    assert transcript.status in ("ok", "empty")
    assert transcript.duration_seconds == pytest.approx(1.2)


def test_a_missing_cache_is_named(tmp_path: Path, corpus: FeatureCorpusConfig) -> None:
    with pytest.raises(ConfigError, match=r"data.features_dir is empty; make features with `slr features"):
        recipe_of(FeatureCorpusConfig(manifest_dir=corpus.manifest_dir)).build()
    with pytest.raises(ArtefactError, match=r"holds no cache.json"):
        recipe_of(FeatureCorpusConfig(manifest_dir=corpus.manifest_dir, features_dir=str(tmp_path))).build()
