"""What kernels and training steps share of torch: dtypes by hwbench's names, seeds, token ids, and errors against a reference."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from hwbench.core.errors import UnavailableError
from hwbench.core.workload import Context

Distribution = Literal["uniform", "zipf"]

_DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def begin(context: Context) -> torch.dtype:
    """Seed torch so that each rank draws its own data, choose how fp32 products are done, and return the dtype to compute in.

    UnavailableError where torch or the device has no arithmetic for the context's dtype.
    """
    dtype = dtype_of(context.dtype)
    if context.dtype == "tf32" and context.device.type != "cuda":
        raise UnavailableError(f"tf32 is a product format of CUDA devices, found device {context.device.type}", hint="use fp32 or bf16")
    torch.set_float32_matmul_precision("high" if context.dtype == "tf32" else "highest")
    torch.manual_seed(context.seed + context.rank)
    return dtype


def dtype_of(name: str) -> torch.dtype:
    """torch's dtype by hwbench's name; UnavailableError where no workload computes in it."""
    if name not in _DTYPES:
        raise UnavailableError(f"no workload computes in {name} yet; available: {', '.join(_DTYPES)}")
    return _DTYPES[name]


def unit_roundoff(dtype: str) -> float:
    """Largest relative error of rounding a number to the dtype's significand: half its epsilon (tf32: 11 bits, as fp16)."""
    return 2.0**-11 if dtype == "tf32" else float(torch.finfo(_DTYPES[dtype]).eps) / 2


def token_ids(shape: tuple[int, ...], vocabulary: int, distribution: Distribution, device: torch.device) -> Tensor:
    """int64 ids in 0..vocabulary-1, drawn on the device from torch's seeded generator.

    `zipf`: id i has probability in proportion to 1/(i + 1), as the words of a text sorted by frequency (Zipf 1949). Drawn by inverting
    its cumulative distribution, in float64 where the device has it: fp32 can't tell the rarest of 100,000 words apart.
    """
    if distribution == "uniform":
        return torch.randint(vocabulary, shape, device=device)
    wide = torch.float32 if device.type == "mps" else torch.float64
    mass = torch.arange(1, vocabulary + 1, device=device, dtype=wide).reciprocal().cumsum(0)
    drawn = torch.rand(shape, device=device, dtype=wide) * mass[-1]
    return torch.searchsorted(mass, drawn).clamp_(max=vocabulary - 1)


def spread(length: int, count: int) -> list[int]:
    """At most `count` indices over 0..length-1, first and last among them, so that the tails of tiles are looked at too."""
    if length <= count:
        return list(range(length))
    return [round(i * (length - 1) / (count - 1)) for i in range(count)]


def exact(tensor: Tensor) -> Tensor:
    """The same numbers as a dense float64 tensor on the CPU, cut from any graph."""
    return tensor.detach().to_dense().to("cpu", torch.float64)


def relative_distance(found: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """The largest of ‖found − reference‖ / ‖reference‖ over pairs of tensors, Euclidean norms in float64; NaN where any is."""
    return worst([whole_distance([ours], [theirs]) for ours, theirs in zip(found, reference, strict=True)])


def worst(errors: Sequence[float]) -> float:
    """The largest error; NaN where any is, which max() would lose."""
    return math.nan if any(map(math.isnan, errors)) else max(errors)


def whole_distance(found: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """‖found − reference‖ / ‖reference‖ of the two lists, each as one long vector; NaN where anything is."""
    difference = wanted = 0.0
    for ours, theirs in zip(found, reference, strict=True):
        exactly = exact(theirs)
        difference += float((exact(ours) - exactly).square().sum())
        wanted += float(exactly.square().sum())
    return math.sqrt(difference / wanted) if wanted else math.sqrt(difference)
