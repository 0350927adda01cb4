"""Modules of encoder-decoder models. Shapes: b pairs of sequences, s source and t target positions, h hidden width, H heads, d head width.

The embedding and the layers hand on a tuple, (source (b, s, h), target (b, t, h), and what else later ones need), so that one list of
layers is the whole body, encoder before decoder, and a pipeline can cut it anywhere.
"""

import math
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._blocks import Attend, Divisions, Head, Held, rows_of

State: TypeAlias = tuple[Tensor, ...]


def sinusoids(length: int, hidden: int) -> Tensor:
    """sin and cos of p·10000^(−2i/h), interleaved: fp32 (length, h) (Vaswani et al., arXiv 1706.03762, section 3.5)."""
    angle = torch.outer(torch.arange(length, dtype=torch.float32), 10_000.0 ** (-torch.arange(0, hidden, 2, dtype=torch.float32) / hidden))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :hidden]


class SinusoidEmbedding(nn.Module):
    """One table for both languages, times √h, plus sinusoids."""

    divisions: ClassVar[Divisions] = {"tokens": "vocabulary"}
    held: Held = None
    takes_rest: ClassVar[bool] = True

    def __init__(self, vocabulary: int, length: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.dropout = nn.Embedding(vocabulary, hidden), dropout
        self.scale = math.sqrt(hidden)
        self.table = sinusoids(length, hidden)  # not a buffer: constant, and module.to(dtype) must leave it alone

    def forward(self, source: Tensor, target: Tensor) -> State:
        """Source (b, s) and target (b, t) -> (b, s, h), (b, t, h)."""
        return self._one(source), self._one(target)

    def _one(self, ids: Tensor) -> Tensor:
        rows = self.tokens(ids)
        places = rows_of(self.table.to(rows.device, rows.dtype), ids.shape[1], self.held)
        return functional.dropout(torch.add(places, rows, alpha=self.scale), self.dropout, self.training)


def buckets(queries: int, keys: int, count: int, farthest: int, *, causal: bool) -> Tensor:
    """T5's bucket of each (query, key) pair, int64 (queries, keys) (Raffel et al., arXiv 1910.10683; its released code).

    Near distances have a bucket each, farther ones share buckets on a logarithmic scale up to `farthest`; keys behind the query have
    half of the buckets, or all of them where a query sees only those.
    """
    distance = torch.arange(keys).unsqueeze(0) - torch.arange(queries).unsqueeze(1)
    half = count if causal else count // 2
    side = torch.zeros_like(distance) if causal else (distance > 0).long() * half
    away = (-distance).clamp(min=0) if causal else distance.abs()
    exact = half // 2
    scaled = torch.log(away.clamp(min=1).float() / exact) / math.log(farthest / exact) * (half - exact)
    far = (exact + scaled.long()).clamp(max=half - 1)
    return side + torch.where(away < exact, away, far)


class RelativeEmbedding(nn.Module):
    """One table for source and target, and a learned bias a bucket and head for the scores of either stack's self-attention."""

    divisions: ClassVar[Divisions] = {"tokens": "vocabulary", "source_bias": "heads", "target_bias": "heads"}
    held: Held = None
    takes_rest: ClassVar[bool] = True

    def __init__(
        self, vocabulary: int, hidden: int, heads: int, lengths: tuple[int, int], count: int, farthest: int, dropout: float
    ) -> None:
        super().__init__()
        self.tokens, self.dropout = nn.Embedding(vocabulary, hidden), dropout
        self.source_bias, self.target_bias = (nn.Embedding(count, heads) for _ in range(2))
        with torch.device("cpu"):
            self.places = [buckets(n, n, count, farthest, causal=causal) for n, causal in zip(lengths, (False, True), strict=True)]

    def forward(self, source: Tensor, target: Tensor) -> State:
        """Source (b, s) and target (b, t) -> (b, s, h), (b, t, h), and the biases (1, H, s, s) and (1, H, t, t), the latter causal.

        Of tokens that are held the biases have the rows, and the columns of the whole sequence.
        """
        x, y = (functional.dropout(self.tokens(ids), self.dropout, self.training) for ids in (source, target))
        length = y.shape[1] if self.held is None else self.held[y.shape[1]][1]
        ahead = rows_of(torch.ones(length, length, dtype=torch.bool, device=y.device).triu_(1), y.shape[1], self.held)
        return x, y, self._bias(self.source_bias, 0, x), self._bias(self.target_bias, 1, y).masked_fill(ahead, -math.inf)

    def _bias(self, table: nn.Embedding, stack: int, x: Tensor) -> Tensor:
        n = x.shape[1]
        length = n if self.held is None else self.held[n][1]
        places = rows_of(self.places[stack][:length, :length].to(x.device), n, self.held)
        bias: Tensor = table(places).permute(2, 0, 1).unsqueeze(0)
        return bias


def biased_attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0) -> Tensor:
    """softmax(QKᵀ + bias)·V without scaling, as T5 has it: (b, H, s, d).

    Fused kernels give no gradient of the bias. torch's own plain path scales both operands and looks for rows that are masked whole; this
    does neither.
    """
    scores = q @ k.transpose(-2, -1)
    if attn_mask is not None:
        scores += attn_mask
    return functional.dropout(scores.softmax(-1), dropout_p) @ v


def scale_of(attend: Attend) -> float | None:
    """What an attention multiplies its scores with; None for torch's 1/√d."""
    return 1.0 if attend is biased_attention else None


