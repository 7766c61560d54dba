"""Free Spoken Digits, single words: Whisper tiny.en's encoder, a head solved in closed form first, minutes on a CPU.

    asr prepare free-spoken-digits RAW data/digits test_takes=5-9 test_speakers=theo,yweweler
    python recipes/asr/digits_ctc.py data.manifest_dir=data/digits model.donor_dir=DONOR

DONOR: `python tools/convert_ct2_whisper.py DONOR`. Without test_speakers, held-out takes of known speakers. One run,
test speakers never heard, 500 words: WER 8.6 % [6.2, 11.0] greedy, 3.8 % [2.2, 5.6] with the n-gram of the training
words, which knows that there are ten. 13 minutes of a busy core.
"""

from dataclasses import dataclass

from asr.corpus_recipe import CorpusCtc
from signwave.recipe import main


@dataclass
class DigitsCtc(CorpusCtc):
    """Single words, English."""


if __name__ == "__main__":
    main(DigitsCtc)
