"""Whole pretraining runs on made-up audio: exact resume, normalisation, held-out report, anchoring, replay, export."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Wav2Vec2ForPreTraining, Wav2Vec2Model

from asr.models.speech_ctc import SpeechCtcConfig
from asr.pretraining.config import EncoderConfig, ObjectiveConfig
from asr.pretraining.masking import masked_positions
from asr.pretraining.optimiser import PretrainingOptimiserConfig
from signwave.errors import ConfigError
from signwave.recipe import run
from signwave.training import checkpoints
from signwave.training.guards import Interrupted

SCRIPT = Path(__file__).with_name("made_up_pretraining.py")
_SPEC = importlib.util.spec_from_file_location("made_up_pretraining", SCRIPT)
made_up = importlib.util.module_from_spec(_SPEC)
sys.modules["made_up_pretraining"] = made_up
_SPEC.loader.exec_module(made_up)


def recipe(folder, name="run", *, train=None, **options):
    return made_up.MadeUp(name=name, runs_dir=str(folder), train=made_up.small_training(**(train or {})), **options)


def final(folder, name):
    return checkpoints.load(checkpoints.latest_valid(folder / name / "checkpoints"))


def assert_same(one, two):
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name
    first, second = one["optimizer_states"][0]["state"], two["optimizer_states"][0]["state"]
    for key, state in first.items():
        assert all(torch.equal(value, second[key][name]) for name, value in state.items())
    assert one["lr_schedulers"] == two["lr_schedulers"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its folder, what results.json holds, and its module."""
    folder = tmp_path_factory.mktemp("whole")
    made = recipe(folder, "whole")
    return folder, run(made), made.module


def test_a_killed_run_resumes_to_the_same_bits(whole, tmp_path):
    """SIGKILL in the middle of an epoch, three steps after the last checkpoint; a new process goes on."""
    folder, results, _ = whole
    command = [sys.executable, str(SCRIPT), f"runs_dir={tmp_path}", "name=killed", "kill_at=7"]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed" / "results.json").exists()
    again = run(recipe(tmp_path, "killed"), resume=True)
    assert_same(final(folder, "whole"), final(tmp_path, "killed"))
    assert again["figures"]["held_out_loss"] == results["figures"]["held_out_loss"]


@pytest.mark.parametrize(
    ("train", "objective"),
    [
        pytest.param({"accumulate_grad_batches": 2, "max_steps": 6}, "wav2vec2", id="accumulation"),
        pytest.param({"num_workers": 1}, "best_rq", id="best_rq with a loader process"),
    ],
)
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, train, objective):
    options = {"train": train, "objective": ObjectiveConfig(kind=objective, num_codes=64)}
    run(recipe(tmp_path, "whole", **options))
    with pytest.raises(Interrupted):
        run(recipe(tmp_path, "cut", kill_at=7, kill_with=int(signal.SIGTERM), **options))
    run(recipe(tmp_path, "cut", **options), resume=True)
    assert_same(final(tmp_path, "whole"), final(tmp_path, "cut"))


def test_the_gradient_of_a_step_is_the_sum_over_its_micro_batches_by_masked_frame(tmp_path):
    made = recipe(
        tmp_path, train={"accumulate_grad_batches": 3, "max_steps": 1, "gradient_clip": 0.0, "budget": 40_000},
        encoder=EncoderConfig(architecture={**made_up.TINY, **made_up.STILL}),
    )  # fmt: skip
    batches, found, before = [], {}, {}

    class Spy(made_up.Pretraining):
        def training_step(self, batch, batch_idx):
            batches.append(batch)
            before.update({name: value.clone() for name, value in self.state_dict().items()})
            return super().training_step(batch, batch_idx)

        def on_before_optimizer_step(self, optimizer):
            found.update({name: p.grad.clone() for name, p in self.named_parameters() if p.grad is not None})

    made.module_class = lambda: Spy
    run(made)
    module = made.module
    module.load_state_dict(before)
    module.train()
    module.zero_grad()
    module.temperature = replace(module.temperature, start=module.temperature.at(0), decay=1.0)
    losses = [module.compute(batch) for batch in batches]
    frames = sum(int(loss.num_masked.sum()) for loss in losses)
    assert len(losses) == 3
    assert len({int(loss.num_masked.sum()) for loss in losses}) > 1, "micro-batches of unequal size are wanted"
    (sum(loss.total for loss in losses) / frames).backward()
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)
    assert module.health.num_masked == frames


