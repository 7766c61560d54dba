"""English telephone prompts (asterisk-core-sounds-en, one voice), CTC head on a donor's encoder, character n-gram.

    python tools/fetch_asterisk.py RAW && asr prepare asterisk RAW MANIFESTS
    python tools/convert_ct2_whisper.py DONOR
    python recipes/asr/asterisk_ctc.py data.manifest_dir=MANIFESTS model.donor_dir=DONOR

Result with Whisper tiny.en as donor, 40 held-out prompts (415 words): WER 0.26 [0.15, 0.35], CER 0.094 with the n-gram,
WER 0.40, CER 0.125 greedy; 0.28 h of training audio, 340 steps, 316 s on one shared CPU core in bf16 (seed 0).
One voice in a studio, and prompts that resemble each other: the figure says nothing about other voices or subjects.
"""

from dataclasses import dataclass

from asr.corpus_recipe import CorpusCtc
from signwave.recipe import main


@dataclass
class AsteriskCtc(CorpusCtc):
    """Telephone prompts with CTC on a donor encoder."""


if __name__ == "__main__":
    main(AsteriskCtc)
