"""The recipe of any prepared corpus: CTC on a donor encoder or on an architecture that starts from random weights.

A recipe derives from it, says in its docstring how the corpus is prepared, and keeps its values in its YAML file.
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from dataclasses import dataclass, field, replace
from typing import TypeVar

from asr.data import SpeechDataConfig, ToneDataConfig
from asr.language_model import LanguageModelConfig
from asr.models.speech_ctc import TINY, SpeechCtcConfig
from asr.optimiser import OptimiserConfig
from asr.recognition import SpeechRecognition
from asr.transfer.start import HeadConfig
from signwave.recipe import Parts, Recipe

AnyCorpus = TypeVar("AnyCorpus", bound="CorpusCtc")


@dataclass
class CorpusCtc(Recipe):
    """Train a recogniser on the manifests of a corpus, with an n-gram model beside."""

    data: SpeechDataConfig = field(default_factory=SpeechDataConfig)
    model: SpeechCtcConfig = field(default_factory=SpeechCtcConfig)
    lm: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    head: HeadConfig = field(default_factory=HeadConfig)

    def build(self) -> Parts:
        """The corpus and the module that learns it."""
        older = self.head.older()
        model = older.model_config(self.model) if older else self.model
        settings = older.settings if older else model.features()
        speech = self.data.build(settings, budget=self.train.budget, seed=self.seed, num_workers=self.train.num_workers)
        module = SpeechRecognition.of(
            model, speech, lm=self.lm, optimiser=self.optimiser, name=self.name, settings=settings,
            head_start=self.head.solver(older),
        )  # fmt: skip
        if older:
            cut = speech.tokenizer.tokens if speech.tokenizer else None
            older.start(module.encoder, speech.vocabulary, speech.lm_texts, self.head, tokens_of=cut)
        return speech, module

    def smoke(self: AnyCorpus) -> AnyCorpus:
        """Two steps of a tiny encoder on tones."""
        short = super().smoke()
        model = replace(self.model, donor_dir="", architecture=TINY)
        return replace(short, data=ToneDataConfig(), model=model, train=replace(short.train, num_workers=0))