@pytest.mark.slow
def test_two_ranks_train_like_two_micro_batches(tmp_path):
    """With this seed the first two steps of two ranks take the pairs of batches that one process takes in a row."""
    still = json.dumps({**made_up.TINY, **made_up.STILL})
    settings = [f"runs_dir={tmp_path}", f"encoder.architecture={still}", "encoder.layerdrop=0", "train.max_steps=2"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for command in (
        [sys.executable, str(SCRIPT), *settings, "name=one", "train.accumulate_grad_batches=2"],
        [*launcher, str(SCRIPT), *settings, "name=two", "train.devices=2", "train.strategy=ddp"],
    ):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert ended.returncode == 0, ended.stderr
    one, two = final(tmp_path, "one"), final(tmp_path, "two")
    assert one["global_step"] == two["global_step"] == 2
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, atol=5e-6, rtol=1e-5)


def test_held_out_loss_is_told_by_language_before_and_after(whole):
    _, results, _ = whole
    report = results["figures"]["held_out_loss"]
    assert set(report) == {"en", "fa"}
    for language, losses in report.items():
        assert losses["after"] == pytest.approx(results["metrics"][f"val/loss_{language}"])
        assert losses["change"] == pytest.approx(losses["after"] - losses["before"])
        assert losses["before"] != losses["after"]
    assert results["figures"]["rollbacks"] == []


def test_the_bundle_is_a_donor_for_transformers_for_ctc_and_for_more_pretraining(whole, tmp_path):
    folder, _, module = whole
    bundle = folder / "whole" / "bundle"
    theirs, info = Wav2Vec2ForPreTraining.from_pretrained(bundle, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    audio = torch.randn(2, 8000)
    steps = int(theirs._get_feat_extract_output_lengths(8000))
    mask = torch.zeros(2, steps, dtype=torch.bool)
    mask[:, 5:15] = True
    module.eval()
    with torch.no_grad():
        expected = theirs.eval().wav2vec2(audio, mask_time_indices=mask).last_hidden_state
        context = module.encoder(audio, torch.tensor([8000, 8000]), mask)
    torch.testing.assert_close(context.states, expected, atol=1e-5, rtol=1e-4)
    assert Wav2Vec2Model.from_pretrained(bundle).config.hidden_size == 32

    ctc = SpeechCtcConfig(donor_dir=str(bundle))
    assert ctc.features().kind == "waveform"
    recogniser = ctc.build(vocab_size=7)
    stored = load_file(bundle / "model.safetensors")
    for name, value in recogniser.encoder.encoder.state_dict().items():
        assert torch.equal(value, stored[f"wav2vec2.{name}"]), name

    made = recipe(tmp_path, encoder=EncoderConfig(donor_dir=str(bundle)), train={"max_steps": 1})
    made.build()
    for name, value in made.module.objective.state_dict().items():
        assert torch.equal(value, stored[name]), name
    assert made.module.temperature.start == pytest.approx(2.0 * 0.999995**12)


def test_a_donor_without_quantiser_is_refused_unless_a_new_one_is_wanted(whole, tmp_path):
    folder, _, _ = whole
    donor = tmp_path / "donor"
    Wav2Vec2Model.from_pretrained(folder / "whole" / "bundle").save_pretrained(donor)
    encoder = EncoderConfig(donor_dir=str(donor))
    with pytest.raises(ConfigError, match=r"holds no quantiser .* objective.kind=best_rq"):
        recipe(tmp_path, encoder=encoder).build()
    for objective in (ObjectiveConfig(new_quantiser=True), ObjectiveConfig(kind="best_rq", num_codes=64)):
        recipe(tmp_path, encoder=encoder, objective=objective).build()


def test_the_temperature_goes_on_at_the_donors_floor(whole, tmp_path):
    """A folder that isn't ours says nothing about its temperature: Large's recipes end at 0.1, Base's at 0.5."""
    folder, _, _ = whole
    donor = tmp_path / "donor"
    Wav2Vec2ForPreTraining.from_pretrained(folder / "whole" / "bundle").save_pretrained(donor)
    made = recipe(tmp_path, encoder=EncoderConfig(donor_dir=str(donor)))
    made.build()
    assert made.module.temperature.at(0) == made.module.temperature.floor == 0.1
    fresh = recipe(tmp_path, encoder=EncoderConfig(architecture={**made_up.TINY, "do_stable_layer_norm": False}))
    fresh.build()
    assert (fresh.module.temperature.start, fresh.module.temperature.floor) == (2.0, 0.5)


def test_anchoring_keeps_the_encoder_near_its_donor(whole, tmp_path):
    folder, _, _ = whole
    bundle = folder / "whole" / "bundle"
    distances = {}
    for weight in (0.0, 30.0):
        optimiser = PretrainingOptimiserConfig(learning_rate=1e-3, anchor_weight=weight, weight_decay=0.0)
        made = recipe(tmp_path, f"anchor{weight}", encoder=EncoderConfig(donor_dir=str(bundle)), optimiser=optimiser,
                      train={"monitor": None})  # fmt: skip
        run(made)
        stored = load_file(bundle / "model.safetensors")
        distances[weight] = sum(
            float((value.detach() - stored[f"wav2vec2.{name}"]).square().sum())
            for name, value in made.module.encoder.model.named_parameters()
        )
    assert distances[30.0] < 0.2 * distances[0.0]


def test_the_pull_is_the_gradient_of_the_squared_distance(whole, tmp_path):
    folder, _, _ = whole
    made = recipe(tmp_path, encoder=EncoderConfig(donor_dir=str(folder / "whole" / "bundle")),
                  optimiser=PretrainingOptimiserConfig(anchor_weight=0.7))  # fmt: skip
    made.build()
    module = made.module
    anchors = {name: p.detach().clone() for name, p in module.encoder.named_parameters()}
    for parameter in module.parameters():
        parameter.data.add_(torch.randn_like(parameter))
        parameter.grad = torch.zeros_like(parameter)
    module._anchor.pull()
    distance = sum((p - anchors[name]).square().sum() for name, p in module.encoder.named_parameters())
    expected = torch.autograd.grad(0.7 / 2 * distance, list(module.encoder.parameters()))
    for parameter, gradient in zip(module.encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert all(float(p.grad.abs().max()) == 0 for p in module.objective.parameters())


def test_anchoring_without_a_donor_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"anchor_weight needs encoder.donor_dir"):
        recipe(tmp_path, optimiser=PretrainingOptimiserConfig(anchor_weight=1.0)).build()


def test_frozen_convolutions_stand_still_and_then_learn(tmp_path):
    seen = []

    class Spy(made_up.Pretraining):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            extractor = self.encoder.model.feature_extractor
            seen.append(torch.cat([p.detach().flatten() for p in extractor.parameters()]))

    made = recipe(tmp_path, train={"max_steps": 5})
    made.encoder.frozen_feature_steps = 3
    made.module_class = lambda: Spy
    run(made)
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[2], seen[3])


