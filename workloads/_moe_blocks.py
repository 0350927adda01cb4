"""A mixture of experts: router, dropless dispatch, stacked gated experts. Shapes: n tokens, k experts a token, E experts, h width, f inner.

Routing after Fedus et al. (arXiv 2101.03961) and Jiang et al. (Mixtral, arXiv 2401.04088): a softmax over the experts, the k largest
of it rescaled to sum to 1. No token is dropped. docs/layouts.md says what expert parallelism replaces.
"""

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._blocks import Divisions, Head, PreNormLayer
from ._llama_blocks import GatedMLP

Dispatch: TypeAlias = Callable[["Experts", Tensor, Tensor], Tensor]
"""`dispatch(experts, tokens, chosen)`: tokens (n, h), experts int64 (n, k) -> (n, k, h), what each chosen expert makes of each token."""
Route: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""`route(x)`: (b, s, h) -> weights (n, k) and chosen experts int64 (n, k) of its n = b·s tokens."""
Combine: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`combine(x, weights, chosen)`: (b, s, h) -> (b, s, h), each token's chosen experts, weighted, and the shared one, added up."""
Mix: TypeAlias = Callable[[Route, Combine, Tensor], Tensor]
"""`mix(route, combine, x)`: (b, s, h) -> (b, s, h), x routed and what was chosen combined."""


class Experts(nn.Module):
    """E gated MLPs without biases, their weights stacked: `gate` and `up` (E, h, f), `down` (E, f, h)."""

    divisions: ClassVar[Divisions] = {"gate": "column", "up": "column", "down": "row"}

    def __init__(self, count: int, hidden: int, inner: int) -> None:
        super().__init__()
        self.gate, self.up = (nn.Parameter(torch.empty(count, hidden, inner)) for _ in range(2))
        self.down = nn.Parameter(torch.empty(count, inner, hidden))

    def forward(self, tokens: Tensor, counts: Tensor) -> Tensor:
        """Tokens (t, h) sorted by expert, and how many each expert gets, int64 (E,): (t, h).

        Weights are unbound, not indexed: the gradient of an index would be a stack of zeros for each expert.
        """
        weights = zip(self.gate.unbind(), self.up.unbind(), self.down.unbind(), strict=True)
        shares = torch.split(tokens, _sizes(counts, len(tokens)))
        return torch.cat([(functional.silu(x @ gate) * (x @ up)) @ down for x, (gate, up, down) in zip(shares, weights, strict=True)])


def _sizes(counts: Tensor, total: int) -> list[int]:
    """The counts as numbers. The meta device has none: there experts share the tokens evenly, which costs the same products."""
    if counts.is_meta:
        each, more = divmod(total, len(counts))
        return [each + (i < more) for i in range(len(counts))]
    sizes: list[int] = counts.tolist()
    return sizes


