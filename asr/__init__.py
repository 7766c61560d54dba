"""Speech recognition for languages with little labelled speech.

>>> from asr import Recognizer
>>> Recognizer.load("runs/NAME").transcribe("talk.mp3").text  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr.infer import Recognizer
    from asr.transcript import Segment, Transcript, Word

__all__ = ["Recognizer", "Segment", "Transcript", "Word"]

_HOMES = {
    "Recognizer": "asr.infer",
    "Segment": "asr.transcript",
    "Transcript": "asr.transcript",
    "Word": "asr.transcript",
}


def __getattr__(name: str) -> Any:
    # The commands import this package: torch must wait until somebody asks for what needs it.
    if name not in _HOMES:
        raise AttributeError(f"module 'asr' has no attribute {name!r}; it has {', '.join(__all__)}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
