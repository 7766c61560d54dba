"""Error rates of transcripts against references: raw, orthographic, space-lenient, with intervals and by speaker."""

from asr.scoring.evaluation import Evaluation, Figure, score
from asr.scoring.spaces import count_each_lenient
from asr.scoring.spellings import SpellingVariants
from asr.scoring.summary import summary
from asr.scoring.transcripts import Transcript, read_transcripts

__all__ = [
    "Evaluation",
    "Figure",
    "SpellingVariants",
    "Transcript",
    "count_each_lenient",
    "read_transcripts",
    "score",
    "summary",
]
