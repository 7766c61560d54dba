"""Words fingerspelled in 13 manual alphabets, keypoints, convolutions and a GRU with CTC; tested on three others.

    python recipes/slr/fingerspelling_ctc.py train.max_steps=300

Letter error rate (seeds 0 and 1): 0.015 and 0.006 on unseen words of seen recordings; 0.18 and 0.19 on average over
unseen alphabets (seed 0: gsg 0.10, bzs 0.19, ssp 0.26), where shapes compared to the nearest mean or the nearest
recording, told the true letter boundaries, get 0.72 and 0.26. 1000 steps, 2.5 minutes of one CPU core. Each letter
was recorded once per language, so an alphabet that is held out is a signer that was never seen.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from signwave.recipe import Parts, Recipe, main
from slr.datasets.spelled_words import UNSEEN, SpelledWordsConfig
from slr.models.pose_conv import PoseConvConfig

AnyFingerspelling = TypeVar("AnyFingerspelling", bound="FingerspellingCtc")


@dataclass
class FingerspellingCtc(Recipe):
    """Fingerspelling with CTC."""

    data: SpelledWordsConfig = field(default_factory=SpelledWordsConfig)
    model: PoseConvConfig = field(default_factory=PoseConvConfig)
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    frame_weight: float = 4.0
    """Weight of the loss on single frames, whose letters are known because the words were joined here."""

    def build(self) -> Parts:
        from slr.training.frame_recognition import FrameRecognition

        words = self.data.build(seed=self.seed, budget=self.train.budget, num_workers=self.train.num_workers)
        module = FrameRecognition(
            self.model.build(vocab_size=words.vocabulary.size),
            vocabulary=words.vocabulary,
            frame_weight=self.frame_weight,
            baselines=words.baselines,
            averages={UNSEEN: self.data.unseen_alphabets},
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            bundle_kind="slr.pose_conv",
            bundle_config={**asdict(self.model), "vocab_size": words.vocabulary.size},
            bundle_info={"name": self.name, "rate_hz": words.rate_hz, "trained_on": list(self.data.train_alphabets)},
        )
        return words.data, module

    def smoke(self: AnyFingerspelling) -> AnyFingerspelling:
        small = replace(self.data, num_train_words=60, num_seen_test_words=8, num_dev_words=8)
        return replace(super().smoke(), data=small)


if __name__ == "__main__":
    main(FingerspellingCtc)