class StackAttention(nn.Module):
    """Self-attention of one stack: one product for queries, keys and values, columns in the order (head, q/k/v, d)."""

    divisions: ClassVar[Divisions] = {"qkv": "column", "out": "row"}

    def __init__(self, hidden: int, inner: int, heads: int, attend: Attend, dropout: float, *, biased: bool, causal: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(hidden, 3 * inner, bias=biased), nn.Linear(inner, hidden, bias=biased)
        self.head_dim, self.attend, self.dropout, self.causal = inner // heads, attend, dropout, causal
        self.score_scale = scale_of(attend)

    def forward(self, x: Tensor, *, bias: Tensor | None) -> Tensor:
        """(b, n, h) -> (b, n, h). A bias of the scores, of the heads at hand, has the mask in it."""
        q, k, v = self.qkv(x).unflatten(-1, (-1, 3, self.head_dim)).transpose(1, 2).unbind(3)
        drop = self.dropout if self.training else 0.0
        if bias is None:
            mixed = self.attend(q, k, v, is_causal=self.causal, dropout_p=drop)
        else:
            mixed = self.attend(q, k, v, attn_mask=bias, dropout_p=drop)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y


class CrossAttention(nn.Module):
    """Attention of the target to the source: one product for keys and values, columns in the order (head, k/v, d)."""

    divisions: ClassVar[Divisions] = {"query": "column", "memory": "column", "out": "row"}

    def __init__(self, hidden: int, inner: int, heads: int, attend: Attend, dropout: float, *, biased: bool) -> None:
        super().__init__()
        self.query, self.memory = nn.Linear(hidden, inner, bias=biased), nn.Linear(hidden, 2 * inner, bias=biased)
        self.out = nn.Linear(inner, hidden, bias=biased)
        self.head_dim, self.attend, self.dropout = inner // heads, attend, dropout
        self.score_scale = scale_of(attend)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """(b, t, h), (b, s, h) -> (b, t, h)."""
        q = self.query(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        k, v = self.memory(source).unflatten(-1, (-1, 2, self.head_dim)).transpose(1, 2).unbind(3)
        mixed = self.attend(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y


class ReluMLP(nn.Module):
    """Up, ReLU, down."""

    divisions: ClassVar[Divisions] = {"up": "column", "down": "row"}

    def __init__(self, hidden: int, inner: int, *, biased: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(hidden, inner, bias=biased), nn.Linear(inner, hidden, bias=biased)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, h) -> (b, n, h)."""
        y: Tensor = self.down(functional.relu(self.up(x)))
        return y


class _Residual(nn.Module):
    """x and a function of it: norm(x + f(x)) as in 2017, or x + f(norm(x)) where the norm comes `first`."""

    def __init__(self, norm: nn.Module, function: nn.Module, dropout: float, *, first: bool) -> None:
        super().__init__()
        self.norm, self.function, self.dropout, self.first = norm, function, dropout, first

    def forward(self, x: Tensor, *more: Tensor, **named: Tensor | None) -> Tensor:
        """(b, n, h) -> (b, n, h); `more` and `named` are the function's other arguments."""
        added = self.function(self.norm(x) if self.first else x, *more, **named)
        x = x + functional.dropout(added, self.dropout, self.training)
        return x if self.first else self.norm(x)


class Parts:
    """What both stacks are made of: `norm()` makes one, `attend` is the attention of all."""

    def __init__(
        self, hidden: int, inner: int, heads: int, mlp: int, dropout: float, norm: Callable[[], nn.Module], attend: Attend, *, modern: bool
    ) -> None:
        self.attention = (hidden, inner, heads, attend, dropout)
        self.hidden, self.mlp, self.dropout, self.norm, self.modern = hidden, mlp, dropout, norm, modern

    def residual(self, function: nn.Module) -> _Residual:
        """The function with its norm: first and without biases where `modern`."""
        return _Residual(self.norm(), function, self.dropout, first=self.modern)

    def self_attention(self, *, causal: bool) -> _Residual:
        """Self-attention of either stack."""
        return self.residual(StackAttention(*self.attention, biased=not self.modern, causal=causal))

    def cross_attention(self) -> _Residual:
        """The target's attention to the source."""
        return self.residual(CrossAttention(*self.attention, biased=not self.modern))

    def feed_forward(self) -> _Residual:
        """The MLP."""
        return self.residual(ReluMLP(self.hidden, self.mlp, biased=not self.modern))


class EncoderLayer(nn.Module):
    """Self-attention and MLP over the source."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.attention, self.mlp = parts.self_attention(causal=False), parts.feed_forward()

    def forward(self, state: State) -> State:
        """The state with a new source."""
        source, target, *biases = state
        return self.mlp(self.attention(source, bias=biases[0] if biases else None)), target, *biases


class EncoderEnd(nn.Module):
    """The norm behind T5's encoder, whose biases nobody needs from here on."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, state: State) -> State:
        """The state with a new source, without the bias of the encoder's scores."""
        source, target, _, bias = state
        return self.norm(source), target, bias


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the source, and MLP, over the target."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.attention, self.cross, self.mlp = parts.self_attention(causal=True), parts.cross_attention(), parts.feed_forward()

    def forward(self, state: State) -> State:
        """The state with a new target."""
        source, target, *bias = state
        target = self.attention(target, bias=bias[0] if bias else None)
        return source, self.mlp(self.cross(target, source)), *bias


class TargetHead(Head):
    """Norm and vocabulary projection of the target."""

    reads: ClassVar[int] = 1

    def forward(self, state: State) -> Tensor:  # type: ignore[override]  # a head of what translation's layers hand on
        """Logits of every target position."""
        return super().forward(state[self.reads])


class ScaledHead(Head):
    """T5's: the projection is the token table, so the normed target is divided by √h."""

    reads: ClassVar[int] = 1

    def forward(self, state: State) -> Tensor:  # type: ignore[override]  # a head of what translation's layers hand on
        """Logits of every target position."""
        logits: Tensor = self.projection(self.norm(state[self.reads]) * self.projection.in_features**-0.5)
        return logits
