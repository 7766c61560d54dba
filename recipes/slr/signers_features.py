"""Made-up signers (tools/make_sign_corpus.py): features of a frozen encoder, conformer head, CTC, on a CPU.

    slr prepare phoenix2014 raw/signers data/signers
    slr features data/signers/{train,dev,test}.jsonl.gz features/signers --encoder torchvision:resnet18 --weights random
    python recipes/slr/signers_features.py data.manifest_dir=data/signers data.features_dir=features/signers

The encoder is untrained; with a file of trained weights, name it instead of random in both commands.
"""

from dataclasses import dataclass

from signwave.recipe import main
from slr.features.recipe import FeatureRecipe


@dataclass
class SignersFeatures(FeatureRecipe):
    """Made-up signers, cached features."""


if __name__ == "__main__":
    main(SignersFeatures)
