"""The towers of pretrained transformers: what they start from, padding, streams that a clip lacks, frozen layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel

from signwave.errors import ArtefactError
from slr.models.clip_folder import load_clip
from slr.models.dual_encoder import valid_mask
from slr.models.text_tower import TransformerTextTower, architecture_of, text_projection
from slr.models.towers import build_dual_encoder
from slr.models.video_tower import WindowTower, WindowTowerConfig

DIMS = (10, 6)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "vocab_size": 100, "max_position_embeddings": 16, "eos_token_id": 99, "bos_token_id": 98}  # fmt: skip
    vision = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 16}  # fmt: skip
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=50, **sizes)).save_pretrained(folder)
    return folder


def window_tower(**settings: Any) -> WindowTower:
    torch.manual_seed(0)
    config = WindowTowerConfig(width=16, num_layers=2, num_heads=2, max_tokens=8, **settings)
    return WindowTower(**config.settings(DIMS)).eval()


def windows(*lengths: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(len(lengths), max(lengths), sum(DIMS), generator=torch.Generator().manual_seed(seed))
    sizes = torch.tensor(lengths)
    return inputs * valid_mask(sizes, inputs.shape[1])[..., None], sizes


def test_padding_does_not_reach_the_tokens() -> None:
    tower = window_tower()
    inputs, lengths = windows(7, 4, 1)
    together = tower(inputs, lengths)[0]
    for row, length in enumerate(lengths.tolist()):
        alone = tower(inputs[row : row + 1, :length], lengths[row : row + 1])[0]
        assert torch.allclose(together[row, :length], alone[0], atol=1e-5)
    assert bool(together.isfinite().all())
    with pytest.raises(ValueError, match="a clip has 9 windows, the tower takes 8"):
        tower(*windows(9))


def test_a_stream_that_a_clip_lacks_has_no_say() -> None:
    tower = window_tower()
    inputs, lengths = windows(5, 5)
    inputs[0, :, : DIMS[0]] = 0
    found = tower(inputs, lengths)[0]
    with torch.no_grad():
        tower.project[0].bias += 1.0
    moved = tower(inputs, lengths)[0]
    assert torch.equal(found[0], moved[0])
    assert not torch.allclose(found[1], moved[1])


def test_training_drops_one_stream_of_those_that_have_two() -> None:
    tower = window_tower(stream_dropout=0.9)
    there = torch.tensor([[True, True]] * 200 + [[True, False]] * 50)
    kept = tower._dropped(there)
    assert bool((kept.sum(dim=1) >= 1).all())
    assert bool((kept[200:] == there[200:]).all())
    dropped = (kept[:200].sum(dim=1) == 1).float().mean()
    assert 0.8 < float(dropped) < 1.0
    assert {tuple(row) for row in kept[:200].tolist()} >= {(True, False), (False, True)}


def test_the_video_tower_starts_from_clip(clip_folder: Path) -> None:
    config = WindowTowerConfig(clip_dir=str(clip_folder))
    tower = WindowTower(**config.settings(DIMS))
    tower.load_clip(clip_folder)
    source: Any = CLIPModel.from_pretrained(clip_folder).vision_model.state_dict()
    taken = [name for name in tower.state_dict() if name in source]
    assert len(taken) == len(tower.encoder.state_dict()) + 4
    assert all(torch.equal(tower.state_dict()[name], source[name]) for name in taken)


def test_the_text_tower_is_clips(clip_folder: Path) -> None:
    tower = TransformerTextTower(architecture_of(clip_folder)).eval()
    tower.load_folder(clip_folder)
    ids, lengths = torch.tensor([[98, 3, 4, 99], [98, 5, 99, 7]]), torch.tensor([4, 3])
    found = tower(ids, lengths)[0]
    source: Any = CLIPModel.from_pretrained(clip_folder).eval().text_model
    for row, length in enumerate(lengths.tolist()):
        expected = source(input_ids=ids[row : row + 1, :length]).last_hidden_state[0]
        assert torch.allclose(found[row, :length], expected, atol=1e-5)
    projection = text_projection(clip_folder, 24)
    assert projection is not None
    assert torch.equal(projection, load_clip(clip_folder).text_projection)
    assert text_projection(clip_folder, 16) is None


def test_any_encoder_is_a_text_tower(bert_folder: Path) -> None:
    tower = TransformerTextTower(architecture_of(bert_folder)).eval()
    tower.load_folder(bert_folder)
    source: Any = BertModel.from_pretrained(bert_folder).eval()
    ids, lengths = torch.tensor([[2, 3, 4, 49], [8, 5, 9, 7]]), torch.tensor([4, 2])
    found = tower(ids, lengths)[0]
    assert torch.allclose(found[1, :2], source(input_ids=ids[1:, :2]).last_hidden_state[0], atol=1e-5)
    assert text_projection(bert_folder, 32) is None


@pytest.mark.parametrize(("num_frozen", "first_that_learns"), [(0, "embeddings"), (2, "encoder.layer.2"), (-1, "")])
def test_frozen_layers_have_no_gradient(bert_folder: Path, num_frozen: int, first_that_learns: str) -> None:
    tower = TransformerTextTower(architecture_of(bert_folder), num_frozen_layers=num_frozen).train()
    learning = [name for name, parameter in tower.model.named_parameters() if parameter.requires_grad]
    assert (learning[0] if learning else "").startswith(first_that_learns)
    assert bool(learning) == bool(first_that_learns)
    assert tower.training == (num_frozen >= 0)
    assert tower(torch.tensor([[2, 3]]), torch.tensor([2]))[0].requires_grad == (num_frozen >= 0)
    with pytest.raises(ValueError, match="the encoder has 3 layers"):
        TransformerTextTower(architecture_of(bert_folder), num_frozen_layers=4)


def test_a_bundle_builds_the_same_towers_from_plain_settings(clip_folder: Path, bert_folder: Path) -> None:
    signs = {"kind": "windows", **WindowTowerConfig(clip_dir=str(clip_folder)).settings(DIMS)}
    texts = {"kind": "transformer", "architecture": architecture_of(bert_folder), "num_frozen_layers": 0}
    first, second = (build_dual_encoder({"dim": 8, "signs": signs, "texts": texts}).eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    inputs, ids = windows(3, 5), (torch.tensor([[2, 3]]), torch.tensor([2]))
    for one, other in zip(first(*inputs, *ids), second(*inputs, *ids), strict=True):
        assert torch.equal(one.tokens, other.tokens)


def test_folders_that_hold_something_else_are_named(tmp_path: Path, bert_folder: Path) -> None:
    with pytest.raises(ArtefactError, match="no model folder"):
        load_clip(tmp_path)
    with pytest.raises(ArtefactError, match="holds a model of type 'bert', and a CLIP model is needed"):
        load_clip(bert_folder)
    with pytest.raises(ArtefactError, match="no text encoder"):
        architecture_of(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5", "is_encoder_decoder": true}')
    with pytest.raises(ArtefactError, match="encoder with a decoder"):
        architecture_of(tmp_path)
