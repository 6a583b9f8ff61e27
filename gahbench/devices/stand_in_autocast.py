"""Autocast on the stand-in GPU: the operations that CUDA computes in lower precision or in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

#: Operations that CUDA computes in the lower precision.
LOWER_PRECISION = (
    *("conv1d", "conv1d.padding", "conv2d", "conv2d.padding", "conv3d", "conv3d.padding", "convolution"),
    *("conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input", "conv_tbc", "prelu"),
    *("addmm", "addmv", "addr", "matmul", "einsum", "mm", "mv", "linear", "addbmm", "baddbmm", "bmm", "chain_matmul"),
    *("linalg_multi_dot", "scaled_dot_product_attention"),
)
#: Operations that CUDA computes in float32, since they lose too much accuracy in lower precision.
FLOAT32 = (
    *("acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt"),
    *("sinh", "tan", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "softplus", "layer_norm", "group_norm"),
    *("frobenius_norm.dim", "nuclear_norm", "cosine_similarity", "poisson_nll_loss", "cosine_embedding_loss"),
    *("nll_loss", "kl_div", "l1_loss", "smooth_l1_loss", "huber_loss", "mse_loss", "soft_margin_loss", "pdist"),
    *("cdist", "renorm", "logsumexp", "norm.Scalar", "norm.ScalarOpt_dim", "dist"),
    *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d"),
    *("_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d"),
    *("upsample_trilinear3d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
)
#: Operations on several tensors that CUDA computes in the widest of their dtypes.
WIDEST = (
    *("addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "vdot", "grid_sampler", "index_put", "tensordot"),
    "scatter_add",
)
#: Reductions that CUDA computes in float32 unless a dtype is given.
SUMS = ("prod", "softmax.int", "log_softmax.int", "cumprod", "cumsum", "sum", "sum.dim_IntList", "linalg_vector_norm")
_KEY = "AutocastPrivateUse1"


def libraries() -> list[torch.library.Library]:
    """Register the autocast kernels, and return the libraries that keep them registered."""
    fallback: Any = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
    fallback.fallback(torch.library.fallthrough_kernel, _KEY)
    library: Any = torch.library.Library("aten", "IMPL", _KEY)  # type: ignore[no-untyped-call]
    device = torch._C._get_privateuse1_backend_name()
    for name in LOWER_PRECISION:
        library.impl(name, _casting(name, lambda types: torch.get_autocast_dtype(device)))
    for name in FLOAT32:
        library.impl(name, _casting(name, lambda types: torch.float32))
    for name in WIDEST:
        library.impl(name, _casting(name, lambda types: torch.float32 if torch.float32 in types else None))
    for name in SUMS:
        library.impl(name, _summing(name))
    return [fallback, library]


def _operation(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _without_autocast() -> Any:
    return torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _KEY)))


def _is_cast(value: Any) -> bool:
    """Return whether autocast changes a value: a floating-point tensor on the device that is not float64."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == torch.float64:
        return False
    return value.device.type == torch._C._get_privateuse1_backend_name()


def _casting(name: str, choose: Callable[[set[torch.dtype]], torch.dtype | None]) -> Callable[..., Any]:
    """Return an operation that casts its tensors to ``choose(dtypes)``, or does not cast if that is ``None``."""
    operation = _operation(name)

    def run(*args: Any, **kwargs: Any) -> Any:
        with _without_autocast():
            leaves = tree.tree_leaves((args, kwargs))
            if (dtype := choose({leaf.dtype for leaf in leaves if _is_cast(leaf)})) is not None:
                args, kwargs = tree.tree_map(lambda leaf: leaf.to(dtype) if _is_cast(leaf) else leaf, (args, kwargs))
            return operation(*args, **kwargs)

    return run


def _summing(name: str) -> Callable[..., Any]:
    operation = _operation(name)

    def run(*args: Any, **kwargs: Any) -> Any:
        with _without_autocast():
            if _is_cast(args[0]) and kwargs.get("dtype") is None:
                kwargs["dtype"] = torch.float32
            return operation(*args, **kwargs)

    return run
