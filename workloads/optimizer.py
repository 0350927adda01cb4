"""An optimizer's update (SGD, momentum, Adam, AdamW) of many tensors, in torch's foreach or fused form."""

from typing import TYPE_CHECKING, Any, Final, Literal

from hwbench.core.errors import UnavailableError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import element_bytes, need_positive

if TYPE_CHECKING:
    import torch

WORDS: Final = {"sgd": 3, "momentum": 5, "adam": 7, "adamw": 7}
"""Elements moved a parameter: weight and gradient in, weight out; each of momentum's one and Adam's two averages in and out besides."""
STATES: Final = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2}
RATE: Final = 0.125
DECAY: Final = 0.1
BETAS: Final = (0.9, 0.95)
EPSILON: Final = 1e-8


class Config(Value):
    """The tensors that are updated, and how."""

    tensors: int = 16
    """Parameters, all of one size: a model's weights are dozens to hundreds."""
    size: int = 1 << 20
    """Elements of each; few enough of them stay in a cache from one update to the next, as a model's do not."""
    method: Literal["sgd", "momentum", "adam", "adamw"] = "adamw"
    """momentum is SGD with a running sum, factor 0.9."""
    variant: Literal["foreach", "fused"] = "fused"
    """foreach: each operation once for all tensors, in several passes over memory; fused: one pass."""


def cost(config: Config, dtype: str) -> Cost:
    """The least traffic, one pass, in words of the dtype; no FLOPs are counted, as in a whole step. An item is a parameter."""
    need_positive(config, "tensors", "size")
    parameters, e = config.tensors * config.size, element_bytes(dtype)
    traffic = WORDS[config.method] * e * parameters
    operator = Operator(name=config.method, kind="optimizer", flops=0.0, bytes=traffic, function=config.method)
    return Cost(
        blocks=(Block(name="optimizer", parameters=parameters, operators=(operator,)),),
        dtype=dtype,
        items=parameters,
        item_unit="parameter",
        parameter_state_bytes=e * (1 + STATES[config.method]),
    )


def build(config: Config, context: Context) -> Kernel:
    """Parameters and gradients, all in the dtype, on the device: without the fp32 copies that `gpt` and its like have.

    UnavailableError where torch's fused update is known to be wrong and is so here.
    """
    import torch

    from . import _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)

    def draw(tensors: int, size: int) -> "list[torch.Tensor]":
        """Parameters with gradients."""
        parameters = [torch.randn(size, device=context.device, dtype=dtype).requires_grad_() for _ in range(tensors)]
        for parameter in parameters:
            parameter.grad = (torch.rand_like(parameter) + 0.5) * torch.randn_like(parameter).sign()  # fp16 keeps its square too
        return parameters

    parameters = draw(config.tensors, config.size)
    optimizer = _optimizer(config, parameters)

    def run() -> tuple[torch.Tensor, ...]:
        optimizer.step()
        return tuple(parameter.detach() for parameter in parameters)

    def check() -> Check:
        """Three updates of two fresh tensors against the formulas in float64, relative to the parameters.

        A step rounds a few times to the dtype: 32u. The rate is such that updates are as large as parameters: a wrong one shows.
        """
        some = draw(2, min(config.size, 4096))
        wanted = [_tensors.exact(p) for p in some]
        gradients = [_tensors.exact(p.grad) for p in some if p.grad is not None]
        fresh = _optimizer(config, some)
        for _ in range(3):
            fresh.step()
        for parameter, gradient in zip(wanted, gradients, strict=True):
            _update(config.method, parameter, gradient, 3)
        error = _tensors.relative_distance(some, wanted)
        return Check(name="optimizer", error=error, tolerance=32 * _tensors.unit_roundoff(context.dtype), reference="formulas in float64")

    if config.variant == "fused" and context.device.type == "cpu" and dtype.itemsize < 4 and not check().passed:
        raise UnavailableError(
            f"torch {torch.__version__} has no fused {config.method} for {context.dtype} on a CPU that computes right "
            f"(pytorch issue 191763: whole vectors are not updated)",
            hint="--set variant=foreach",
        )
    return Kernel(run=run, check=check)


def _optimizer(config: Config, parameters: "list[torch.Tensor]") -> "torch.optim.Optimizer":
    """torch's own. The meta device has no fused updates: there it is foreach."""
    import torch

    fused = config.variant == "fused" and parameters[0].device.type != "meta"
    how: dict[str, Any] = {"fused": True} if fused else {"foreach": True}
    if config.method in ("sgd", "momentum"):
        return torch.optim.SGD(parameters, lr=RATE, momentum=0.9 if config.method == "momentum" else 0.0, **how)
    kind = torch.optim.Adam if config.method == "adam" else torch.optim.AdamW
    return kind(parameters, lr=RATE, betas=BETAS, eps=EPSILON, weight_decay=DECAY if config.method == "adamw" else 0.0, **how)


def _update(method: str, parameter: "torch.Tensor", gradient: "torch.Tensor", steps: int) -> None:
    """`steps` updates of a float64 tensor in place, with the same gradient each time.

    Formulas: Kingma and Ba (arXiv 1412.6980, algorithm 1), Loshchilov and Hutter (arXiv 1711.05101, algorithm 2), torch's momentum without
    dampening.
    """
    first, second = gradient * 0, gradient * 0
    for step in range(1, steps + 1):
        if method in ("sgd", "momentum"):
            first = first * (0.9 if method == "momentum" else 0.0) + gradient
            parameter -= RATE * first
            continue
        if method == "adamw":
            parameter -= RATE * DECAY * parameter
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient.square()
        parameter -= RATE * (first / (1 - BETAS[0] ** step)) / ((second / (1 - BETAS[1] ** step)).sqrt() + EPSILON)


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
