"""The recipe of a student: a prepared corpus and a recogniser that was trained before."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from dataclasses import dataclass, field, replace
from typing import TypeVar

from asr.corpus_recipe import CorpusCtc
from asr.distillation import Distillation, DistillationConfig, kept_layers, start_student, student_arguments
from asr.models.speech_ctc import TINY, SpeechCtcConfig
from asr.text import ENGLISH
from asr.transfer.start import OlderRecogniser
from signwave.errors import ConfigError
from signwave.recipe import Parts
from signwave.text import Vocabulary

UNTRAINED = "untrained"
"""In place of a folder: a teacher that knows nothing."""
AnyStudent = TypeVar("AnyStudent", bound="StudentCtc")


@dataclass
class StudentCtc(CorpusCtc):
    """Distil a recogniser into one of fewer layers, on transcribed speech."""

    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    def teacher(self) -> OlderRecogniser:
        """The trained recogniser.

        Raises:
            ConfigError: none is named.
        """
        if not self.distillation.teacher_dir:
            raise ConfigError("distillation.teacher_dir is empty; name the run folder of a trained recogniser")
        if self.distillation.teacher_dir == UNTRAINED:
            return _untrained()
        return OlderRecogniser.load(self.distillation.teacher_dir)

    def build(self) -> Parts:
        """The corpus in the teacher's tokens, and a student that starts from the teacher's layers."""
        teacher, every = self.teacher(), self.distillation.every
        kept = kept_layers(teacher.model.encoder.num_layers, every)
        arguments = student_arguments(teacher.arguments, num_layers=len(kept))
        model = replace(teacher.model_config(self.model), architecture=arguments["encoder_config"])
        speech = self.data.build(teacher.settings, budget=self.train.budget, seed=self.seed,
                                 num_workers=self.train.num_workers, vocabulary=teacher.vocabulary)  # fmt: skip
        module = Distillation.of(
            model, speech, lm=self.lm, optimiser=self.optimiser, name=self.name, settings=teacher.settings,
            teacher=teacher.model, distillation=self.distillation,
        )  # fmt: skip
        start_student(module.encoder, teacher.model, every=every)
        return speech, module

    def smoke(self: AnyStudent) -> AnyStudent:
        """Two steps with a teacher that knows nothing."""
        return replace(super().smoke(), distillation=replace(self.distillation, teacher_dir=UNTRAINED))


def _untrained() -> OlderRecogniser:
    """A tiny recogniser of tones with random weights, for --smoke."""
    config = SpeechCtcConfig(architecture={**TINY, "encoder_layers": 2})
    vocabulary = Vocabulary.build(["abcd abcd"], unit="char")
    return OlderRecogniser(config.build(vocab_size=vocabulary.size), vocabulary, ENGLISH, config.features(),
                           config.arguments(vocab_size=vocabulary.size))  # fmt: skip
