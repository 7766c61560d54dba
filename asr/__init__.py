"""Speech recognition for languages with little labelled speech.

>>> from asr import Recognizer
>>> Recognizer.load("runs/NAME").transcribe("talk.mp3").text  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

from signwave.exports import lazy

if TYPE_CHECKING:
    from asr.infer import Recognizer
    from signwave.transcript import Segment, Transcript, Word

__all__ = ["Recognizer", "Segment", "Transcript", "Word"]

_HOMES = {
    "Recognizer": "asr.infer",
    "Segment": "signwave.transcript",
    "Transcript": "signwave.transcript",
    "Word": "signwave.transcript",
}

# The commands import this package: torch must wait until somebody asks for what needs it.
__getattr__ = lazy(__name__, _HOMES)
