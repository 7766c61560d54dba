"""Averaged models: the mean written out, what may not be mixed, the tool from run folders to a bundle that loads."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from signwave import bundle
from signwave.averaging import average_models, average_states
from signwave.errors import ArtefactError, UserError
from signwave.text import Normaliser, Vocabulary
from signwave.training import checkpoints

VOCABULARY = Vocabulary.build(["ab"], unit="char")


def model(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    found = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    found[1].num_batches_tracked += seed
    return found


def save(folder: Path, seed: int, **changes: Any) -> Path:
    extra = folder.parent / "lm.txt"
    extra.write_text("model of language")
    parts = {"kind": "test.linear", "config": {"width": 3}, "vocabulary": VOCABULARY,
             "normaliser": Normaliser("lower", ("lower",)), **changes}  # fmt: skip
    bundle.save(folder, model=model(seed), info={"name": folder.name}, files={"lm.txt": extra}, **parts)
    return folder


def test_the_mean_is_the_weighted_sum_and_counts_stay_the_first_ones() -> None:
    states = [model(seed).state_dict() for seed in (1, 2, 3)]
    mean = average_states(states, [1.0, 2.0, 1.0])
    expected = 0.25 * states[0]["0.weight"] + 0.5 * states[1]["0.weight"] + 0.25 * states[2]["0.weight"]
    torch.testing.assert_close(mean["0.weight"], expected)
    assert mean["0.weight"].dtype == torch.float32
    assert int(mean["1.num_batches_tracked"]) == 1
    torch.testing.assert_close(average_states(states[:1])["0.bias"], states[0]["0.bias"])
    beyond = average_states(states[:2], [-0.5, 1.5])
    torch.testing.assert_close(beyond["0.bias"], 1.5 * states[1]["0.bias"] - 0.5 * states[0]["0.bias"])


def test_half_precision_is_averaged_in_full() -> None:
    values = [{"w": torch.tensor([1.0 + step / 128], dtype=torch.bfloat16)} for step in (0, 1, 1, 1)]
    mean = average_states(values)["w"]
    assert mean.dtype == torch.bfloat16
    assert float(mean) == float(torch.tensor(1 + 0.75 / 128, dtype=torch.bfloat16))


def test_other_shapes_and_weights_are_refused() -> None:
    state = model(0).state_dict()
    with pytest.raises(UserError, match=r"model 2 differs from the first in '0\.bias'"):
        average_states([state, {**state, "0.bias": torch.zeros(5)}])
    with pytest.raises(UserError, match=r"model 2 differs from the first in '0\.weight'"):
        average_states([state, {name: value for name, value in state.items() if name != "0.weight"}])
    for weights in ([1.0], [1.0, -1.0]):
        with pytest.raises(UserError, match="expected one for each of 2 models, with a sum other than 0"):
            average_states([state, state], weights)


def test_bundles_and_checkpoints_become_a_bundle(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a", 1), save(tmp_path / "b", 2)
    checkpoint = tmp_path / "step-000000003.ckpt"
    checkpoints.save(checkpoint, {"state_dict": {f"encoder.{n}": v for n, v in model(3).state_dict().items()}})
    average_models(tmp_path / "soup", [first, second, checkpoint])
    loaded = bundle.load(tmp_path / "soup")
    expected = average_states([model(seed).state_dict() for seed in (1, 2, 3)])
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert loaded.vocabulary == VOCABULARY
    assert loaded.info["averaged"] == ["a", "b", "step-000000003.ckpt"]
    assert (tmp_path / "soup" / "lm.txt").read_text() == "model of language"


@pytest.mark.parametrize(
    ("what", "value"),
    [("kind", "test.other"), ("config", {"width": 4}), ("vocabulary", Vocabulary.build(["abc"], unit="char")),
     ("normaliser", Normaliser("upper", ("upper",)))],
)  # fmt: skip
def test_models_of_different_sorts_are_not_mixed(what: str, value: Any, tmp_path: Path) -> None:
    first, second = save(tmp_path / "a", 1), save(tmp_path / "b", 2, **{what: value})
    with pytest.raises(ArtefactError, match=f"its {what} differs from that of"):
        average_models(tmp_path / "soup", [first, second])
    with pytest.raises(UserError, match="1 model given; name at least two"):
        average_models(tmp_path / "soup", [first])


def test_the_tool(tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("average_models", repository / "tools" / "average_models.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    names = [str(save(tmp_path / name, seed)) for seed, name in enumerate("ab")]
    assert tool.main([str(tmp_path / "soup"), *names, "--weights", "3", "1"]) == 0
    expected = average_states([model(0).state_dict(), model(1).state_dict()], [3.0, 1.0])
    torch.testing.assert_close(bundle.load(tmp_path / "soup").state_dict()["0.weight"], expected["0.weight"])
    assert tool.main([str(tmp_path / "soup"), names[0], str(tmp_path / "none")]) == 1
    assert "no such folder" in capsys.readouterr().err
