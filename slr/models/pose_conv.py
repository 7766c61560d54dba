"""Keypoints to gloss probabilities: hand features, a few convolutions that shorten time, one bidirectional GRU."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn

from signwave.batch import Encoded
from slr.keypoints.hand_transforms import HandFeatures
from slr.models.interface import HeadLosses, Heads, Reads


@dataclass
class PoseConvConfig:
    """Settings of PoseConv; the defaults train in minutes on one CPU core."""

    dim: int = 128
    """Width of every layer."""
    kernel_size: int = 5
    num_halvings: int = 2
    """Convolutions of stride 2: the model gives one step per 2 ** num_halvings frames."""
    num_gru_layers: int = 1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.num_halvings < 0 or self.kernel_size % 2 == 0 or self.dim < 1:
            raise ValueError(
                "num_halvings must be at least 0, kernel_size odd and dim at least 1; got "
                f"{self.num_halvings}, {self.kernel_size} and {self.dim}"
            )

    def build(self, *, vocab_size: int) -> "PoseConv":
        """The model for a vocabulary of `vocab_size` tokens, the blank included."""
        return PoseConv(
            vocab_size=vocab_size,
            dim=self.dim,
            kernel_size=self.kernel_size,
            num_halvings=self.num_halvings,
            num_gru_layers=self.num_gru_layers,
            dropout=self.dropout,
        )


class PoseConv(nn.Module):
    """Hands in, log-probabilities out; a clip gives the same whether it is padded or not.

    Args:
        vocab_size: tokens, the blank (0) included.
        dim: width of every layer.
        kernel_size: of the convolutions, odd.
        num_halvings: convolutions of stride 2.
        num_gru_layers: bidirectional recurrent layers.
        dropout: share of activations dropped in training.
    """

    reads: Reads = "hands"
    receptive_radius_frames = None

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 128,
        kernel_size: int = 5,
        num_halvings: int = 2,
        num_gru_layers: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.stride = 2**num_halvings
        self.dim = dim
        self.features = HandFeatures()
        self.input = nn.Sequential(nn.Linear(self.features.num_features, dim), nn.LayerNorm(dim), nn.GELU())
        self.blocks = nn.ModuleList(_ConvBlock(dim, kernel_size, stride=2) for _ in range(num_halvings))
        self.blocks.append(_ConvBlock(dim, 3, stride=1))
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(dim, dim, num_gru_layers, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * dim, vocab_size)

    def forward(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Encoded:
        """Log-probabilities of a padded batch.

        inputs: (B, T, 126) float32 hands (see slr.keypoints.hand_transforms), flattened; anything past num_frames.
        num_frames: (B,) int64, at least 1.
        points: not read.
        """
        del points
        return self.classify(*self.look(inputs, num_frames))

    def heads(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Heads:
        """The one head; arguments as for a call."""
        return Heads(self(inputs, num_frames, points=points), {})

    def losses(self) -> HeadLosses:
        """CTC alone."""
        return HeadLosses()

    def look(self, inputs: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """The part that sees a short moment: hand features and convolutions.

        inputs: (B, T, 126) float32 hands, flattened; anything past num_frames.
        num_frames: (B,) int64, at least 1.

        Returns:
            (B, T', dim) float, zero past the second value, (B,) int64, the steps of each item.
        """
        hidden = self.dropout(self.input(self.features(inputs, num_frames)))
        num_steps = num_frames
        for block in self.blocks:
            hidden, num_steps = block(hidden, num_steps)
            hidden = self.dropout(hidden)
        return hidden * _valid(hidden, num_steps), num_steps

    def classify(self, hidden: Tensor, num_steps: Tensor) -> Encoded:
        """The part that sees the whole clip. hidden: (B, T', dim) float; num_steps: (B,) int64."""
        packed = rnn.pack_padded_sequence(hidden, num_steps.cpu(), batch_first=True, enforce_sorted=False)
        context, _ = rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=hidden.shape[1])
        logits = self.output(self.dropout(context))
        # float32 here even under bf16: CTC sums hundreds of probabilities.
        return Encoded(functional.log_softmax(logits.float(), dim=-1), num_steps)


def _valid(hidden: Tensor, num_steps: Tensor) -> Tensor:
    """(B, T, 1) bool, true on the first `num_steps` steps."""
    return (torch.arange(hidden.shape[1], device=hidden.device)[None, :] < num_steps[:, None])[..., None]


class _ConvBlock(nn.Module):
    """Convolution over time, norm over channels, GELU; with a skip connection where the length stays."""

    def __init__(self, dim: int, kernel_size: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(dim, dim, kernel_size, stride=stride, padding=kernel_size // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, hidden: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        # Padding is set to zero before each convolution: that is what a clip alone sees past its ends.
        hidden = hidden * _valid(hidden, num_steps)
        moved = functional.gelu(self.norm(self.conv(hidden.transpose(1, 2)).transpose(1, 2)))
        if self.stride == 1:
            return hidden + moved, num_steps
        return moved, (num_steps + self.stride - 1) // self.stride
