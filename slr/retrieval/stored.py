"""A retrieval model as a bundle: both towers, the window encoders in front of them, and what reads texts."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from signwave import bundle
from signwave.bundle import Bundle
from signwave.errors import ArtefactError
from slr.models.dual_encoder import DualEncoder
from slr.models.towers import build_dual_encoder
from slr.retrieval.similarity import INNER_TEMPERATURE, RELEASED_LENGTHS
from slr.retrieval.texts import TOKENIZER_NAME, Characters, Pieces, TextReader

if TYPE_CHECKING:
    from slr.features.window_encoders import WindowEncoder

KIND = "slr.dual_encoder"


class SearchModel(nn.Module):
    """Both towers, and the frozen encoders of windows, one a cache of each stream; none where features are given."""

    def __init__(self, dual: DualEncoder, encoders: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.dual = dual
        self.encoders = nn.ModuleList(encoders)


@dataclass(frozen=True)
class Scoring:
    """How clips and texts are compared, see slr.retrieval.similarity.

    Attributes:
        temperature: of the soft choices.
        legacy_unmasked: padding takes part in them.
        rank_by: fine or pooled.
        has_pooled: a loss has trained the pooled vectors.
    """

    temperature: float = INNER_TEMPERATURE
    legacy_unmasked: bool = False
    rank_by: str = "fine"
    has_pooled: bool = True

    @property
    def pad_to(self) -> tuple[int, int] | None:
        """Lengths that the legacy score pads clips and texts to."""
        return RELEASED_LENGTHS if self.legacy_unmasked else None


@dataclass(frozen=True)
class StoredModel:
    """A model that was loaded.

    Attributes:
        dual: both towers.
        encoders: of windows, see `SearchModel`.
        texts: reads texts.
        scoring: how clips and texts are compared.
        info: facts of its training: rate_hz for hands; streams for windows.
    """

    dual: DualEncoder
    encoders: list[WindowEncoder]
    texts: TextReader
    scoring: Scoring
    info: Mapping[str, Any]


def save_model(
    folder: Path,
    dual: DualEncoder,
    texts: TextReader,
    *,
    settings: Mapping[str, Any],
    info: Mapping[str, Any],
    scoring: Scoring | None = None,
    encoders: Sequence[WindowEncoder] = (),
    files: Mapping[str, Path] | None = None,
) -> str:
    """Write a bundle and return its digest.

    Args:
        folder: where it shall lie.
        dual: both towers.
        texts: Characters or Pieces.
        settings: from which `build_dual_encoder` builds the towers again.
        info: facts for the user of the model.
        scoring: how clips and texts are compared; None is the default.
        encoders: of windows.
        files: further files, name → path.
    """
    config = {
        "model": dict(settings),
        "texts": {"kind": "characters"},
        "scoring": asdict(scoring or Scoring()),
        "encoders": [encoder.spec for encoder in encoders],
    }
    parts: dict[str, Any] = {"files": dict(files or {})}
    with contextlib.ExitStack() as stack:
        if isinstance(texts, Pieces):
            config["texts"] = {"kind": "pieces", "max_tokens": texts.max_tokens}
            parts["normaliser"] = texts.normaliser
            parts["files"][TOKENIZER_NAME] = stack.enter_context(_file(texts.json))
        elif isinstance(texts, Characters):
            parts |= {"normaliser": texts.normaliser, "vocabulary": texts.vocabulary}
        return bundle.save(
            folder, kind=KIND, model=SearchModel(dual, encoders), config=config, info=dict(info), **parts
        )


def load_model(stored: Bundle) -> StoredModel:
    """The model of a bundle, on the CPU and in evaluation mode.

    Raises:
        ArtefactError: the bundle holds another kind of model, or its parts don't fit each other.
    """
    if stored.kind != KIND:
        found = f"a model of kind '{stored.kind}', search needs '{KIND}'"
        raise ArtefactError(f"{stored.folder}: {found}; name another run")
    try:
        from slr.features.window_encoders import build_window_encoder

        encoders = [build_window_encoder(spec) for spec in stored.config["encoders"]]
        model = SearchModel(build_dual_encoder(stored.config["model"]), encoders)
        model.load_state_dict(stored.state_dict())
        texts, scoring = _texts(stored), Scoring(**stored.config["scoring"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        detail = str(error).splitlines()[0]
        raise ArtefactError(f"{stored.folder}: its parts don't fit each other ({detail}); export it again") from error
    model.eval().requires_grad_(False)
    return StoredModel(model.dual, encoders, texts, scoring, stored.info)


def _texts(stored: Bundle) -> TextReader:
    settings = stored.config["texts"]
    if stored.normaliser is None:
        raise ValueError("the normaliser is missing")
    if settings["kind"] == "pieces":
        tokenizer = (stored.folder / TOKENIZER_NAME).read_text(encoding="utf-8")
        return Pieces(tokenizer, max_tokens=int(settings["max_tokens"]), normaliser=stored.normaliser)
    if stored.vocabulary is None:
        raise ValueError("the vocabulary is missing")
    return Characters(stored.normaliser, stored.vocabulary)


@contextlib.contextmanager
def _file(text: str) -> Iterator[Path]:
    """A file that holds a text for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text"
        path.write_text(text, encoding="utf-8")
        yield path
