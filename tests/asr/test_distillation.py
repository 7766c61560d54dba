"""Students: pooled posteriors against loops, layers taken over in every family, a run from teacher to bundle."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.acoustic_model import AcousticModel
from asr.data import ToneDataConfig
from asr.distillation import DistillationConfig, comparison, kept_layers, pooled, start_student, student_arguments
from asr.distillation_recipe import UNTRAINED, StudentCtc
from asr.language_model import LanguageModelConfig
from asr.models.speech_ctc import TINY, SpeechCtc
from asr.optimiser import OptimiserConfig
from signwave.errors import ConfigError
from signwave.recipe import TrainConfig, run

WAVEFORM: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "whisper": {**TINY, "encoder_layers": 4},
    "wav2vec2": {"model_type": "wav2vec2", **WAVEFORM},
    "wavlm": {"model_type": "wavlm", **WAVEFORM},
    "w2v-bert": {"model_type": "wav2vec2-bert", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
                 "intermediate_size": 24},
}  # fmt: skip


def random_posteriors(seed: int, *shape: int) -> torch.Tensor:
    return (3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def pooled_slowly(rows: list[list[float]], reach: int) -> list[list[float]]:
    """One clip without padding: the largest posterior around each step, made to add up to 1."""
    result = []
    for step in range(len(rows)):
        near = rows[max(0, step - reach) : step + reach + 1]
        largest = [max(math.exp(row[token]) for row in near) for token in range(len(rows[0]))]
        result.append([value / sum(largest) for value in largest])
    return result


@pytest.mark.parametrize("reach", [0, 1, 2, 20])
def test_pooling_is_the_largest_of_the_neighbours(reach: int) -> None:
    log_probs, num_steps = random_posteriors(0, 2, 9, 4), torch.tensor([9, 5])
    log_probs[1, 5:] = 7.0  # whatever padding holds
    found = pooled(log_probs, num_steps, reach=reach).exp()
    for item, size in enumerate(num_steps.tolist()):
        expected = torch.tensor(pooled_slowly(log_probs[item, :size].tolist(), reach))
        torch.testing.assert_close(found[item, :size], expected)


@pytest.mark.parametrize("reach", [0, 2])
def test_the_comparison_is_the_divergence_written_out(reach: int) -> None:
    student, teacher = random_posteriors(1, 2, 7, 5), random_posteriors(2, 2, 7, 5)
    num_steps = torch.tensor([7, 4])
    total = 0.0
    for item, size in enumerate(num_steps.tolist()):
        said, wanted = (pooled_slowly(x[item, :size].tolist(), reach) for x in (student, teacher))
        total += sum(
            p * math.log(p / q) for row_p, row_q in zip(wanted, said, strict=True)
            for p, q in zip(row_p, row_q, strict=True)
        )  # fmt: skip
    assert float(comparison(student, teacher, num_steps, reach=reach)) == pytest.approx(total / 11, rel=1e-4)
    assert float(comparison(teacher, teacher, num_steps, reach=reach)) == pytest.approx(0.0, abs=1e-6)
    garbage = student.clone()
    garbage[1, 4:] = 9.0
    torch.testing.assert_close(
        comparison(garbage, teacher, num_steps, reach=reach), comparison(student, teacher, num_steps, reach=reach)
    )


def test_a_spike_two_steps_late_costs_little() -> None:
    scores = torch.zeros(1, 20, 3)
    scores[..., 0] = 8.0
    late = scores.clone()
    scores[0, 8], late[0, 10] = torch.tensor([0.0, 8.0, 0.0]), torch.tensor([0.0, 8.0, 0.0])
    wanted, said, num_steps = scores.log_softmax(-1), late.log_softmax(-1), torch.tensor([20])
    strict = float(comparison(said, wanted, num_steps, reach=0))
    lenient = float(comparison(said, wanted, num_steps, reach=2))
    missed = scores.clone()
    missed[0, 8] = torch.tensor([8.0, 0.0, 0.0])
    assert lenient < 0.7 * strict
    assert float(comparison(missed.log_softmax(-1), wanted, num_steps, reach=2)) > 1.2 * lenient


def test_its_gradient_reaches_the_student_past_padding_and_temperature() -> None:
    student = random_posteriors(3, 2, 6, 4).requires_grad_()
    comparison(student, random_posteriors(4, 2, 6, 4), torch.tensor([6, 3]), temperature=2.0).backward()
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())
    assert float(student.grad[1, 3:].abs().max()) == 0.0
    assert float(student.grad[0].abs().max()) > 0.0


def test_kept_layers_are_spread_evenly_and_hold_the_last() -> None:
    assert kept_layers(12, 2) == [1, 3, 5, 7, 9, 11]
    assert kept_layers(4, 1) == [0, 1, 2, 3]
    assert kept_layers(5, 2) == [2, 4]
    with pytest.raises(ConfigError, match=r"distillation\.every=5: the teacher has 4 layers"):
        kept_layers(4, 5)


@pytest.mark.parametrize("mix_layers", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_starts_from_its_teachers_layers(family: str, mix_layers: bool) -> None:
    torch.manual_seed(0)
    arguments = {"vocab_size": 5, "encoder_config": FAMILIES[family], "mix_layers": mix_layers, "dropout": 0.0}
    teacher = SpeechCtc(**arguments)
    for parameter in teacher.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    student = SpeechCtc(**student_arguments(arguments, num_layers=2))
    assert start_student(student, teacher, every=2) == [1, 3]
    for target, source in zip(student.encoder.parts()[1:], (1, 3), strict=True):
        expected = teacher.encoder.parts()[1:][source].state_dict()
        for name, value in target.state_dict().items():
            if name in expected:
                assert torch.equal(value, expected[name]), name
    for name, value in student.encoder.parts()[0].state_dict().items():
        assert torch.equal(value, teacher.encoder.parts()[0].state_dict()[name]), name
    assert torch.equal(student.output.weight, teacher.output.weight)
    if mix_layers:
        assert student.layer_weights is not None
        assert teacher.layer_weights is not None
        assert torch.equal(student.layer_weights, teacher.layer_weights[[0, 2, 4]])
    whole = SpeechCtc(**arguments)
    start_student(whole, teacher, every=1)
    inputs = torch.randn(1, 4000) if family in ("wav2vec2", "wavlm") else torch.randn(1, 60, 160)
    inputs = inputs[..., :80] if family == "whisper" else inputs
    with torch.no_grad():
        ours, theirs = (m.eval()(inputs, torch.tensor([inputs.shape[1]])).log_probs for m in (whole, teacher))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("changes", [{"every": 0}, {"weight": 1.5}, {"temperature": 0.0}, {"reach": -1}])
def test_impossible_distillations_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^distillation:"):
        DistillationConfig(**changes)


class Student(StudentCtc):
    pass


def student(folder: Path, **distillation: Any) -> Student:
    train = TrainConfig(max_steps=3, budget=3000, progress_bar=False, monitor=None, accelerator="cpu",
                        log_every_steps=1)  # fmt: skip
    return Student(name="student", runs_dir=str(folder), train=train, data=ToneDataConfig(),
                   lm=LanguageModelConfig(order=0), optimiser=OptimiserConfig(warmup_steps=0),
                   distillation=DistillationConfig(**distillation))  # fmt: skip


def test_a_student_is_trained_with_its_teacher_and_leaves_a_bundle_without_it(tmp_path: Path) -> None:
    results = run(student(tmp_path, teacher_dir=UNTRAINED))
    assert results["metrics"]["train/teacher"] > 0
    model = AcousticModel.load(tmp_path / "student").model
    assert model.encoder.num_layers == 1
    assert not any("teacher" in name for name in model.state_dict())
    again = student(tmp_path / "again", teacher_dir=str(tmp_path / "student"), every=1)
    built = again.build()[1].encoder.state_dict()
    assert all(torch.equal(value, built[name]) for name, value in model.state_dict().items())


def test_a_teacher_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"distillation\.teacher_dir is empty; name the run folder"):
        run(student(tmp_path))