class _Copies(torch.autograd.Function):
    """Rows `source` of x, where each row of x is taken k times. `inverse` says where the (row, copy) pairs went, in their order.

    The gradient sums each row's k copies where they lie, in a fixed order: an index_add would add them one by one, on a GPU in any order.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.rows = len(x)
        return x.index_select(0, source)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return dy.index_select(0, inverse).view(ctx.rows, -1, dy.shape[-1]).sum(1), None, None


def sort_by_expert(chosen: Tensor, experts: int) -> tuple[Tensor, Tensor, Tensor]:
    """For chosen experts (n, k): the order that sorts the n·k pairs by expert, its inverse (n·k,), and the pairs of each expert (E,)."""
    pairs = chosen.flatten()
    order = pairs.argsort(stable=True)
    inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    counts = torch.zeros(experts, dtype=torch.int64, device=chosen.device).scatter_add_(0, pairs, torch.ones_like(pairs))
    return order, inverse, counts


def copies(tokens: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """The n·k rows that `order` names, token order // k each: (n·k, h) from (n, h)."""
    per_token = len(order) // len(tokens)
    rows: Tensor = _Copies.apply(tokens, order // per_token, inverse)  # type: ignore[no-untyped-call]  # torch has no types here
    return rows


def permuted(rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Rows in this order; `inverse` undoes it."""
    y: Tensor = _Copies.apply(rows, order, inverse)  # type: ignore[no-untyped-call]  # torch has no types here
    return y


def here(experts: Experts, tokens: Tensor, chosen: Tensor) -> Tensor:
    """Dispatch where all experts are on this rank: sort by expert, compute, put back."""
    order, inverse, counts = sort_by_expert(chosen, len(experts.gate))
    made = experts(copies(tokens, order, inverse), counts)
    return permuted(made, inverse, order).view(*chosen.shape, -1)


def unchanged(x: Tensor) -> Tensor:
    """The mean over the global batch where one rank has all of it."""
    return x


def at_once(route: Route, combine: Combine, x: Tensor) -> Tensor:
    """Mix where one rank has experts of whole width."""
    return combine(x, *route(x))


class MixtureOfExperts(nn.Module):
    """(b, s, h) -> (b, s, h). After a forward pass `balance` is the load-balancing loss of its tokens: collect it with `balance_loss`."""

    def __init__(self, hidden: int, inner: int, experts: int, topk: int, shared: int) -> None:
        super().__init__()
        self.router, self.experts = nn.Linear(hidden, experts, bias=False), Experts(experts, hidden, inner)
        self.shared = GatedMLP(hidden, shared) if shared else None
        self.topk = topk
        self.dispatch: Dispatch = here
        self.average: Callable[[Tensor], Tensor] = unchanged
        self.mix: Mix = at_once
        self.balance: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Each token's k experts, weighted, and the shared expert where there is one."""
        return self.mix(self._routed, self._combined, x)

    def _routed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of each token's k experts, rescaled to sum to 1, and which they are, (n, k) each."""
        logits = self.router(x.flatten(0, -2))
        shares = logits.softmax(-1, dtype=logits.dtype if logits.dtype.itemsize > 4 else torch.float32)
        weights, chosen = shares.topk(self.topk)
        self.balance = self._balance(shares, chosen)
        return (weights / weights.sum(-1, keepdim=True)).to(x.dtype), chosen

    def _combined(self, x: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        tokens = x.flatten(0, -2)
        y = (self.dispatch(self.experts, tokens, chosen) * weights.unsqueeze(-1)).sum(1)
        if self.shared is not None:
            y = y + self.shared(tokens)
        z: Tensor = y.view_as(x)
        return z

    def _balance(self, shares: Tensor, chosen: Tensor) -> Tensor:
        """E·Σ f_i·P_i: f_i the share of the pairs that chose expert i, P_i its mean probability; 1 when balanced (arXiv 2101.03961, eq. 4).

        f is the global batch's and has no gradient, so that the mean of the ranks' losses is the loss of the global batch.
        """
        experts = shares.shape[-1]
        pairs = torch.zeros(experts, dtype=shares.dtype, device=shares.device)
        fractions = pairs.scatter_add_(0, chosen.flatten(), torch.ones_like(chosen.flatten(), dtype=shares.dtype)) / chosen.numel()
        return experts * (self.average(fractions) * shares.flatten(0, -2).mean(0)).sum()


def balance_loss(mixture: MixtureOfExperts) -> Tensor:
    """The load-balancing loss of a mixture's last forward pass, which it forgets."""
    found, mixture.balance = mixture.balance, None
    assert found is not None, "a forward pass leaves one"
    return found


class MixtureLayer(PreNormLayer):
    """A layer whose MLP is one of `count` mixtures: it adds its share of their mean balancing loss to what the layers before it found."""

    def __init__(self, norm: Callable[[], nn.Module], attention: nn.Module, mixture: MixtureOfExperts, count: int) -> None:
        super().__init__(norm, attention, mixture)
        self.count = count

    def forward(self, state: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # of PreNormLayer's kind
        """(b, s, h), and from the second layer on the loss so far, a scalar -> (b, s, h) and the loss so far."""
        x, *before = state if isinstance(state, tuple) else (state,)
        y = super().forward(x)
        own = balance_loss(cast("MixtureOfExperts", self.mlp)) / self.count
        return y, before[0] + own if before else own


class BalancedHead(Head):
    """Final norm and vocabulary projection, beside which the layers' balancing loss goes on."""

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # of Head's kind
        """(b, s, h) and the loss -> logits (b, s, V) and the loss."""
        return super().forward(state[0]), state[1]
