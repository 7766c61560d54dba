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
    from slr.search import Retriever
    from slr.search_results import Answer, Hit

__all__ = ["Answer", "Hit", "Recognizer", "Retriever", "Segment", "SignBatch", "Transcript", "Word"]

_HOMES = {
    "Answer": "slr.search_results",
    "Hit": "slr.search_results",
    "Recognizer": "slr.infer",
    "Retriever": "slr.search",
    "Segment": "signwave.transcript",
    "SignBatch": "slr.batch",
    "Transcript": "signwave.transcript",
    "Word": "signwave.transcript",
}

# The commands import this package: torch must wait until somebody asks for what needs it.
__getattr__ = lazy(__name__, _HOMES)
