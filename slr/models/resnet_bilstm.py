"""The family of VAC, SMKD and CorrNet: a ResNet over frames, convolutions over time, a BiLSTM, two heads.

References: VAC (Min et al., ICCV 2021): the auxiliary head and the distillation. SMKD (Hao et al., ICCV 2021): one
normalised classifier for both heads. CorrNet (Hu et al., CVPR 2023): see slr.models.correlation.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from signwave.batch import Encoded
from slr.models.interface import MAIN, Distillation, HeadLosses, Heads, Reads
from slr.models.masking import BiLstm, MaskedBatchNorm, conv_steps, mask_time
from slr.models.packed_frames import find_places
from slr.models.resnet_trunk import BASE_CHANNELS, NUM_BLOCKS, Backbone, Recompute, ResnetTrunk, load_imagenet

Normalisation = Literal["imagenet", "half"]
"""imagenet: mean and deviation of torchvision's weights. half: x / 127.5 - 1, as the VAC family feeds them."""
TimePadding = Literal["same", "edge", "legacy_valid"]
"""What the convolutions over time see past a clip's ends. same: zeros. edge: its first and last frame again, six on
either side, as the VAC family's loader makes them. legacy_valid: nothing; the convolutions get shorter, as VAC's do
without that loader. same and edge give ceil(n / 4) steps for n frames, legacy_valid gives floor(floor((n - 4) / 2 - 4)
/ 2), at least 1."""

