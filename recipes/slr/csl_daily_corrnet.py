"""CSL-Daily: ResNet-18, temporal convolutions and BiLSTM (CorrNet), CTC; one GPU.

    python recipes/slr/csl_daily_corrnet.py data.manifest_dir=data/csl

Data: `slr prepare csl-daily RAW data/csl --pack video`. ImageNet weights: weights_path=resnet18.pth, torchvision's
file. Published (CorrNet): 30.6 / 30.1 % on dev / test, by tokens between blanks. Not measured here: the corpus
needs an agreement, and training a GPU.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.resnet_bilstm import ResnetBilstmConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class CslDailyCorrnet(RecognitionRecipe):
    """CSL-Daily."""

    model: ResnetBilstmConfig = field(default_factory=ResnetBilstmConfig)


if __name__ == "__main__":
    main(CslDailyCorrnet)
