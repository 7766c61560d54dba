"""Sign language: recognition of continuous signing, and search in sign videos.

>>> from slr import Recognizer
>>> Recognizer.load("runs/NAME")("clip.pose").text  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slr.batch import SignBatch
    from slr.infer import Recognizer
    from slr.transcript import Gloss, Transcript

__all__ = ["Gloss", "Recognizer", "SignBatch", "Transcript"]

_HOMES = {
    "Gloss": "slr.transcript",
    "Recognizer": "slr.infer",
    "SignBatch": "slr.batch",
    "Transcript": "slr.transcript",
}


def __getattr__(name: str) -> Any:
    # The commands import this package: torch must wait until somebody asks for what needs it.
    if name not in _HOMES:
        raise AttributeError(f"module 'slr' has no attribute {name!r}; it has {', '.join(__all__)}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
