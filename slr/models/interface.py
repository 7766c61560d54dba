"""What every sign recogniser offers, whatever it reads: one forward pass, its CTC heads, and how they are weighed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from signwave.batch import Encoded

Reads = Literal["hands", "frames", "keypoints", "features", "frames+keypoints"]
"""What `inputs` holds, (B, T, …), zero past num_frames.

hands: (B, T, 126) float32, see slr.keypoints.hand_transforms.
frames: (B, T, 3, H, W) uint8 RGB; the model normalises.
keypoints: (B, T, 63, 3) float32, see slr.keypoints.layout.
features: (B, T, D) float16 or float32 of a frozen encoder, see slr.features.cache.
frames+keypoints: `inputs` are frames, and `points` the keypoints.
"""
MAIN = "main"


class Heads(NamedTuple):
    """The outputs of a model with several CTC heads, all over one vocabulary; decoding reads `main`."""

    main: Encoded
    others: dict[str, Encoded]

    def named(self, name: str) -> Encoded:
        """The head called `name`; "main" is the main one."""
        return self.main if name == MAIN else self.others[name]


class StepFeatures(NamedTuple):
    """What a model's classifiers read, for those who bring classifiers of their own.

    streams: name → (B, T', D) float, anything past num_steps; "main", or "rgb", "pose" and "fused".
    num_steps: (B,) int64.
    """

    streams: dict[str, Tensor]
    num_steps: Tensor


class Distillation(NamedTuple):
    """A head that another one teaches, by the divergence of its posteriors.

    Attributes:
        teacher: name of the head that is followed; it gets no gradient.
        student: name of the head that follows; both have the same steps.
        weight: factor of the term.
        temperature: both logits are divided by it, and the term multiplied by its square (Hinton et al., 2015).
        without_blank: compare the distributions over signs alone.
        reduction: "step" averages over valid steps; "batch" sums a clip's steps and averages over clips, so that long
            clips weigh more (as TwoStream-SLR does).
    """

    teacher: str
    student: str
    weight: float
    temperature: float = 1.0
    without_blank: bool = False
    reduction: Literal["batch", "step"] = "step"


@dataclass(frozen=True)
class HeadLosses:
    """How training weighs the heads.

    Attributes:
        ctc: name of a head → weight of its CTC loss; a head that isn't named has none.
        distillations: heads that teach others.
    """

    ctc: Mapping[str, float] = field(default_factory=lambda: {MAIN: 1.0})
    distillations: tuple[Distillation, ...] = ()


class Trunk(Protocol):
    """A recogniser that lends what it has seen to other classifiers.

    Attributes:
        reads: what `inputs` is.
        stride: input frames per step.
        feature_dims: name of a stream → D of its features.
    """

    reads: Reads
    stride: int

    @property
    def feature_dims(self) -> dict[str, int]: ...

    def step_features(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> StepFeatures:
        """Features of a padded batch; arguments as for `SignModel.heads`."""

    def drop_heads(self) -> None:
        """Remove the classifiers, whose weights nobody would train; only `step_features` works from then on."""


class SignModel(Protocol):
    """A recogniser.

    Attributes:
        reads: what `inputs` is.
        stride: input frames per step.
        receptive_radius_frames: frames to either side that can change a step in eval mode; None = the whole clip.
    """

    reads: Reads
    stride: int
    receptive_radius_frames: int | None

    # A model may also have `middle_frame`, the frame that step 0 is centred on; see `first_edge_frames`.

    def __call__(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Encoded:
        """Log-probabilities of a padded batch: `heads(…).main`."""

    def heads(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Heads:
        """All heads.

        Args:
            inputs: (B, T, …), see `Reads`; anything past num_frames.
            num_frames: (B,) int64, at least 1.
            points: (B, T, 63, 3) float32 where `reads` is "frames+keypoints"; None where a clip batch has none.
        """

    def losses(self) -> HeadLosses:
        """How training weighs the heads."""


def first_edge_frames(model: object, stride: int) -> float:
    """Where step 0 begins, in frames: half a stride before the frame it is centred on.

    Args:
        model: its `middle_frame`, where it has one, is that frame; a frame is centred half a frame after its start.
        stride: input frames per step.
    """
    middle = getattr(model, "middle_frame", None)
    return -stride / 2 if middle is None else float(middle) + 0.5 - stride / 2
