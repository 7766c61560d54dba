"""Starting from an older recogniser: its encoder as it is, its head carried over to the new vocabulary."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asr.acoustic_model import BUNDLE_KIND, model_of
from asr.features import FeatureSettings
from asr.head_start import StoredClip
from asr.models.speech_ctc import SpeechCtc, SpeechCtcConfig
from asr.speech_dataset import SpeechDataset
from asr.transfer.alignments import align_states, spikes
from asr.transfer.closed_form import ClosedFormConfig, evenly, solve_head
from asr.transfer.rows import LAST_WEIGHT, Composition, Rows, transfer_rows
from signwave import bundle
from signwave.errors import ArtefactError, ConfigError
from signwave.text import SPACE_TOKEN, Normaliser, Vocabulary

log = logging.getLogger(__name__)


@dataclass
class HeadConfig:
    """Where the output layer starts."""

    recogniser_dir: str = ""
    """Run or bundle of an older recogniser: the encoder and all layers start from it, and the rows of its head are
    copied for tokens that both vocabularies hold, and composed for those that it can spell."""
    last_weight: float = LAST_WEIGHT
    """Of a composed row: share of the token's last part."""
    closed_form: ClosedFormConfig = field(default_factory=ClosedFormConfig)

    def __post_init__(self) -> None:
        if not 0.0 < self.last_weight <= 1.0:
            raise ConfigError(f"head.last_weight must be in (0, 1], got {self.last_weight}")

    def older(self) -> "OlderRecogniser | None":
        """The recogniser to start from, or None.

        Raises:
            ArtefactError: it is missing, damaged, or no recogniser.
        """
        return OlderRecogniser.load(self.recogniser_dir) if self.recogniser_dir else None

    def solver(self, older: "OlderRecogniser | None") -> "Callable[[SpeechCtc, SpeechDataset, int], None] | None":
        """What solves the head before training, or None where that isn't asked for."""
        if not self.closed_form.rounds:
            return None

        def solve(model: SpeechCtc, train: SpeechDataset, seed: int) -> None:
            solve_head(model, train, self.closed_form, seed=seed,
                       first_steps=older.first_steps if older else evenly)  # fmt: skip

        return solve


