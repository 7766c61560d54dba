"""Phoenix-2014: ResNet-18, temporal convolutions and BiLSTM (VAC with SMKD), CTC; one GPU.

    python recipes/slr/phoenix2014_resnet.py data.manifest_dir=data/p14

Data: `slr prepare phoenix2014 RAW data/p14 --pack video`. ImageNet weights: weights_path=resnet18.pth,
torchvision's file. Published (SMKD on VAC, which flips and crops otherwise): 19.8 / 20.5 % on dev / test.
Not measured here: the corpus needs an agreement, and training a GPU.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.resnet_bilstm import ResnetBilstmConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class Phoenix2014Resnet(RecognitionRecipe):
    """Phoenix-2014."""

    model: ResnetBilstmConfig = field(default_factory=ResnetBilstmConfig)


if __name__ == "__main__":
    main(Phoenix2014Resnet)
