"""Arabic Speech Commands, single words: Whisper tiny.en's encoder, a head solved in closed form first, on a CPU.

    asr prepare arabic-speech-commands RAW data/commands val=test dev_speakers=00000001
    python recipes/asr/arabic_commands_ctc.py data.manifest_dir=data/commands model.donor_dir=DONOR

DONOR: `python tools/convert_ct2_whisper.py DONOR`. One run on a part of the corpus (240 words of six speakers to train
on), 150 words of four speakers never heard: WER 9.3 % [4.7, 14.0] greedy, 3.3 % [0.7, 6.7] with the n-gram of the
training words. 13 minutes of a busy core.
"""

from dataclasses import dataclass

from asr.corpus_recipe import CorpusCtc
from signwave.recipe import main


@dataclass
class ArabicCommandsCtc(CorpusCtc):
    """Single words, Arabic."""


if __name__ == "__main__":
    main(ArabicCommandsCtc)
