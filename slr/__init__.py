"""Sign language: recognition of continuous signing, and search in sign videos.

>>> from slr import Recognizer
>>> Recognizer.load("runs/NAME")("clip.pose").text  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

from signwave.exports import lazy

if TYPE_CHECKING:
    from signwave.transcript import Segment, Transcript, Word
    from slr.infer import Recognizer
    from slr.retrieval.search.results import Answer, Hit
    from slr.retrieval.search.retriever import Retriever
    from slr.training.batch import SignBatch

__all__ = ["Answer", "Hit", "Recognizer", "Retriever", "Segment", "SignBatch", "Transcript", "Word"]

_HOMES = {
    "Answer": "slr.retrieval.search.results",
    "Hit": "slr.retrieval.search.results",
    "Recognizer": "slr.infer",
    "Retriever": "slr.retrieval.search.retriever",
    "Segment": "signwave.transcript",
    "SignBatch": "slr.training.batch",
    "Transcript": "signwave.transcript",
    "Word": "signwave.transcript",
}

# The commands import this package: torch must wait until somebody asks for what needs it.
__getattr__ = lazy(__name__, _HOMES)
