"""What training on several ranks needs beside Lightning."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def no_gradient(parameters: Iterable[nn.Parameter]) -> Tensor:
    """() float, zero, through which parameters that a step doesn't use get a gradient of zero: ranks wait for all.

    It costs a pass over them; leave it out on one rank.
    """
    terms = [p.sum() for p in parameters if p.requires_grad]
    return 0.0 * torch.stack(terms).sum() if terms else torch.zeros(())
