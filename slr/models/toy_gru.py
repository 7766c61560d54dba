"""A linear layer and one bidirectional GRU: the smallest CTC encoder whose output doesn't depend on padding."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from signwave.batch import Encoded


@dataclass
class ToyGruConfig:
    """Size of the model."""

    hidden_dim: int = 48

    def build(self, *, feature_dim: int, vocab_size: int) -> "ToyGru":
        """The model for these features and tokens."""
        return ToyGru(feature_dim=feature_dim, hidden_dim=self.hidden_dim, vocab_size=vocab_size)


class ToyGru(nn.Module):
    """CTC encoder for features of a few dimensions.

    Args:
        feature_dim: D of the inputs.
        hidden_dim: width.
        vocab_size: V, the blank included.
    """

    stride = 1

    def __init__(self, *, feature_dim: int, hidden_dim: int, vocab_size: int) -> None:
        super().__init__()
        self.input = nn.Linear(feature_dim, hidden_dim)
        self.gru = nn.GRU(hidden_dim, hidden_dim, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * hidden_dim, vocab_size)

    def forward(self, inputs: Tensor, num_frames: Tensor) -> Encoded:
        """Log-probabilities.

        inputs: (B, T, D) float32, features, zero past num_frames.
        num_frames: (B,) int64.
        """
        hidden = self.input(inputs).relu()
        # Packed, the backward direction starts at each item's own end and not in its padding.
        packed = pack_padded_sequence(hidden, num_frames.cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=inputs.shape[1])
        return Encoded(self.output(hidden).float().log_softmax(dim=-1), num_frames)
