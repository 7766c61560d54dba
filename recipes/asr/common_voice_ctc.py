"""Common Voice read speech of one language (Persian, Arabic, Urdu or another), CTC on XLS-R or any donor encoder.

    asr prepare common-voice cv-corpus-22.0-2025-06-20/fa MANIFESTS
    python recipes/asr/common_voice_ctc.py data.manifest_dir=MANIFESTS model.donor_dir=XLSR data.language=fa

ar and ur go the same way; the normaliser is that of the language. Settings are those published for XLS-R 300M with
masking of its states; for pieces instead of characters: `asr tokenizer train` and data.tokenizer=FOLDER.
No result yet: nobody has run it on the whole corpus; --smoke shows that it trains.
"""

from dataclasses import dataclass

from asr.corpus_recipe import CorpusCtc
from signwave.recipe import main


@dataclass
class CommonVoiceCtc(CorpusCtc):
    """Volunteers' read sentences."""


if __name__ == "__main__":
    main(CommonVoiceCtc)
