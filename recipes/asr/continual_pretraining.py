"""Continual pretraining on untranscribed speech: wav2vec 2.0 or XLS-R goes on with its own objective, or with BEST-RQ.

    asr prepare CORPUS RAW_DIR MANIFESTS
    python recipes/asr/continual_pretraining.py data.manifest_dir=MANIFESTS encoder.donor_dir=XLSR train.max_steps=5000

MANIFESTS holds train.jsonl.gz and dev.jsonl.gz of any prepared corpus; transcripts aren't looked at. A batch is 3 M
samples (3 min) times train.accumulate_grad_batches times ranks; aim at half an hour to two hours a step.
data.replay_dirs.NAME=FOLDER mixes a donor language in and reports its held-out loss too. The bundle is a transformers
folder: `model.donor_dir=runs/NAME/bundle` starts a CTC recipe from it, `encoder.donor_dir=…` continues it.

Without a donor: encoder.architecture.model_type=wav2vec2 and objective.kind=best_rq, which small data don't collapse.
"""

from dataclasses import dataclass, field, replace
from typing import TypeVar

from asr.pretraining.config import TINY, EncoderConfig, ObjectiveConfig
from asr.pretraining.data import MadeUpAudioConfig, PretrainingDataConfig
from asr.pretraining.health import GuardConfig
from asr.pretraining.module import Pretraining
from asr.pretraining.optimiser import PretrainingOptimiserConfig
from signwave.recipe import Parts, Recipe, main

AnyPretraining = TypeVar("AnyPretraining", bound="ContinualPretraining")


@dataclass
class ContinualPretraining(Recipe):
    """Self-supervised pretraining of a speech encoder."""

    data: PretrainingDataConfig = field(default_factory=PretrainingDataConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimiser: PretrainingOptimiserConfig = field(default_factory=PretrainingOptimiserConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)

    def build(self) -> Parts:
        data = self.data.build(self.encoder.features(), with_targets=self.objective.kind == "best_rq", seed=self.seed,
                               budget=self.train.budget, num_workers=self.train.num_workers)  # fmt: skip
        module = Pretraining.of(self.encoder, data, objective=self.objective, optimiser=self.optimiser,
                                guard=self.guard, name=self.name)  # fmt: skip
        return data, module

    def smoke(self: AnyPretraining) -> AnyPretraining:
        train = replace(super().smoke().train, budget=100_000, num_workers=0)
        encoder = replace(self.encoder, donor_dir="", architecture=TINY)
        return replace(super().smoke(), train=train, data=MadeUpAudioConfig(), encoder=encoder)


if __name__ == "__main__":
    main(ContinualPretraining)
