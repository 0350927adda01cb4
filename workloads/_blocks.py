"""Modules that the Transformer workloads are made of. Shapes: b sequences, s positions, h hidden width, H heads, d head width.

Every model is a `LanguageModel` of three parts, embedding, layers and head, so that a pipeline can hand out its layers and a
sharded layout can wrap each. What layouts take hold of (docs/layouts.md has the whole contract):

* `divisions` names the children that tensor parallelism divides, and how. Projections divided by columns (`qkv`, `query`, `up` …) keep
  each head's columns together: a slice of columns is a slice of heads, and the code never names the number of heads it holds.
* `attend` computes attention, and context parallelism replaces it.
* `held` says where in a longer sequence the tokens stand that a module gets; modules that know of positions have it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwbench.core.workload import Division

Divisions: TypeAlias = Mapping[str, Division]
Attend: TypeAlias = Callable[..., Tensor]
"""`attend(q, k, v, is_causal=…, …)` with the arguments and the result of torch's scaled_dot_product_attention: (b, H, s, d)."""
Held: TypeAlias = Mapping[int, tuple[Tensor, int]] | None
"""By the number of tokens at hand their positions, int64, and the length of the whole sequence; None: they are the whole sequence."""


def rows_of(table: Tensor, length: int, held: Held) -> Tensor:
    """The rows of a table of positions that belong to the `length` tokens at hand."""
    return table[:length] if held is None else table[held[length][0]]


class LanguageModel(nn.Module):
    """Embedding, layers, head. Each makes of what the one before it handed on, a tensor or a tuple of them, what the next one gets.

    Those with the attribute `takes_rest` also get `rest`: a target, positions that are to be predicted.
    """

    def __init__(self, embed: nn.Module, layers: Iterable[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.embed, self.layers, self.head = embed, nn.ModuleList(layers), head

    def forward(self, tokens: Tensor, *rest: Tensor) -> Any:
        """Logits (b, s, V) for int64 tokens (b, s), or what else the head makes of the last layer's (b, s, h)."""
        x: Any = tokens
        for piece in (self.embed, *self.layers, self.head):
            x = piece(x, *rest) if getattr(piece, "takes_rest", False) else piece(x)
        return x


class Embedding(nn.Module):
    """Token table plus a table of learned positions: (b, s) -> (b, s, h)."""

    divisions: ClassVar[Divisions] = {"tokens": "vocabulary"}
    held: Held = None

    def __init__(self, vocabulary: int, positions: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, hidden), nn.Embedding(positions, hidden)
        self.dropout = dropout

    def forward(self, tokens: Tensor) -> Tensor:
        """Sum of the token's and the position's rows."""
        x = self.tokens(tokens) + rows_of(self.positions.weight, tokens.shape[1], self.held)
        return functional.dropout(x, self.dropout, self.training)


class TokenTable(nn.Module):
    """A table of tokens alone: (b, s) -> (b, s, h)."""

    divisions: ClassVar[Divisions] = {"tokens": "vocabulary"}

    def __init__(self, vocabulary: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.tokens, self.dropout = nn.Embedding(vocabulary, hidden), dropout

    def forward(self, tokens: Tensor) -> Tensor:
        """The tokens' rows."""
        return functional.dropout(self.tokens(tokens), self.dropout, self.training)


class Head(nn.Module):
    """Final norm and vocabulary projection: (b, s, h) -> (b, s, V)."""

    divisions: ClassVar[Divisions] = {"projection": "vocabulary"}

    def __init__(self, norm: nn.Module, hidden: int, vocabulary: int) -> None:
        super().__init__()
        self.norm, self.projection = norm, nn.Linear(hidden, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every position."""
        logits: Tensor = self.projection(self.norm(x))
        return logits


class SelfAttention(nn.Module):
    """Multi-head self-attention with one product for queries, keys and values, columns in the order (head, q/k/v, d)."""

    divisions: ClassVar[Divisions] = {"qkv": "column", "out": "row"}

    def __init__(self, hidden: int, heads: int, dropout: float, *, causal: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.head_dim, self.dropout, self.causal = hidden // heads, dropout, causal
        self.attend: Attend = functional.scaled_dot_product_attention

    def forward(self, x: Tensor) -> Tensor:
        """(b, s, h) -> (b, s, h); dropout is of attention probabilities."""
        q, k, v = self.qkv(x).unflatten(-1, (-1, 3, self.head_dim)).transpose(1, 2).unbind(3)
        drop = self.dropout if self.training else 0.0
        mixed = self.attend(q, k, v, is_causal=self.causal, dropout_p=drop)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y


class MLP(nn.Module):
    """Up, GELU, down."""

    divisions: ClassVar[Divisions] = {"up": "column", "down": "row"}

    def __init__(self, hidden: int, inner: int, approximate: str) -> None:
        super().__init__()
        self.up, self.down, self.approximate = nn.Linear(hidden, inner), nn.Linear(inner, hidden), approximate

    def forward(self, x: Tensor) -> Tensor:
        """(b, s, h) -> (b, s, h)."""
        y: Tensor = self.down(functional.gelu(self.up(x), approximate=self.approximate))
        return y


class PreNormLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): GPT-2 and later decoders. `norm` makes one norm."""

    def __init__(self, norm: Callable[[], nn.Module], attention: nn.Module, mlp: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_norm, self.attention = norm(), attention
        self.mlp_norm, self.mlp = norm(), mlp
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(b, s, h) -> (b, s, h)."""
        x = x + functional.dropout(self.attention(self.attention_norm(x)), self.dropout, self.training)
        return x + functional.dropout(self.mlp(self.mlp_norm(x)), self.dropout, self.training)


def initialise(model: nn.Module, deviation: float = 0.02) -> None:
    """Matrices normal with this deviation, biases zero; norms keep their ones (GPT-2 and BERT; norms are the only other vectors)."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, deviation)
            elif name.endswith("bias"):
                parameter.zero_()
