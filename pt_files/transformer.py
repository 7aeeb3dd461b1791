"""Twins of the transformer's parts in `models/blocks.py`: tokens are (batch, tokens, width)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_hierarchy.pt_files.layers import start_cut_normal

_EPSILON = 1e-6
_POSITION_DEVIATION = 0.02


class ClassTokenAndPositions(nn.Module):
    """Put a learned token before the others, and add a learned embedding to every position.

    Args:
        count: Tokens that come in.
        dim: Width of a token.
    """

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.empty(1, 1 + count, dim))
        start_cut_normal(self.positions, _POSITION_DEVIATION)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, count, dim) to (batch, 1 + count, dim), the learned token first."""
        return torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions


class Attention(nn.Module):
    """Multi-head self-attention, as `keras.layers.MultiHeadAttention` of one tensor with itself.

    Args:
        dim: Width of a token; a multiple of `heads`.
        heads: Number of heads.
        dropout: Share of the attention's weights dropped while training.
        deviation: Of the random kernels.
    """

    def __init__(self, dim: int, heads: int, *, dropout: float, deviation: float):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query, self.key, self.value, self.output = (linear(dim, dim, deviation=deviation) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Let each token gather from all; the shape stays."""
        query, key, value = (self._by_head(layer(x)) for layer in (self.query, self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        gathered = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.output(gathered.transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (batch, heads, tokens, width of a head)


class TransformerBlock(nn.Module):
    """Attention between the tokens, then a hidden layer on each; both add to what comes in.

    Args:
        dim: Width of a token.
        heads: Attention heads.
        mlp_dim: Width of the hidden layer.
        dropout: Share of values dropped while training.
        deviation: Of the random kernels.
    """

    def __init__(self, dim: int, *, heads: int, mlp_dim: int, dropout: float, deviation: float):
        super().__init__()
        self.norm1 = layer_norm(dim)
        self.attention = Attention(dim, heads, dropout=dropout, deviation=deviation)
        self.norm2 = layer_norm(dim)
        self.mlp1 = linear(dim, mlp_dim, deviation=deviation)
        self.mlp2 = linear(mlp_dim, dim, deviation=deviation)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, dim) to the same shape."""
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.mlp2(self.drop(functional.gelu(self.mlp1(self.norm2(x))))))


def layer_norm(dim: int) -> nn.LayerNorm:
    """Normalise each token."""
    return nn.LayerNorm(dim, eps=_EPSILON)


def linear(inputs: int, outputs: int, *, deviation: float) -> nn.Linear:
    """A fully connected layer that starts as Keras's with `TruncatedNormal`, and zero bias."""
    layer = nn.Linear(inputs, outputs)
    start_cut_normal(layer.weight, deviation)
    nn.init.zeros_(layer.bias)
    return layer
