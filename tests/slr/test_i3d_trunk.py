"""I3D as a trunk of isolated signs, and the tool that makes a recogniser of a checkpoint."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from signwave.errors import ArtefactError
from slr.isolated.infer import IsolatedRecognizer
from slr.isolated.model import IsolatedSigns
from slr.models.i3d import InceptionI3d
from slr.models.i3d_trunk import I3dTrunk

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = 64


def frames(*lengths: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (len(lengths), max(lengths), 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("i3d") / "signs.pth.tar"
    state = {f"module.{name}": value for name, value in InceptionI3d(num_classes=5).state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    return path


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("convert_i3d_signs", REPOSITORY / "tools" / "convert_i3d_signs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def test_a_clip_is_the_same_alone_and_padded_and_its_mean_is_the_embedding() -> None:
    torch.manual_seed(0)
    trunk = I3dTrunk(vocab_size=2).eval()
    inputs, lengths = frames(16, 9, 16), torch.tensor([16, 9, 16])
    found = trunk.step_features(inputs, lengths)
    assert found.num_steps.tolist() == [2, 2, 2]
    for row, length in enumerate(lengths.tolist()):
        alone = trunk.step_features(inputs[row : row + 1, :length], lengths[row : row + 1]).streams["main"][0]
        torch.testing.assert_close(found.streams["main"][row, : len(alone)], alone, atol=1e-5, rtol=1e-4)
        pixels = inputs[row : row + 1, :length].transpose(1, 2) / 255 - 0.5
        torch.testing.assert_close(alone.mean(0), trunk.net.embed(pixels)[0], atol=1e-5, rtol=1e-4)
    assert trunk.step_features(inputs[:1, :3], torch.tensor([3])).num_steps.tolist() == [1]


@torch.no_grad()
def test_a_converted_checkpoint_says_what_the_checkpoint_says(
    checkpoint: Path, tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("apple\nbear\ncold\ndog\neat\n", encoding="utf-8")
    assert tool.main([str(checkpoint), str(words), str(tmp_path / "run"), "--language", "bsl"]) == 0
    assert "names 5 signs" in capsys.readouterr().out
    recognizer = IsolatedRecognizer.load(tmp_path / "run")
    model = recognizer.model.eval()
    assert isinstance(model, IsolatedSigns)
    original = InceptionI3d(num_classes=5).eval()
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    original.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    inputs = frames(16, 16)
    found = model.probabilities(model(inputs, torch.tensor([16, 16])).whole, "bsl").exp()
    expected = original(inputs.transpose(1, 2) / 255 - 0.5).softmax(1)
    assert recognizer.glosses("bsl")[1:] == ("apple", "bear", "cold", "dog", "eat")
    assert float(found[:, 0].max()) < 1e-9
    torch.testing.assert_close(found[:, 1:], expected, atol=1e-5, rtol=1e-4)


def test_other_files_are_refused(checkpoint: Path, tool: ModuleType, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("apple\nbear\napple\ndog\neat\n", encoding="utf-8")
    with pytest.raises(ArtefactError, match="5 names, 4 of them different, for 5 classes"):
        tool.convert(checkpoint, words, tmp_path / "run", language="bsl")
    bare = tmp_path / "bare.pth"
    torch.save(InceptionI3d().state_dict(), bare)
    with pytest.raises(ArtefactError, match="has no classifier"):
        tool.convert(bare, None, tmp_path / "run", language="bsl")
    assert not (tmp_path / "run").exists()
