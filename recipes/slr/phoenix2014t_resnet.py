"""Phoenix-2014T: ResNet-18, temporal convolutions and BiLSTM (VAC with SMKD), CTC; one GPU.

    python recipes/slr/phoenix2014t_resnet.py data.manifest_dir=data/p14t

Data: `slr prepare phoenix2014t RAW data/p14t --pack video`. ImageNet weights: weights_path=resnet18.pth,
torchvision's file. Published (SMKD): 20.8 / 22.4 % on dev / test. Not measured here: the corpus needs an agreement,
and training a GPU.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.resnet_bilstm import ResnetBilstmConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class Phoenix2014tResnet(RecognitionRecipe):
    """Phoenix-2014T."""

    model: ResnetBilstmConfig = field(default_factory=ResnetBilstmConfig)


if __name__ == "__main__":
    main(Phoenix2014tResnet)