def test_replay_mixes_donor_languages_in(tmp_path):
    counted = []

    class Spy(made_up.Pretraining):
        def training_step(self, batch, batch_idx):
            counted.append(set(batch.languages))
            return super().training_step(batch, batch_idx)

    class Two(made_up.MadeUpAudioConfig):
        def clips(self, folder, split):
            language = folder or "fa"
            return [replace(clip, id=f"{language}-{clip.id}", language=language) for clip in super().clips("", split)]

    made = recipe(tmp_path, data=Two(replay_dirs={"donor": "hi"}, replay_share=0.25))
    made.module_class = lambda: Spy
    results = run(made)
    assert [languages for languages in counted if len(languages) > 1] == []
    assert sum(languages == {"hi"} for languages in counted) == 3 == 0.25 * len(counted)
    assert set(results["figures"]["held_out_loss"]) == {"fa", "hi"}


def test_masks_of_a_batch_come_from_its_clips_seeds_alone(whole):
    _, _, module = whole
    data = made_up.MadeUpAudioConfig().build(module.settings, with_targets=False, budget=60_000)
    batch = next(iter(data.val_dataloader()))
    module.eval()
    found = []
    for seeds in (batch.seeds, batch.seeds, tuple(seed + 1 for seed in batch.seeds)):
        torch.rand(3)
        with torch.no_grad():
            found.append(module.compute(replace(batch, seeds=seeds)).by_clip)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert masked_positions(torch.ones(1, 3, dtype=torch.bool)).counts.tolist() == [3]
