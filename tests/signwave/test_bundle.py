"""Model folders: what is written is what is read, and any change is noticed."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from signwave import bundle
from signwave.errors import ArtefactError
from signwave.text import Normaliser, Vocabulary

VOCABULARY = Vocabulary.build(["A B"])


def save(folder: Path, seed: int = 0, **changes: object) -> str:
    torch.manual_seed(seed)
    values: dict[str, object] = {"stride_seconds": 0.02, "name": "toy"}
    values.update(changes)
    return bundle.save(
        folder,
        kind="test.linear",
        model=nn.Linear(3, 2),
        config={"size": 3},
        vocabulary=VOCABULARY,
        normaliser=Normaliser("en", ("lower",)),
        info=values,
    )


def test_round_trip_from_bundle_and_run_folder(tmp_path: Path) -> None:
    digest = save(tmp_path / "run" / "bundle")
    for path in (tmp_path / "run", tmp_path / "run" / "bundle"):
        loaded = bundle.load(path)
        assert (loaded.kind, loaded.config, loaded.digest) == ("test.linear", {"size": 3}, digest)
        assert loaded.vocabulary == VOCABULARY
        assert loaded.normaliser == Normaliser("en", ("lower",))
        torch.manual_seed(0)
        assert torch.equal(loaded.state_dict()["weight"], nn.Linear(3, 2).weight)


def test_equal_models_have_equal_digests_and_others_do_not(tmp_path: Path) -> None:
    first = save(tmp_path / "a")
    assert save(tmp_path / "b") == first
    assert save(tmp_path / "c", seed=1) != first
    assert save(tmp_path / "d", stride_seconds=0.04) != first


def test_saving_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    save(tmp_path / "b")
    (tmp_path / "b" / "stray").touch()
    digest = save(tmp_path / "b", seed=1)
    assert bundle.load(tmp_path / "b").digest == digest
    assert not (tmp_path / "b" / "stray").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("name", ["model.safetensors", "vocabulary.json", "normaliser.json"])
def test_one_flipped_bit_is_noticed(name: str, tmp_path: Path) -> None:
    save(tmp_path / "b")
    path = tmp_path / "b" / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtefactError, match=f"{name}: checksum differs"):
        bundle.load(tmp_path / "b")


def test_a_changed_config_is_noticed(tmp_path: Path) -> None:
    save(tmp_path / "b")
    index = tmp_path / "b" / "bundle.json"
    index.write_text(index.read_text().replace("0.02", "0.03"))
    with pytest.raises(ArtefactError, match="was changed after it was written"):
        bundle.load(tmp_path / "b")


def test_missing_file_and_missing_bundle(tmp_path: Path) -> None:
    save(tmp_path / "b")
    (tmp_path / "b" / "vocabulary.json").unlink()
    with pytest.raises(ArtefactError, match=r"vocabulary\.json: missing from the bundle"):
        bundle.load(tmp_path / "b")
    with pytest.raises(ArtefactError, match="no such folder; give a run folder"):
        bundle.load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtefactError, match="the run may not have finished"):
        bundle.load(tmp_path / "empty")


def test_paths_outside_the_folder_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "b")
    index = tmp_path / "b" / "bundle.json"
    content = json.loads(index.read_text())
    content["sha256"]["../secret"] = "0" * 64
    index.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match="missing from the bundle"):
        bundle.load(tmp_path / "b")


def test_newer_format_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "b")
    index = tmp_path / "b" / "bundle.json"
    index.write_text(index.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ArtefactError, match="format version 2, this toolkit reads 1"):
        bundle.load(tmp_path / "b")


def test_editing_the_card_is_allowed(tmp_path: Path) -> None:
    digest = save(tmp_path / "b")
    (tmp_path / "b" / "README.md").write_text("# Better words\n")
    assert bundle.load(tmp_path / "b").digest == digest


def test_tied_weights_survive(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 2)
            self.second = self.first

    model = Tied()
    bundle.save(tmp_path / "b", kind="test.tied", model=model, config={})
    loaded = Tied()
    loaded.load_state_dict(bundle.load(tmp_path / "b").state_dict())
    assert torch.equal(loaded.first.weight, model.first.weight)


def test_bundle_is_frozen(tmp_path: Path) -> None:
    save(tmp_path / "b")
    with pytest.raises(dataclasses.FrozenInstanceError):
        bundle.load(tmp_path / "b").kind = "x"  # type: ignore[misc]
