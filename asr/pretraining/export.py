"""A pretrained encoder as a bundle whose folder transformers and our CTC recipes open as a donor."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from asr.features import SAMPLE_RATE_HZ, FeatureSettings
from asr.pretraining.best_rq import BestRqObjective
from asr.pretraining.config import INFO_FILE, Objective
from asr.pretraining.encoders import MaskedEncoder
from signwave import bundle
from signwave.rundir import write_json

BUNDLE_KIND = "asr.pretraining"
_EXTRACTORS = {
    "waveform": "Wav2Vec2FeatureExtractor",
    "log_mel": "WhisperFeatureExtractor",
    "stacked_fbank": "SeamlessM4TFeatureExtractor",
}


def export_encoder(
    folder: str | Path, encoder: MaskedEncoder, objective: Objective, *, encoder_config: dict[str, Any],
    settings: FeatureSettings, info: dict[str, Any],
) -> None:  # fmt: skip
    """Write bundle.json, model.safetensors, config.json, preprocessor_config.json and pretraining.json.

    `model.donor_dir=FOLDER` of a CTC recipe starts from it, `encoder.donor_dir=FOLDER` continues pretraining, and so
    does `from_pretrained(FOLDER)` of transformers: `Wav2Vec2ForPreTraining` with quantiser and projections.

    Args:
        folder: where it shall lie.
        encoder: its weights.
        objective: its weights too, for runs that continue this one.
        encoder_config: content of config.json.
        settings: features the encoder takes.
        info: facts for people and for runs that continue this one.
    """
    config = {**encoder_config, "architectures": [_architecture(encoder, objective)]}
    extractor = {
        "feature_extractor_type": _EXTRACTORS[settings.kind], "sampling_rate": SAMPLE_RATE_HZ,
        "feature_size": 1 if settings.kind == "waveform" else settings.num_mel_bins, "padding_value": 0.0,
        "do_normalize": settings.normalise, "return_attention_mask": True,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        files = {}
        for name, content in (
            ("config.json", config), ("preprocessor_config.json", extractor), (INFO_FILE, info)
        ):  # fmt: skip
            files[name] = Path(temporary) / name
            write_json(files[name], content)
        described = {"features": settings.to_dict(), "encoder": encoder_config}
        bundle.save(
            folder, kind=BUNDLE_KIND, model=_named(encoder, objective), config=described, info=info, files=files
        )


def _named(encoder: MaskedEncoder, objective: Objective) -> nn.Module:
    """The weights under the names that transformers gives them."""
    root = nn.Module()
    whisper = encoder.model.config.model_type == "whisper"
    root.add_module("encoder" if whisper else encoder.model.base_model_prefix, encoder.model)
    if isinstance(objective, BestRqObjective):
        root.add_module("best_rq", objective)
    else:
        for name, part in objective.named_children():
            root.add_module(name, part)
    return root


def _architecture(encoder: MaskedEncoder, objective: Objective) -> str:
    if isinstance(objective, BestRqObjective):
        return type(encoder.model).__name__
    return "Wav2Vec2ForPreTraining"
