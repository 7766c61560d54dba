"""What is trained when: the encoder frozen at first, masks in training alone, the schedule a recipe asks for."""

from pathlib import Path
from typing import Any

import pytest
import torch

from asr.corpus_recipe import CorpusCtc
from asr.data import ToneDataConfig
from asr.language_model import LanguageModelConfig
from asr.models.speech_ctc import TINY, SpeechCtcConfig
from asr.models.state_masks import StateMaskConfig, StateMasks
from asr.optimiser import OptimiserConfig
from asr.recognition import SpeechRecognition
from signwave.errors import ConfigError
from signwave.recipe import TrainConfig, run


class Watched(CorpusCtc):
    """Keeps what its module saw."""

    def build(self) -> Any:
        data, module = super().build()
        self.module = module  # type: ignore[attr-defined]
        self.before = {n: v.clone() for n, v in module.encoder.state_dict().items()}  # type: ignore[attr-defined]
        return data, module

    def changed(self) -> set[str]:
        """The parts whose weights moved: encoder, output."""
        now = self.module.encoder.state_dict()  # type: ignore[attr-defined]
        return {n.partition(".")[0] for n, v in now.items() if not torch.equal(v, self.before[n])}  # type: ignore[attr-defined]


def watched(folder: Path, num_steps: int, model: dict[str, Any] | None = None, **optimiser: Any) -> Watched:
    train = TrainConfig(max_steps=num_steps, budget=3000, progress_bar=False, monitor=None, accelerator="cpu",
                        val_every_steps=num_steps, log_every_steps=1)  # fmt: skip
    return Watched(name="watched", runs_dir=str(folder), train=train, data=ToneDataConfig(),
                   model=SpeechCtcConfig(architecture=TINY, **(model or {})), lm=LanguageModelConfig(order=0),
                   optimiser=OptimiserConfig(**{"warmup_steps": 0, **optimiser}))  # fmt: skip


@pytest.mark.parametrize(("num_steps", "changed"), [(2, {"output"}), (3, {"output", "encoder"})])
def test_the_encoder_waits_for_its_first_step(num_steps: int, changed: set[str], tmp_path: Path) -> None:
    recipe = watched(tmp_path, num_steps, frozen_steps=2)
    run(recipe)
    assert recipe.changed() == changed


def test_masks_are_drawn_in_training_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, StateMasks | None]] = []

    def build(self: SpeechCtcConfig, *, vocab_size: int) -> Any:
        model = real(self, vocab_size=vocab_size)
        encode = model.encoder.forward

        def forward(features: Any, num_frames: Any, masks: StateMasks | None = None) -> Any:
            seen.append((model.training, masks))
            return encode(features, num_frames, masks)

        model.encoder.forward = forward
        return model

    real = SpeechCtcConfig.build
    monkeypatch.setattr(SpeechCtcConfig, "build", build)
    masks = StateMaskConfig(time_probability=0.75, channel_probability=0.25)
    run(watched(tmp_path, 2, model={"masks": masks}))
    trained = [masks for training, masks in seen if training]
    assert len(trained) == 2
    assert all(masks is not None and bool(masks.steps.any()) for masks in trained)
    evaluated = [masks for training, masks in seen if not training]
    assert evaluated
    assert not any(evaluated)


def test_the_rate_follows_the_three_stages(tmp_path: Path) -> None:
    recipe = watched(tmp_path, 20, schedule="tri_stage", learning_rate=1e-2)
    rates: list[float] = []
    original = SpeechRecognition.training_step

    def step(self: SpeechRecognition, batch: Any, batch_idx: int) -> Any:
        rates.append(max(group["lr"] for group in self.optimizers().param_groups))  # type: ignore[union-attr]
        return original(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpeechRecognition, "training_step", step)
        run(recipe)
    assert rates[0] == pytest.approx(1e-4)
    assert rates[2:10] == pytest.approx([1e-2] * 8)
    assert rates[-1] == pytest.approx(1e-2 * 0.05**0.9)


@pytest.mark.parametrize(
    "changes", [{"frozen_steps": -1}, {"stages": [0.5, 0.5]}, {"stages": [0.9, 0.9, 0.1]}, {"final_factor": 0.0}]
)
def test_impossible_schedules_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"frozen_steps|stages"):
        OptimiserConfig(**changes)
