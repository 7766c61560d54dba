"""I3D (Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017), the window encoder of CiCo and BSL-1K.

Weights are named as in the PyTorch port that everybody's checkpoints come from (`Mixed_3b.b1b.conv3d.weight`), so that
of Kinetics, BSL-1K and "Read and Attend" (Varol et al., CVPR 2021) files load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EMBEDDING_DIM = 1024
NUM_BSL5K_CLASSES = 5383
"""Classes of the checkpoint that CiCo starts from."""

_EPS, _MOMENTUM = 1e-3, 0.01
_Triple = tuple[int, int, int]
# Channels of each block's branches: 1x1; 1x1 and 3x3; 1x1 and 3x3; 1x1 after the pool.
_BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def same_padding(size: tuple[int, ...], kernel: _Triple, stride: _Triple) -> list[int]:
    """Zeros before and after width, height and time, in that order, so that ceil(size / stride) steps come out.

    Where their number is odd, the one more lies at the end, as in TensorFlow, in which the network was trained.
    """
    found: list[int] = []
    for length, width, step in zip(reversed(size), reversed(kernel), reversed(stride), strict=True):
        total = max(width - (length % step or step), 0)
        found += [total // 2, total - total // 2]
    return found


def _padded(values: Tensor, kernel: _Triple, stride: _Triple) -> Tensor:
    padding = same_padding(tuple(values.shape[2:]), kernel, stride)
    return functional.pad(values, padding) if any(padding) else values


class _Pool(nn.Module):
    """Largest of the neighbours; what lies outside counts as 0, which is the least that a ReLU gives."""

    def __init__(self, kernel: _Triple, stride: _Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, values: Tensor) -> Tensor:
        return functional.max_pool3d(_padded(values, self.kernel, self.stride), self.kernel, self.stride)


class _Unit(nn.Module):
    """Convolution, batch norm and ReLU; the classifier has neither, but a bias."""

    def __init__(self, in_channels: int, out_channels: int, size: int = 1, *, stride: int = 1, plain: bool = False):
        super().__init__()
        # A size and a stride of which the zeros are even on both sides is left to the convolution: it needs no copy.
        self.symmetric = stride == 1
        padding = size // 2 if self.symmetric else 0
        self.conv3d = nn.Conv3d(in_channels, out_channels, size, stride, padding=padding, bias=plain)
        if not plain:
            nn.init.kaiming_normal_(self.conv3d.weight, nonlinearity="relu")  # the default fades to 1e-5 in 21 layers
            self.bn = nn.BatchNorm3d(out_channels, eps=_EPS, momentum=_MOMENTUM)
        self.kernel, self.stride, self.plain = (size,) * 3, (stride,) * 3, plain

    def forward(self, values: Tensor) -> Tensor:
        values = values if self.symmetric else _padded(values, self.kernel, self.stride)
        hidden: Tensor = self.conv3d(values)
        return hidden if self.plain else functional.relu(self.bn(hidden), inplace=True)


class _Inception(nn.Module):
    """Four branches beside each other."""

    def __init__(self, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        one, narrow, wide, slim, broad, pooled = channels
        self.b0 = _Unit(in_channels, one)
        self.b1a, self.b1b = _Unit(in_channels, narrow), _Unit(narrow, wide, 3)
        self.b2a, self.b2b = _Unit(in_channels, slim), _Unit(slim, broad, 3)
        self.b3a, self.b3b = _Pool((3, 3, 3), (1, 1, 1)), _Unit(in_channels, pooled)
        self.out_channels = one + wide + broad + pooled

    def forward(self, values: Tensor) -> Tensor:
        first, second = self.b0(values), self.b1b(self.b1a(values))
        return torch.cat([first, second, self.b2b(self.b2a(values)), self.b3b(self.b3a(values))], dim=1)


class InceptionI3d(nn.Module):
    """Windows in, one vector or one distribution out.

    Args:
        num_classes: of the classifier, `NUM_BSL5K_CLASSES` for CiCo's; None has none, and gives the embedding.
        dropout: before the classifier, in training.
    """

    def __init__(self, *, num_classes: int | None = None, dropout: float = 0.5) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, stride=2)
        self.MaxPool3d_2a_3x3 = _Pool((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = _Unit(64, 64)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        self.MaxPool3d_3a_3x3 = _Pool((1, 3, 3), (1, 2, 2))
        channels = 192
        for name, sizes in _BLOCKS.items():
            if name == "Mixed_4b":
                self.MaxPool3d_4a_3x3 = _Pool((3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                self.MaxPool3d_5a_2x2 = _Pool((2, 2, 2), (2, 2, 2))
            block = _Inception(channels, sizes)
            self.add_module(name, block)
            channels = block.out_channels
        self.dropout = nn.Dropout(dropout)
        self.logits = None if num_classes is None else _Unit(channels, num_classes, plain=True)

    def embed(self, windows: Tensor) -> Tensor:
        """(B, 1024) float, the mean over time and picture. windows: as for `steps`."""
        return self._blocks(windows).mean((2, 3, 4))

    def steps(self, windows: Tensor) -> Tensor:
        """(B, 1024, ceil(T / 8)) float, the mean over the picture.

        Args:
            windows: (B, 3, T, H, W) float, values in [-0.5, 0.5] for BSL's weights and in [-1, 1] for Kinetics', which
                were trained with 16 and 64 frames of 224 x 224 pixels.
        """
        return self._blocks(windows).mean((3, 4))

    def _blocks(self, windows: Tensor) -> Tensor:
        """(B, 1024, T', H', W') float."""
        hidden = windows
        for name, layer in self.named_children():
            if name not in ("dropout", "logits"):
                hidden = layer(hidden)
        return hidden

    def forward(self, windows: Tensor) -> Tensor:
        """(B, V) float logits, or (B, 1024) embeddings of a network without classifier. windows: as for `steps`."""
        embedding = self.embed(windows)
        if self.logits is None:
            return embedding
        logits: Tensor = self.logits(self.dropout(embedding)[:, :, None, None, None])
        return logits.flatten(1)