CONV = "conv"
"""Name of the auxiliary head, over the convolutions alone."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KERNEL, _STRIDE = 5, 4
_EDGE_FRAMES = 6
_LEAST_FRAMES = 16
"""What two unpadded convolutions and poolings turn into one step."""


@dataclass
class ResnetBilstmConfig:
    """Settings of ResnetBilstm; the defaults are VAC + SMKD. `correlation=True` makes it CorrNet."""

    backbone: Backbone = "resnet18"
    base_channels: int = BASE_CHANNELS
    """Channels of the first stage; only 64 can take ImageNet weights."""
    correlation: bool = False
    """CorrNet's module after stages 2, 3 and 4."""
    normalisation: Normalisation = "imagenet"
    """Of pixels; it goes with the weights."""
    dim: int = 1024
    """Width of the convolutions over time and of the BiLSTM, both directions together."""
    num_lstm_layers: int = 2
    dropout: float = 0.3
    """Between the BiLSTM's layers."""
    time_padding: TimePadding = "same"
    share_classifier: bool = True
    """One classifier for both heads (SMKD)."""
    norm_classifier: bool = True
    """Unit-length weights and no bias (SMKD); False: a plain linear layer."""
    norm_scale: float = 1.0
    """Factor of the normalised classifier's outputs. The BiLSTM's lie within ±1, so no logit is above this times √dim:
    a narrow model needs more than 1."""
    conv_weight: float = 1.0
    """Weight of the auxiliary head's CTC loss; 0: none."""
    distillation_weight: float = 25.0
    """Weight with which the main head teaches the auxiliary one; 0: it doesn't."""
    distillation_temperature: float = 8.0
    recompute: Recompute = "stem"
    """Activations of the trunk that are computed twice instead of kept: none, those of the stem, or all."""

    def __post_init__(self) -> None:
        if self.backbone not in NUM_BLOCKS:
            raise ValueError(f"backbone must be one of {', '.join(NUM_BLOCKS)}, got '{self.backbone}'")
        for name in ("base_channels", "dim", "num_lstm_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.dim % 2:
            raise ValueError(f"dim must be even, half for each direction of the BiLSTM, got {self.dim}")

    def build(self, *, vocab_size: int) -> "ResnetBilstm":
        """The model for a vocabulary of `vocab_size` tokens, the blank included."""
        return ResnetBilstm(vocab_size=vocab_size, **dataclasses.asdict(self))


class ResnetBilstm(nn.Module):
    """Frames in, log-probabilities out. See ResnetBilstmConfig for the arguments.

    Args:
        vocab_size: tokens, the blank (0) included.
    """

    reads: Reads = "frames"
    stride = _STRIDE
    receptive_radius_frames: int | None = None
    gathers_frames = True
    """It takes `num_valid` and then leaves padding out."""
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        *,
        vocab_size: int,
        backbone: Backbone = "resnet18",
        base_channels: int = BASE_CHANNELS,
        correlation: bool = False,
        normalisation: Normalisation = "imagenet",
        dim: int = 1024,
        num_lstm_layers: int = 2,
        dropout: float = 0.3,
        time_padding: TimePadding = "same",
        share_classifier: bool = True,
        norm_classifier: bool = True,
        norm_scale: float = 1.0,
        conv_weight: float = 1.0,
        distillation_weight: float = 25.0,
        distillation_temperature: float = 8.0,
        recompute: Recompute = "stem",
    ) -> None:
        super().__init__()
        # What step 0 sees is centred between frames 1 and 2 by the pools, six later where kernels aren't padded.
        self.middle_frame = 7.5 if time_padding == "legacy_valid" else 1.5
        self.dropout = dropout
        self.conv_weight = conv_weight
        self.distillation_weight, self.distillation_temperature = distillation_weight, distillation_temperature
        self.trunk = ResnetTrunk(
            backbone, base_channels=base_channels, correlation=correlation, recompute=recompute
        )  # fmt: skip
        self.temporal = TemporalConv(self.trunk.out_dim, dim, time_padding=time_padding)
        self.lstms = nn.ModuleList(BiLstm(dim, dim // 2, 1) for _ in range(num_lstm_layers))

        def classifier() -> nn.Module:
            return NormLinear(dim, vocab_size, scale=norm_scale) if norm_classifier else nn.Linear(dim, vocab_size)

        self.classifier = classifier()
        self.conv_classifier = None if share_classifier else classifier()
        mean = torch.tensor(_MEAN if normalisation == "imagenet" else (0.5, 0.5, 0.5))[:, None, None]
        deviation = torch.tensor(_DEVIATION if normalisation == "imagenet" else (0.5, 0.5, 0.5))[:, None, None]
        self.register_buffer("scale", 1 / (255 * deviation), persistent=False)
        self.register_buffer("shift", -mean / deviation, persistent=False)

    def forward(
        self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None, num_valid: int | None = None
    ) -> Encoded:
        """Log-probabilities of the main head; see `heads`."""
        return self.heads(inputs, num_frames, num_valid=num_valid).main

    def heads(
        self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None, num_valid: int | None = None
    ) -> Heads:
        """Both heads, "conv" beside the main one.

        Args:
            inputs: (B, T, 3, H, W) uint8 RGB, anything past num_frames.
            num_frames: (B,) int64, at least 1.
            points: not read.
            num_valid: the sum of num_frames; with it only true frames go through the trunk, on any device and without
                waiting for it (see slr.models.packed_frames).
        """
        visual, num_steps = self.temporal(self.look(inputs, num_frames, num_valid=num_valid), num_frames)
        hidden = visual
        for number, lstm in enumerate(self.lstms):
            if number:
                hidden = functional.dropout(hidden, self.dropout, self.training)
            hidden = lstm(hidden, num_steps)
        conv_classifier = self.classifier if self.conv_classifier is None else self.conv_classifier
        conv = Encoded(_log_probs(conv_classifier(visual)), num_steps)
        return Heads(Encoded(_log_probs(self.classifier(hidden)), num_steps), {CONV: conv})

    def look(self, inputs: Tensor, num_frames: Tensor, *, num_valid: int | None = None) -> Tensor:
        """(B, T, D) float, features of single frames, zero past num_frames; arguments as for `heads`."""
        if inputs.ndim != 5 or inputs.shape[2] != 3:
            raise ValueError(f"frames must be (B, T, 3, H, W), got {tuple(inputs.shape)}")
        places = find_places(num_frames, inputs.shape[1], num_valid=num_valid)
        frames = places.take(inputs).to(memory_format=torch.channels_last)
        return places.spread(self.trunk(frames.float() * self.scale + self.shift, places))

    def losses(self) -> HeadLosses:
        """CTC on both heads, and the main one teaches the other by its distribution over signs."""
        lesson = Distillation(
            MAIN, CONV, self.distillation_weight, temperature=self.distillation_temperature, without_blank=True
        )
        ctc = {MAIN: 1.0} | ({CONV: self.conv_weight} if self.conv_weight else {})
        return HeadLosses(ctc, (lesson,) if self.distillation_weight else ())

    def load_backbone(self, path: str | Path) -> None:
        """Start the trunk from torchvision's ImageNet weights (a local file); "" leaves it as it is.

        Raises:
            ArtefactError: the file doesn't hold them.
        """
        if str(path):
            load_imagenet(self.trunk, path)


class TemporalConv(nn.Module):
    """Twice: a convolution of five steps, norm, ReLU, the larger of each two steps ("K5-P2-K5-P2").

    Args:
        in_dim: D of the features.
        dim: D of the output.
        time_padding: what lies past a clip's ends.
    """

    def __init__(self, in_dim: int, dim: int, *, time_padding: TimePadding = "same") -> None:
        super().__init__()
        self.time_padding: TimePadding = time_padding
        self.convs = nn.ModuleList(nn.Conv1d(size, dim, _KERNEL) for size in (in_dim, dim))
        self.norms = nn.ModuleList(MaskedBatchNorm(dim) for _ in range(2))

    def forward(self, features: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Shorten time by four.

        Args:
            features: (B, T, D) float, anything past num_frames.
            num_frames: (B,) int64, at least 1.

        Returns:
            (B, T', dim) float, zero past the second value; (B,) int64, the steps of each item.
        """
        if self.time_padding == "edge":
            features, num_frames = _repeat_edges(features, num_frames)
        elif self.time_padding == "legacy_valid":
            features = functional.pad(features, (0, 0, 0, max(0, _LEAST_FRAMES - features.shape[1])))
        same = self.time_padding == "same"
        hidden, num_steps = mask_time(features, num_frames).transpose(1, 2), num_frames
        for conv, norm in zip(self.convs, self.norms, strict=True):
            hidden = conv(functional.pad(hidden, (_KERNEL // 2, _KERNEL // 2)) if same else hidden)
            num_steps = num_steps if same else (num_steps - (_KERNEL - 1)).clamp(min=1)
            # Zeros in the padding: never above a ReLU's output, and what the next convolution shall see there.
            hidden = mask_time(functional.relu(norm(hidden, num_steps)), num_steps, dim=2)
            hidden = functional.max_pool1d(hidden, 2, ceil_mode=same)
            num_steps = conv_steps(num_steps, 2) if same else (num_steps // 2).clamp(min=1)
        return hidden.transpose(1, 2), num_steps


def _repeat_edges(features: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
    """Lengthen each clip to a multiple of four and by six on either side, with its first and last frame."""
    size = -(-features.shape[1] // _STRIDE)
    steps = torch.arange(size * _STRIDE + 2 * _EDGE_FRAMES, device=features.device) - _EDGE_FRAMES
    index = steps.clamp(min=0).minimum(num_frames[:, None] - 1)
    repeated = features.gather(1, index[..., None].expand(-1, -1, features.shape[2]))
    return repeated, conv_steps(num_frames, _STRIDE) * _STRIDE + 2 * _EDGE_FRAMES


class NormLinear(nn.Module):
    """Linear without bias whose weights have unit length, so that no sign is favoured for being frequent.

    Reference: SMKD (Hao et al., ICCV 2021), §3.2.

    Args:
        in_dim: D.
        out_dim: V.
        scale: factor of the outputs.
    """

    def __init__(self, in_dim: int, out_dim: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim))
        nn.init.xavier_uniform_(self.weight, gain=nn.init.calculate_gain("relu"))

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, V) logits. hidden: (…, D) float."""
        return self.scale * functional.linear(hidden, functional.normalize(self.weight, dim=1))


def _log_probs(logits: Tensor) -> Tensor:
    # float32 here even under bf16: CTC sums hundreds of probabilities.
    return functional.log_softmax(logits.float(), dim=-1)
