"""Any prepared corpus, in any language: a CTC head on a donor's encoder, characters or a tokenizer, an n-gram beside.

    asr prepare folder RECORDINGS MANIFESTS --language ur          # or any other corpus that `asr prepare` knows
    python recipes/asr/folder_ctc.py data.manifest_dir=MANIFESTS model.donor_dir=XLSR

MANIFESTS holds train, dev and test; without dev nothing is chosen, without test no figure is given. The donor is a
local transformers folder: XLS-R, wav2vec2, HuBERT, WavLM, w2v-BERT, Whisper, or what continual_pretraining.py left.
data.tokenizer=FOLDER trains the pieces of `asr tokenizer train` instead of characters.
"""

from dataclasses import dataclass

from asr.corpus_recipe import CorpusCtc
from signwave.recipe import main


@dataclass
class FolderCtc(CorpusCtc):
    """Recordings of your own."""


if __name__ == "__main__":
    main(FolderCtc)
