"""The batch that sign recognisers train on."""

from dataclasses import dataclass

from torch import Tensor

from signwave.training.ctc_module import CtcBatch

UNKNOWN_FRAME = -1
"""Frame label where nobody knows what is signed."""


@dataclass(frozen=True, repr=False)
class SignBatch(CtcBatch):
    """Clips of keypoints with their glosses; the fields of CtcBatch and what is known of single frames.

    inputs: (B, T, J*C) float32, keypoints in signer's units (see slr.transforms), flattened; zero past num_frames.
    frame_labels: (B, T) int64, token signed in each frame, 0 between two signs, -1 where unknown and past num_frames.
    """

    frame_labels: Tensor
