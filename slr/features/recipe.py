"""What a recipe on cached features adds to any other: where the features lie, and the encoder that its bundle needs."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from signwave.errors import ConfigError
from signwave.recipe import Parts
from slr.models.feature_head import FeatureHeadConfig
from slr.training.corpus import Corpus, CorpusConfig
from slr.training.recipe import RecognitionRecipe

if TYPE_CHECKING:
    from slr.features.cache import FeatureCache
    from slr.reading import Needs
    from slr.training.data import Reader


@dataclass
class FeatureCorpusConfig(CorpusConfig):
    """A prepared corpus whose clips were encoded with `slr features`."""

    features_dir: str = ""
    """Cache folder, with the features of all splits."""

    def open(self) -> "FeatureCache":
        """The cache.

        Raises:
            ConfigError: none is named.
            ArtefactError: it isn't complete, or holds windows.
        """
        from slr.features.cache import FeatureCache

        if not self.features_dir:
            raise ConfigError(
                "data.features_dir is empty; make features with `slr features MANIFEST… FOLDER` and give FOLDER"
            )
        cache = FeatureCache.open(self.features_dir)
        cache.require_steps()
        return cache

    def load(self) -> Corpus:
        """The splits; training goes without clips that couldn't be encoded, dev and test score them as missing."""
        plain, cache = super().load(), self.open()
        train, *held_out = plain.splits
        encoded = [clip for clip in train if clip.id not in cache.problems]
        return FeatureCorpus(self, (encoded, *held_out), plain.vocabulary, cache)


@dataclass(frozen=True)
class FeatureCorpus(Corpus):
    """Clips that are read from a cache."""

    cache: "FeatureCache"

    def reader(self, needs: "Needs") -> "Reader":
        """The cache."""
        from slr.features.cache import CachedFeatures

        return CachedFeatures(self.cache)


class Deployed(NamedTuple):
    """What a bundle holds in place of the model that was trained.

    Attributes:
        model: the network.
        config: arguments that build it again.
        info: facts that replace those of training.
    """

    model: Any
    config: dict[str, Any]
    info: dict[str, Any]


@dataclass
class FeatureRecipe(RecognitionRecipe):
    """A head on cached features; its bundle holds the encoder too and reads videos."""

    data: FeatureCorpusConfig = field(default_factory=FeatureCorpusConfig)
    model: FeatureHeadConfig = field(default_factory=FeatureHeadConfig)
    encoder: str = ""
    """As given to `slr features --encoder`; empty: the bundle holds the head alone and can't read videos."""
    weights: str = ""
    """As given to `slr features --weights`."""

    def build(self) -> Parts:
        """As any recipe; the rate and the width of the features come from the cache."""
        if not isinstance(self.data, FeatureCorpusConfig):
            return super().build()
        import torch

        cache = self.data.open()
        encoder = self._encoder(cache)
        if encoder is not None and encoder.digest() != cache.header.encoder_digest:
            raise ConfigError(
                f"encoder={self.encoder} isn't the one that made {self.data.features_dir}; give the encoder and the "
                "weights that `slr features` was given"
            )
        data = replace(self.data, rate_hz=cache.header.rate_hz / cache.stride)
        fitted = replace(self, data=data, model=replace(self.model, feature_dim=cache.dim))
        parts = RecognitionRecipe.build(fitted)
        module: Any = parts[1]
        train: Any = parts[0].splits["train"]
        mean, std = cache.moments(train.clips)
        module.model.standardise(torch.from_numpy(mean), torch.from_numpy(std))
        if encoder is not None:

            def deploy() -> Deployed:
                model = module.model.with_encoder(encoder)
                info = {"rate_hz": cache.header.rate_hz, "size_px": list(encoder.spec.size_px)}
                return Deployed(model, model.config, info)

            module.deploy = deploy
        return parts

    def smoke(self) -> "FeatureRecipe":
        """Two steps on made-up features."""
        small = super().smoke()
        dim = getattr(small.data, "feature_dim", self.model.feature_dim)
        return replace(small, model=replace(small.model, feature_dim=dim), encoder="")

    def _encoder(self, cache: "FeatureCache") -> Any:
        if not self.encoder:
            return None
        from slr.features.encoders import EncoderSpec
        from slr.features.loading import load_encoder

        spec = EncoderSpec.from_dict(cache.header.encoder)
        return load_encoder(
            self.encoder,
            weights=self.weights or None,
            stride=spec.stride,
            window_frames=spec.window_frames if spec.is_video else None,
        )
