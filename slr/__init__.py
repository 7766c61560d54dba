"""Sign language: recognition of continuous signing, and search in sign videos.

>>> from slr import Recognizer
>>> Recognizer.load("runs/NAME")("clip.pose").text  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

from signwave.exports import lazy

if TYPE_CHECKING:
    from signwave.transcript import Segment, Transcript, Word
    from slr.batch import SignBatch
    from slr.infer import Recognizer

__all__ = ["Recognizer", "Segment", "SignBatch", "Transcript", "Word"]

_HOMES = {
    "Recognizer": "slr.infer",
    "Segment": "signwave.transcript",
    "SignBatch": "slr.batch",
    "Transcript": "signwave.transcript",
    "Word": "signwave.transcript",
}

# The commands import this package: torch must wait until somebody asks for what needs it.
__getattr__ = lazy(__name__, _HOMES)