class OlderRecogniser:
    """A trained recogniser whose parts a new one starts from.

    Attributes:
        model: in evaluation mode.
        vocabulary: of its head.
        normaliser: of its texts.
        settings: features it takes.
        arguments: of SpeechCtc.
    """

    def __init__(self, model: SpeechCtc, vocabulary: Vocabulary, normaliser: Normaliser, settings: FeatureSettings,
                 arguments: dict[str, Any]) -> None:  # fmt: skip
        self.model = model
        self.vocabulary, self.normaliser = vocabulary, normaliser
        self.settings, self.arguments = settings, arguments

    @classmethod
    def load(cls, path: str) -> "OlderRecogniser":
        """Open a run or bundle."""
        loaded = bundle.load(path)
        if loaded.kind != BUNDLE_KIND or loaded.vocabulary is None:
            raise ArtefactError(f"{path}: no speech recogniser with a vocabulary (kind '{loaded.kind}'); "
                                f"head.recogniser_dir takes one of kind '{BUNDLE_KIND}'")  # fmt: skip
        settings = FeatureSettings.from_dict(loaded.config["features"])
        normaliser = loaded.normaliser or Normaliser("none")
        return cls(model_of(loaded).eval(), loaded.vocabulary, normaliser, settings, dict(loaded.config["model"]))

    def model_config(self, config: SpeechCtcConfig) -> SpeechCtcConfig:
        """The settings of a model of the same shape; what isn't shape (dropout, masks, freezing) is the config's."""
        shape = {name: self.arguments[name] for name in ("mix_layers", "num_upsampled_steps", "num_lstm_layers",
                                                         "lstm_width")}  # fmt: skip
        return replace(config, donor_dir="", architecture=dict(self.arguments["encoder_config"]), **shape)

    def start(self, model: SpeechCtc, vocabulary: Vocabulary, texts: Sequence[str], config: HeadConfig,
              *, tokens_of: Callable[[str], list[str]] | None = None) -> Rows:  # fmt: skip
        """Give a new model of the same shape the older one's weights and rows.

        Args:
            model: changed in place.
            vocabulary: of its head.
            texts: normalised training texts, in which tokens are counted.
            config: how rows are composed.
            tokens_of: cuts a text into new tokens; None takes those of the vocabulary.

        Returns:
            The rows, with where each comes from.
        """
        old, new = self.model.state_dict(), model.state_dict()
        model.load_state_dict({**new, **{name: old[name] for name in new if not name.startswith("output.")}})
        cut = tokens_of or tokens_in(vocabulary)
        counts = (self._counts(texts), Counter(token for text in texts for token in cut(text)))
        composition = Composition(last_weight=config.last_weight, counts=counts)
        rows = transfer_rows(old["output.weight"].cpu(), old["output.bias"].cpu(), self.vocabulary.tokens,
                             vocabulary.tokens, composition=composition)  # fmt: skip
        with torch.no_grad():
            model.output.weight.copy_(rows.weight)
            model.output.bias.copy_(rows.bias)
        log.info("head: %d rows copied, %d composed, %d random%s", len(rows.copied), len(rows.composed),
                 len(rows.random), f" ({' '.join(rows.random[:10])})" if rows.random else "")  # fmt: skip
        return rows

    def _counts(self, texts: Sequence[str]) -> Counter[str]:
        cut = tokens_in(self.vocabulary)
        return Counter(token for text in texts for token in cut(self.normaliser(text)))

    def first_steps(
        self, dataset: SpeechDataset, clips: Sequence[StoredClip], states: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Align with the old head; the spike of the last old token of each new token stands for it.

        A clip whose tokens aren't made of old ones gives None. Gets and gives what `FirstSteps` says.
        """
        weight, bias = (x.detach().float().cpu() for x in (self.model.output.weight, self.model.output.bias))
        found: list[Tensor | None] = []
        for clip, state in zip(clips, states, strict=True):
            spelt = self.spell([dataset.vocabulary.tokens[label] for label in clip.labels.tolist()],
                               with_spaces=dataset.vocabulary.unit == "word")  # fmt: skip
            (alignment,) = align_states([state], [spelt.labels], weight, bias) if spelt else (None,)
            if spelt is None or alignment is None:
                found.append(None)
                continue
            peaks = [alignment.peaks[place] for place in spelt.places]
            found.append(spikes(clip.labels.tolist(), peaks, len(state)))
        return found

    def spell(self, tokens: Sequence[str], *, with_spaces: bool) -> "Spelt | None":
        """New tokens as labels of the old vocabulary, or None where it can't spell one.

        Args:
            tokens: new ones.
            with_spaces: they are words, and the old vocabulary may hold what parts words.
        """
        index = {token: label for label, token in enumerate(self.vocabulary.tokens)}
        labels: list[int] = []
        places = []
        for token in tokens:
            parts = [token] if token in index else Composition().parts(token)
            if not parts or any(part not in index for part in parts):
                return None
            if with_spaces and labels and SPACE_TOKEN in index:
                labels.append(index[SPACE_TOKEN])
            labels += [index[part] for part in parts]
            places.append(len(labels) - 1)
        return Spelt(labels, places)


class Spelt(NamedTuple):
    """Old labels, and for each new token the place of its last one."""

    labels: list[int]
    places: list[int]


def tokens_in(vocabulary: Vocabulary) -> Callable[[str], list[str]]:
    """Cuts a text into the tokens of a vocabulary of words or characters, known or not."""
    if vocabulary.unit == "word":
        return str.split
    return lambda text: list(SPACE_TOKEN.join(text.split()))
