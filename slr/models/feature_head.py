"""Features of a frozen encoder to gloss probabilities: a linear layer, convolutions that shorten time, and context.

Training reads cached features. What is used on videos afterwards is the same head with its encoder inside
(`FeatureHead.with_encoder`): one bundle of the kind "slr.feature_head" that needs no folder beside it.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from signwave.batch import Encoded
from signwave.errors import ArtefactError
from signwave.layers import BiLstm
from slr.features.encoders import EncoderSpec, FrameEncoder
from slr.models.conformer import Conformer
from slr.models.interface import HeadLosses, Heads, Reads
from slr.models.masking import conv_steps, mask_time

Context = Literal["none", "bilstm", "conformer"]
_KERNEL = 5


@dataclass
class FeatureHeadConfig:
    """Settings of FeatureHead; the defaults train in minutes on one CPU core."""

    feature_dim: int = 512
    """D of the encoder's features."""
    dim: int = 192
    """Width of every layer."""
    num_halvings: int = 2
    """Convolutions of stride 2 over features: with 25 features a second, 2 give a step every 0.16 s."""
    num_convolutions: int = 1
    """At the rate of the steps; with 0, num_halvings 0 and context none the head is a linear probe."""
    context: str = "conformer"
    """What mixes steps: none, bilstm or conformer."""
    num_layers: int = 2
    """Of the context."""
    num_heads: int = 4
    kernel_size: int = 9
    """Of the conformer's convolutions, odd."""
    attention_radius_steps: int | None = None
    """Of the conformer; None = the whole clip."""
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if min(self.num_halvings, self.num_convolutions) < 0 or min(self.feature_dim, self.dim, self.num_layers) < 1:
            raise ValueError(
                "num_halvings and num_convolutions must be at least 0, feature_dim, dim and num_layers at least 1; got "
                f"{self.num_halvings}, {self.num_convolutions}, {self.feature_dim}, {self.dim} and {self.num_layers}"
            )
        if self.context not in ("none", "bilstm", "conformer"):
            raise ValueError(f"context must be none, bilstm or conformer, got {self.context!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    def build(self, *, vocab_size: int) -> "FeatureHead":
        """The model for a vocabulary of `vocab_size` tokens, the blank included."""
        return FeatureHead(vocab_size=vocab_size, **asdict(self))


class FeatureHead(nn.Module):
    """Features in, log-probabilities out; a clip gives the same whether it is padded or not.

    Without an encoder it reads features, and `stride` and `receptive_radius_frames` count features. With one it reads
    frames of any size, and they count frames.

    Args:
        vocab_size: tokens, the blank (0) included.
        feature_dim: D of the features.
        dim: width of every layer.
        num_halvings: convolutions of stride 2.
        num_convolutions: convolutions of stride 1 after them.
        context: what mixes steps.
        num_layers: of the context.
        num_heads: of the conformer's attention.
        kernel_size: of the conformer's convolutions, odd.
        attention_radius_steps: of the conformer; None = the whole clip.
        dropout: share of activations dropped in training.
        encoder: spec of the frozen encoder inside as plain values, see slr.features.encoders.EncoderSpec; None = none.
    """

    reads: Reads
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        vocab_size: int,
        feature_dim: int,
        dim: int = 192,
        num_halvings: int = 2,
        num_convolutions: int = 1,
        context: str = "conformer",
        num_layers: int = 2,
        num_heads: int = 4,
        kernel_size: int = 9,
        attention_radius_steps: int | None = None,
        dropout: float = 0.2,
        encoder: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        settings = locals()
        self._settings = {key: settings[key] for key in ("vocab_size", *FeatureHeadConfig.__dataclass_fields__)}
        self.reads = "features"
        self.stride: int = 2**num_halvings
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("std", torch.ones(feature_dim))
        # Encoders differ in scale by orders of magnitude, and single values stand out: so a norm comes first.
        self.input = nn.Sequential(nn.LayerNorm(feature_dim), nn.Linear(feature_dim, dim), nn.GELU())
        self.blocks = nn.ModuleList(_ConvBlock(dim, stride=2) for _ in range(num_halvings))
        self.blocks.extend(_ConvBlock(dim, stride=1) for _ in range(num_convolutions))
        self.dropout = nn.Dropout(dropout)
        self.conformer: Conformer | None = None
        self.bilstm: BiLstm | None = None
        radius: int | None = 0
        if context == "conformer":
            self.conformer = Conformer(
                dim, num_blocks=num_layers, num_heads=num_heads, kernel_size=kernel_size, feed_forward_factor=2,
                dropout=dropout, attention_radius_steps=attention_radius_steps,
            )  # fmt: skip
            radius = self.conformer.radius_steps
        elif context == "bilstm":
            self.bilstm, radius = BiLstm(dim, dim // 2, num_layers), None
        width = dim // 2 * 2 if context == "bilstm" else dim
        self.output = nn.Linear(width, vocab_size)
        self.receptive_radius_frames = _radius_frames(num_halvings, num_convolutions, radius)
        self.encoder: FrameEncoder | None = None
        if encoder is not None:
            self._take(FrameEncoder(EncoderSpec.from_dict(encoder)))

    def forward(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Encoded:
        """Log-probabilities of a padded batch.

        Args:
            inputs: (B, T, D) float16 or float32 features, or with an encoder (B, T, 3, H, W) uint8 RGB; anything past
                num_frames.
            num_frames: (B,) int64, at least 1.
            points: not used.
        """
        if self.encoder is not None:
            features, num_frames = self.encoder(inputs, num_frames)
            inputs = features.half()  # as the cache stores them: the head sees in use what it saw in training
        hidden = mask_time(inputs, num_frames).float()
        hidden = self.dropout(self.input((hidden - self.mean) / self.std))
        num_steps = num_frames
        for block in self.blocks:
            hidden, num_steps = block(hidden, num_steps)
            hidden = self.dropout(hidden)
        if self.conformer is not None:
            hidden = self.conformer(hidden, num_steps)
        if self.bilstm is not None:
            hidden = self.bilstm(mask_time(hidden, num_steps), num_steps)
        logits = self.output(self.dropout(hidden))
        # float32 here even under bf16: CTC sums hundreds of probabilities.
        return Encoded(functional.log_softmax(logits.float(), dim=-1), num_steps)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments from which the same architecture is built again, plain values: what a bundle keeps."""
        return self._settings | ({} if self.encoder is None else {"encoder": self.encoder.spec.to_dict()})

    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Take the moments of the training features: what all frames share is often far larger than what differs.

        Args:
            mean: (D,) float.
            std: (D,) float, at least 0.
        """
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-4 * float(std.max().clamp(min=1e-4))))

    def with_encoder(self, encoder: FrameEncoder, *, digest: str = "") -> "FeatureHead":
        """A copy that reads frames: this head, and the encoder before it.

        Args:
            encoder: the one whose features the head was trained on.
            digest: `FeatureCache.header.encoder_digest` of the training features; "" isn't compared.

        Raises:
            ValueError: the head was made for features of another width, or has an encoder.
            ArtefactError: the encoder isn't the one that made the training features.
        """
        if self.encoder is not None or self._settings["feature_dim"] != encoder.dim:
            has = "an encoder" if self.encoder is not None else f"features of {self._settings['feature_dim']} values"
            raise ValueError(f"the head reads {has}; the encoder '{encoder.spec.name}' gives {encoder.dim} values")
        if digest and encoder.digest() != digest:
            raise ArtefactError(
                f"the encoder '{encoder.spec.name}' isn't the one that made the training features: its weights, stride "
                "or window differ; load it as `slr features` did"
            )
        head = FeatureHead(**self._settings)
        head.load_state_dict(self.state_dict())
        head._take(encoder)
        return head.to(self.output.weight.device).train(self.training)

    def _take(self, encoder: FrameEncoder) -> None:
        radius = self.receptive_radius_frames
        self.encoder, self.reads = encoder, "frames"
        self.stride *= encoder.stride
        if radius is not None:
            self.receptive_radius_frames = encoder.receptive_radius_frames + radius * encoder.stride

    def heads(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Heads:
        """The only head; arguments as for `forward`."""
        return Heads(self(inputs, num_frames), {})

    def losses(self) -> HeadLosses:
        """CTC on it."""
        return HeadLosses()


def _radius_frames(num_halvings: int, num_convolutions: int, radius_steps: int | None) -> int | None:
    if radius_steps is None:
        return None
    stride: int = 2**num_halvings
    in_halvings = _KERNEL // 2 * (stride - 1)  # the kernel's reach, doubled from one halving to the next
    return in_halvings + stride * (num_convolutions * (_KERNEL // 2) + radius_steps)


class _ConvBlock(nn.Module):
    """Convolution over time, norm over channels, GELU; with a skip connection where the length stays."""

    def __init__(self, dim: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(dim, dim, _KERNEL, stride=stride, padding=_KERNEL // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, hidden: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        # Padding is set to zero before each convolution: that is what a clip alone sees past its ends.
        hidden = mask_time(hidden, num_steps)
        moved = functional.gelu(self.norm(self.conv(hidden.transpose(1, 2)).transpose(1, 2)))
        if self.stride == 1:
            return hidden + moved, num_steps
        return moved, conv_steps(num_steps, self.stride)
