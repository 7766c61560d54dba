"""CE-CSL: ResNet-18, temporal convolutions and BiLSTM (VAC with SMKD), CTC; one GPU.

    python recipes/slr/ce_csl_resnet.py data.manifest_dir=data/ce-csl

Data: `slr prepare ce-csl RAW data/ce-csl --pack video`. ImageNet weights: weights_path=resnet18.pth, torchvision's
file. Published with another model (TFNet): 42.1 / 41.9 % on dev / test. Not measured here: the corpus needs an
agreement, and training a GPU.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.resnet_bilstm import ResnetBilstmConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class CeCslResnet(RecognitionRecipe):
    """CE-CSL."""

    model: ResnetBilstmConfig = field(default_factory=ResnetBilstmConfig)


if __name__ == "__main__":
    main(CeCslResnet)
