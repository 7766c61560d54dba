"""English telephone prompts (asterisk-core-sounds-en, one voice), CTC head on a donor's encoder, character n-gram.

    python tools/fetch_asterisk.py RAW && asr prepare asterisk RAW MANIFESTS
    python tools/convert_ct2_whisper.py DONOR
    python recipes/asr/asterisk_ctc.py data.manifest_dir=MANIFESTS model.donor_dir=DONOR

Result with Whisper tiny.en as donor, 40 held-out prompts (415 words): WER 0.26 [0.15, 0.35], CER 0.094 with the n-gram,
WER 0.40, CER 0.125 greedy; 0.28 h of training audio, 340 steps, 316 s on one shared CPU core in bf16 (seed 0).
One voice in a studio, and prompts that resemble each other: the figure says nothing about other voices or subjects.
"""

from dataclasses import dataclass, field, replace
from typing import TypeVar

from asr.data import SpeechDataConfig, ToneDataConfig
from asr.language_model import LanguageModelConfig
from asr.models.speech_ctc import TINY, SpeechCtcConfig
from asr.recognition import OptimiserConfig, SpeechRecognition
from signwave.recipe import Parts, Recipe, main

AnyAsterisk = TypeVar("AnyAsterisk", bound="AsteriskCtc")


@dataclass
class AsteriskCtc(Recipe):
    """Telephone prompts with CTC on a donor encoder."""

    data: SpeechDataConfig = field(default_factory=SpeechDataConfig)
    model: SpeechCtcConfig = field(default_factory=SpeechCtcConfig)
    lm: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def build(self) -> Parts:
        settings = self.model.features()
        speech = self.data.build(settings, budget=self.train.budget, seed=self.seed, num_workers=self.train.num_workers)
        return speech, SpeechRecognition.of(self.model, speech, lm=self.lm, optimiser=self.optimiser, name=self.name)

    def smoke(self: AnyAsterisk) -> AnyAsterisk:
        return replace(
            super().smoke(), data=ToneDataConfig(), model=replace(self.model, donor_dir="", architecture=TINY)
        )


if __name__ == "__main__":
    main(AsteriskCtc)
