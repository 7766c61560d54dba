"""Other corpora that are trained on beside the target: relabelled in its glosses, or with their own under a head."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from signwave.errors import ConfigError, UserError
from signwave.manifest import Clip
from signwave.mixing import Ramp
from signwave.text import Vocabulary

if TYPE_CHECKING:
    from signwave.ctc import ExtraTokens
    from slr.training.data import Labeller

log = logging.getLogger(__name__)


@dataclass
class AuxiliaryConfig:
    """Auxiliary corpora; dev, test, the decoder and the choice of the weights are the target's alone.

    A schedule is a list of [progress, value] points with straight lines between them; progress runs from 0 to 1.
    """

    corpora: dict[str, str] = field(default_factory=dict)
    """Name → folder of `slr relabel`; or of `slr prepare` for labels=native."""
    labels: Literal["target", "native"] = "target"
    """native: each corpus keeps its own glosses and gets a head of its own, which only training has."""
    share: list[list[float]] = field(default_factory=lambda: [[0.0, 0.5], [0.8, 0.5], [1.0, 0.0]])
    """Share of the batches that are auxiliary, over the run."""
    weight: list[list[float]] = field(default_factory=lambda: [[0.0, 1.0], [1.0, 0.5]])
    """Weight of their loss, over the run."""
    alpha: float = 0.5
    """Of several corpora each is drawn in proportion to its clips to this power: 0 all alike, 1 by size."""
    star_penalty: float = 0.1
    """Nats that a wildcard costs for each of its steps."""

    def __post_init__(self) -> None:
        if "target" in self.corpora or "" in self.corpora:
            raise ConfigError("auxiliary.corpora: 'target' and '' name no auxiliary corpus; call it otherwise")
        if self.star_penalty < 0 or self.alpha < 0:
            raise ConfigError(
                f"auxiliary: alpha and star_penalty must be at least 0, got {self.alpha} and {self.star_penalty}"
            )
        for name in ("share", "weight"):
            try:
                ramp = Ramp(getattr(self, name))
            except ValueError as error:
                raise ConfigError(f"auxiliary.{name}: {error}") from None
            if not ramp.within(0, 1 if name == "share" else float("inf")):
                raise ConfigError(f"auxiliary.{name} must not leave [0, 1], got {getattr(self, name)}")

    def load(self, vocabulary: Vocabulary, *, target_manifest: str | Path = "") -> "list[AuxiliaryCorpus]":
        """Read the corpora.

        Args:
            vocabulary: of the target.
            target_manifest: its training manifest; corpora that were relabelled for another are refused.

        Raises:
            UserError: a folder is missing, or isn't what `labels` asks for.
        """
        read = _native if self.labels == "native" else _relabelled
        return [read(name, Path(folder), self, vocabulary, target_manifest) for name, folder in self.corpora.items()]


@dataclass(frozen=True)
class AuxiliaryCorpus:
    """The training clips of one corpus.

    Attributes:
        name: of the corpus.
        clips: what is trained on.
        extra: target glosses, wildcards and mixtures; None for native labels.
        vocabulary: native glosses; None for labels of the target.
    """

    name: str
    clips: Sequence[Clip] = field(repr=False)
    extra: "ExtraTokens | None" = None
    vocabulary: Vocabulary | None = None

    @property
    def labeller(self) -> "Labeller":
        """What turns its glosses into labels."""
        found = self.extra or self.vocabulary
        if found is None:
            raise ValueError(f"the corpus '{self.name}' has neither extra tokens nor a vocabulary")
        return found

    @property
    def vocab_size(self) -> int:
        """Labels lie below this."""
        if self.extra is not None:
            return self.extra.vocab_size
        return self.vocabulary.size if self.vocabulary is not None else 0


def _relabelled(
    name: str, folder: Path, config: AuxiliaryConfig, vocabulary: Vocabulary, target_manifest: str | Path
) -> AuxiliaryCorpus:
    from signwave import manifest
    from signwave.ctc import ExtraTokens
    from slr.crosslingual.relabel_stage import is_relabelled, read_relabelled

    if not is_relabelled(folder):
        raise UserError(
            f"auxiliary.corpora.{name}={folder}: isn't relabelled; make it with `slr relabel MANIFEST MAP.tsv OUT`, or "
            "set auxiliary.labels=native to train it under its own glosses"
        )
    found = read_relabelled(folder)
    if found.target_sha256 and target_manifest and found.target_sha256 != manifest.file_hash(target_manifest):
        raise UserError(
            f"auxiliary.corpora.{name}={folder}: was relabelled for another target than {target_manifest}; relabel it "
            f"with --target {target_manifest}"
        )
    return AuxiliaryCorpus(name, found.clips, ExtraTokens(vocabulary, found.tokens, star_penalty=config.star_penalty))


def _native(
    name: str, folder: Path, config: AuxiliaryConfig, vocabulary: Vocabulary, target_manifest: str | Path
) -> AuxiliaryCorpus:
    del config, vocabulary, target_manifest
    from slr.crosslingual.relabel_stage import is_relabelled
    from slr.training.corpus import split_clips

    if is_relabelled(folder):
        raise UserError(
            f"auxiliary.corpora.{name}={folder}: is relabelled, and auxiliary.labels=native wants its own glosses; "
            "give the folder of `slr prepare`"
        )
    clips = split_clips(folder, "train", setting=f"auxiliary.corpora.{name}")
    return AuxiliaryCorpus(name, clips, vocabulary=Vocabulary.build(clip.text for clip in clips))
