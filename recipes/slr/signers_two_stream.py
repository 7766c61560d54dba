"""Made-up signers (tools/make_sign_corpus.py): two narrow S3D streams, frames and keypoints, CTC, on a CPU.

    python recipes/slr/signers_two_stream.py data.manifest_dir=data/signers

Data: `python tools/make_sign_corpus.py raw/signers`, then `slr prepare phoenix2014 raw/signers data/signers --pack
video --size 80x64 --poses raw/signers/phoenix-2014-multisigner/poses`.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.two_stream import TwoStreamConfig
from slr.training.recipe import TwoStreamRecipe


@dataclass
class SignersTwoStream(TwoStreamRecipe):
    """Made-up signers (tools/make_sign_corpus.py)."""

    model: TwoStreamConfig = field(default_factory=TwoStreamConfig)


if __name__ == "__main__":
    main(SignersTwoStream)
