"""The model in a speech bundle, ready to use: audio in, token probabilities out.

A bundle of kind "asr.speech_ctc" holds everything that transcribing needs, the encoder's configuration included, so no
donor folder is needed; where a language model was trained, also `lm.arpa.gz` and the decoder settings chosen on "dev".
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.features import FeatureSettings, extract
from asr.models.speech_ctc import SpeechCtc
from signwave import bundle
from signwave.batch import Encoded
from signwave.bundle import Bundle
from signwave.errors import ArtefactError
from signwave.text import Normaliser, Vocabulary

BUNDLE_KIND = "asr.speech_ctc"
LM_FILE = "lm.arpa.gz"


class AcousticModel:
    """A loaded model: audio in, token probabilities out. Decoding is the caller's.

    Attributes:
        model: on its device, in evaluation mode.
        settings: features the model takes.
        vocabulary: tokens of the output.
        normaliser: what the training texts went through.
        language: code of the language, empty for several.
        stride_seconds: time from one output step to the next.
        lm_path: n-gram model in the bundle, or None.
        decoder: settings chosen with it: `beam_size`, `lm_weight`, `token_bonus`, `unit`.
    """

    def __init__(self, loaded: Bundle, device: str | torch.device = "cpu") -> None:
        if loaded.kind != BUNDLE_KIND:
            raise ArtefactError(
                f"{loaded.folder}: a model of kind '{loaded.kind}'; speech recognition takes '{BUNDLE_KIND}'"
            )
        if loaded.vocabulary is None:
            raise ArtefactError(f"{loaded.folder}: holds no vocabulary.json; train or export the model again")
        self.device = torch.device(device)
        self.settings = FeatureSettings.from_dict(loaded.config["features"])
        self.vocabulary: Vocabulary = loaded.vocabulary
        self.normaliser: Normaliser = loaded.normaliser or Normaliser("none")
        self.info = loaded.info
        self.language = str(loaded.info.get("language", ""))
        self.decoder: dict[str, Any] = dict(loaded.info.get("decoder", {}))
        self.lm_path: Path | None = loaded.folder / LM_FILE if LM_FILE in loaded.files else None
        self.model = model_of(loaded).to(self.device).eval()
        self.stride_seconds: float = self.model.stride_seconds
        self.max_seconds: float | None = self.model.max_seconds

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> "AcousticModel":
        """Open a run folder or bundle folder.

        Raises:
            ArtefactError: it is missing, damaged, or not a speech recogniser.
        """
        return cls(bundle.load(path), device)

    def features(self, audio: NDArray[np.float32]) -> Tensor:
        """Features of one clip; see asr.features.extract."""
        return extract(audio, self.settings)

    @torch.inference_mode()
    def log_probs(self, audio_batch: list[NDArray[np.float32]]) -> Encoded:
        """Token probabilities of some clips.

        Args:
            audio_batch: B arrays (S,) float32 in [-1, 1], 16 kHz mono.

        Returns:
            log_probs: (B, T, V) float32 on the CPU, natural log, V[0] is the blank; anything past num_steps.
            num_steps: (B,) int64 on the CPU.
        """
        if not audio_batch:
            raise ValueError("audio_batch must hold at least one clip")
        features = [self.features(audio) for audio in audio_batch]
        lengths = torch.tensor([len(item) for item in features])
        inputs = pad_sequence(features, batch_first=True).to(self.device)
        encoded = self.model(inputs, lengths.to(self.device))
        return Encoded(encoded.log_probs.cpu(), encoded.num_steps.cpu())


def model_of(loaded: Bundle) -> SpeechCtc:
    """Build the model that a bundle describes, with its weights."""
    try:
        model = SpeechCtc(**loaded.config["model"])
        model.load_state_dict(loaded.state_dict())
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ArtefactError(
            f"{loaded.folder}: weights and configuration don't fit ({reason}); use the version that wrote it"
        ) from None
    return model
