"""Made-up signers (tools/make_sign_corpus.py): narrow ResNet with correlation modules and BiLSTM, CTC, on a CPU.

    python recipes/slr/signers_corrnet.py data.manifest_dir=data/signers

Data: `python tools/make_sign_corpus.py raw/signers`, then `slr prepare phoenix2014 raw/signers data/signers --pack
video --size 80x64`.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.resnet_bilstm import ResnetBilstmConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class SignersCorrnet(RecognitionRecipe):
    """Made-up signers (tools/make_sign_corpus.py)."""

    model: ResnetBilstmConfig = field(default_factory=ResnetBilstmConfig)


if __name__ == "__main__":
    main(SignersCorrnet)
