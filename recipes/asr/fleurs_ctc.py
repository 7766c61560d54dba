"""FLEURS, about ten hours of read Wikipedia sentences a language, CTC on XLS-R or any donor encoder.

    asr prepare fleurs fleurs/fa_ir MANIFESTS
    python recipes/asr/fleurs_ctc.py data.manifest_dir=MANIFESTS model.donor_dir=XLSR

ar_eg, ur_pk and 99 others go the same way; the language is read from the manifest. Official splits share no sentence.
No result yet: nobody has run it on the whole corpus; --smoke shows that it trains.
"""

from dataclasses import dataclass

from asr.corpus_recipe import CorpusCtc
from signwave.recipe import main


@dataclass
class FleursCtc(CorpusCtc):
    """Two or three readers a sentence."""


if __name__ == "__main__":
    main(FleursCtc)
