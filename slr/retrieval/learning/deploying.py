"""What a recipe exports: the towers with the encoders that made its features, checked against the caches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from signwave.errors import ConfigError
from slr.models.dual_encoder import DualEncoder, Embedded, join_embedded
from slr.retrieval.learning.batch import pad_inputs, pad_texts
from slr.retrieval.learning.loss import RetrievalLossConfig
from slr.retrieval.search.landmarks import NAME, Landmarks, fit
from slr.retrieval.stored import Scoring, save_model
from slr.retrieval.texts import TextReader

if TYPE_CHECKING:
    from slr.features.window_encoders import WindowEncoder
    from slr.retrieval.streams import Stream


NUM_CAPTIONS, NUM_EXAMPLES = 2_000, 1_000
"""Captions whose words, and clips whose signs become landmarks, at most."""
_ITEMS_AT_ONCE = 256


@dataclass
class Deployment:
    """Everything of a bundle but the weights of the towers; made before training, so that a wrong encoder is told then.

    Args:
        settings: of the towers.
        texts: reads texts.
        info: facts for the user of the model.
        loss: what was trained, which says how clips and texts are compared.
        captions: of training; their words, and the signs of examples, are the landmarks of stage 1, see
            slr.retrieval.search.landmarks.
        examples: gives what the sign tower reads of some training clips, (M, F) float32 each.
        encoders: names for `load_window_encoder`, one a cache of each stream; empty exports none.
        weights: of the encoders, "" where there are none.
        streams: whose caches the encoders must have made.

    Raises:
        ConfigError: the encoders aren't those that made the caches.
    """

    settings: Mapping[str, Any]
    texts: TextReader
    info: Mapping[str, Any]
    loss: RetrievalLossConfig
    captions: Sequence[str] = ()
    examples: Callable[[], Sequence[NDArray[np.float32]]] = tuple
    encoders: Sequence[str] = ()
    weights: Sequence[str] = ()
    streams: Sequence[Stream] = ()
    _loaded: list[WindowEncoder] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if not self.encoders:
            return
        from slr.features.window_encoders import load_window_encoder

        caches = [cache for stream in self.streams for cache in stream.caches]
        if len(self.encoders) != len(caches):
            raise ConfigError(f"encoders: {len(self.encoders)} are named, and the streams have {len(caches)} caches")
        weights = [*self.weights, *([""] * (len(caches) - len(self.weights)))]
        for name, path, cache in zip(self.encoders, weights, caches):
            frames = None if cache.windows is None else cache.windows.window_frames
            encoder = load_window_encoder(name, weights=path or None, window_frames=frames)
            if encoder.digest() != cache.header.encoder_digest:
                raise ConfigError(
                    f"encoders: {name} isn't the one that made {cache.folder}; give the encoder and the weights that "
                    "`slr features` was given"
                )
            self._loaded.append(encoder)

    def write(self, folder: Path, dual: DualEncoder) -> None:
        """Write the bundle."""
        loss = self.loss
        scoring = Scoring(loss.temperature, loss.legacy_unmasked, loss.rank_by, loss.pooled_weight > 0)
        with tempfile.TemporaryDirectory() as temporary:
            files = {}
            if loss.fine_weight > 0 and self.captions:
                files[NAME] = Path(temporary) / NAME
                self._landmarks(dual).save(files[NAME])
            save_model(
                folder, dual, self.texts, settings=self.settings, info=self.info, scoring=scoring,
                encoders=self._loaded, files=files,
            )  # fmt: skip

    @torch.no_grad()
    def _landmarks(self, dual: DualEncoder) -> Landmarks:
        """The words of training captions as landmarks, of the towers as they are now."""
        was_training = dual.training
        dual.eval()
        device = next(dual.parameters()).device
        texts = []
        for start in range(0, len(self.captions), _ITEMS_AT_ONCE):
            some = self.captions[start : start + _ITEMS_AT_ONCE]
            ids, lengths = pad_texts([self.texts.encode(text) for text in some])
            texts.append(dual.embed_texts(ids.to(device), lengths.to(device)))
        examples, clips = self.examples(), []
        for start in range(0, len(examples), _ITEMS_AT_ONCE):
            inputs, lengths = pad_inputs(examples[start : start + _ITEMS_AT_ONCE])
            clips.append(dual.embed_signs(inputs.to(device), lengths.to(device)))
        dual.train(was_training)
        both = (Embedded(*(value.cpu() for value in join_embedded(side))) for side in (texts, clips))
        return fit(*both, temperature=self.loss.temperature)
