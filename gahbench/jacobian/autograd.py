"""Jacobians by automatic differentiation, with batched Jacobian-vector products."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from gahbench._util.shapes import image_shape
from gahbench.devices.hardware import Batches, hardware, is_out_of_memory
from gahbench.jacobian.gated import PerNetworkCache, gated_matrix
from gahbench.jacobian.maps import LinearMaps, probes_for

#: Memory limit in bytes for the features and gradients of one batch of products.
MEMORY = 1 << 30
#: Maximum number of image values in one batch of products, on a CPU (limited by its caches) and on a GPU.
BATCH_VALUES, BATCH_VALUES_GPU = 1 << 15, 1 << 20
#: Maximum relative error of products in bfloat16, and the number of random vectors that measure the error.
MAX_ERROR, ERROR_PROBES = 0.01, 8

#: A function of images, shape (N, C, H, W), and the index of the first image; it processes each image independently.
Forward = Callable[[Tensor, int], Tensor]


class AutogradMaps(LinearMaps):
    """The Jacobians of a differentiable function of images at N images.

    Products with the transposed Jacobian (vector-Jacobian products) are backward passes. Copies of an image form a
    batch with a single forward pass, and each backward pass yields one product per copy. If images may not be repeated,
    the backward pass of a single image is batched instead (``vmap``). Products with the Jacobian itself
    (Jacobian-vector products) use forward-mode differentiation, or, if an operation does not support it, the derivative
    of the transposed product with respect to its vector. Gradients of parameters are neither computed nor changed.

    Parameters
    ----------
    forward
        The function. It takes images and the index of the first image, and processes each image independently.
    images
        Images at which the function is differentiated, shape (N, C, H, W).
    repeatable
        Whether an image may be repeated in a batch; false for functions that depend on the index of the image.
    memory
        Approximate memory limit in bytes for the features and gradients of a batch of products. The size of the batch
        follows from the features that one backward pass needs.

    Examples
    --------
    >>> import torch
    >>> maps = AutogradMaps(lambda images, first: images.square(), torch.full((1, 1, 2, 2), 3.0))
    >>> maps.matrices()[0].diagonal()
    tensor([6., 6., 6., 6.])
    """

    def __init__(self, forward: Forward, images: Tensor, repeatable: bool = True, memory: int = MEMORY) -> None:
        super().__init__(len(images), image_shape(images))
        self._forward = forward
        with torch.inference_mode(False):
            # Inference tensors cannot be differentiated, but copies of them can.
            self._images = images.clone() if images.is_inference() else images.detach()
        self._repeatable = repeatable
        self._memory = memory
        self._has_forward_mode = True
        self._product_batches: Batches | None = None
        self._first = 0
        self._last_pass: tuple[Tensor, Tensor] | None = None

    @property
    def like(self) -> Tensor:
        """The images."""
        return self._images

    @property
    def method(self) -> str:
        """Description of how derivatives have been computed so far."""
        backward = "backward passes of copies" if self._repeatable else "batched backward passes"
        return backward if self._has_forward_mode else f"{backward}, no forward mode"

    def select(self, index: int) -> AutogradMaps:
        """Return the Jacobian at image ``index``."""
        maps = AutogradMaps(self._forward, self._images[index : index + 1], self._repeatable, self._memory)
        maps._first = self._first + index
        maps._has_forward_mode, maps._product_batches = self._has_forward_mode, self._product_batches
        return maps

    def value(self) -> Tensor:
        """Return the values of the function at the images, shape (N, C, H, W)."""
        with torch.no_grad():
            return torch.cat([self._call(self._images[index : index + 1], index) for index in range(self.count)])

    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return J_i' v for vectors of shape (N, P, d), or (1, P, d) if all images share them; shape (N, P, d)."""
        return self._compute_products(vectors, self._vjp_of_copies if self._repeatable else self._vjp_batched)

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return J_i v for vectors of shape (N, P, d), or (1, P, d) if all images share them; shape (N, P, d)."""
        return self._compute_products(vectors, self._jvp)

    def _compute_products(self, vectors: Tensor, products: Callable[[int, Tensor, int], Tensor]) -> Tensor:
        """Compute products image by image, in batches of vectors."""
        vectors = vectors.to(self._images)
        results = []
        for index in range(self.count):
            own = vectors[index if len(vectors) > 1 else 0]
            own = own.reshape(-1, 1, *self.shape)
            computed = self._batches(index).run(functools.partial(products, index, own))
            results.append(computed.reshape(-1, self.size))
        return torch.stack(results)

    def _call(self, images: Tensor, index: int) -> Tensor:
        return self._forward(images, self._first + index)

    def _vjp_batched(self, index: int, cotangents: Tensor, step: int) -> Tensor:
        """Return J' times cotangents, both of shape (P, 1, C, H, W), for image ``index``, ``step`` at a time."""
        with _enable_gradients():
            image = self._images[index : index + 1].clone().requires_grad_()
            value = self._call(image, index)
            products = [
                torch.autograd.grad(value, image, chunk, retain_graph=True, is_grads_batched=True)[0]
                for chunk in torch.split(cotangents, step)
            ]
        return torch.cat(products).detach()

    def _vjp_of_copies(self, index: int, cotangents: Tensor, step: int) -> Tensor:
        """Return the products of :meth:`_vjp_batched`, computed with copies of the image."""
        products, step = [], min(step, len(cotangents))
        with _enable_gradients():
            # All batches of cotangents share one forward pass of the copies.
            if self._last_pass is None or len(self._last_pass[0]) != step or self.count > 1:
                self._last_pass = None
                images = self._images[index : index + 1].repeat(step, 1, 1, 1).requires_grad_()
                value = self._call(images, index)
            else:
                images, value = self._last_pass
            if self.count == 1 and step == 1:
                # Iterative methods request single products one after the other, so keep the forward pass.
                self._last_pass = (images, value)
            for chunk in torch.split(cotangents[:, 0], step):
                padded = functional.pad(chunk, (0,) * 7 + (step - len(chunk),))
                products.append(torch.autograd.grad(value, images, padded, retain_graph=True)[0][: len(chunk)])
        return torch.cat(products)[:, None].detach()

    def _jvp(self, index: int, tangents: Tensor, step: int) -> Tensor:
        """Return J times tangents, both of shape (P, 1, C, H, W), for image ``index``, ``step`` at a time."""
        if self._has_forward_mode:
            try:
                return self._jvp_forward_mode(index, tangents, step)
            except (RuntimeError, NotImplementedError) as error:
                if is_out_of_memory(error):
                    raise
                self._has_forward_mode = False
        return self._jvp_double_backward(index, tangents, step)

    def _jvp_forward_mode(self, index: int, tangents: Tensor, step: int) -> Tensor:
        image = self._images[index : index + 1]

        def product(tangent: Tensor) -> Tensor:
            derivative: Tensor = torch.func.jvp(lambda images: self._call(images, index), (image,), (tangent,))[1]
            return derivative

        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            chunks = torch.split(tangents, step)
            return torch.cat([torch.func.vmap(product, randomness="same")(chunk) for chunk in chunks])

    def _jvp_double_backward(self, index: int, tangents: Tensor, step: int) -> Tensor:
        """Return J times tangents by differentiating J' u, which is linear in u, with respect to u."""
        products = []
        # Half the batch, since the graph of the backward pass takes as much memory as the features.
        step = max(1, step // 2)
        with _enable_gradients():
            if not self._repeatable:
                image = self._images[index : index + 1].clone().requires_grad_()
                cotangent = torch.zeros_like(image, requires_grad=True)
                (pulled_back,) = torch.autograd.grad(self._call(image, index), image, cotangent, create_graph=True)
                return torch.cat(
                    [
                        torch.autograd.grad(pulled_back, cotangent, tangent, retain_graph=True)[0][None]
                        for tangent in tangents
                    ]
                ).detach()
            for chunk in torch.split(tangents[:, 0], step):
                images = self._images[index : index + 1].repeat(len(chunk), 1, 1, 1).requires_grad_()
                cotangents = torch.zeros_like(images, requires_grad=True)
                (pulled_back,) = torch.autograd.grad(self._call(images, index), images, cotangents, create_graph=True)
                products.append(torch.autograd.grad(pulled_back, cotangents, chunk)[0])
        return torch.cat(products)[:, None].detach()

    def _count_feature_bytes(self, index: int) -> int:
        """Return the bytes of the features that autograd saves for a backward pass of one image."""
        sizes: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            # Leaves are weights, which take no additional memory.
            if not tensor.is_leaf:
                storage = tensor.untyped_storage()
                sizes.setdefault(storage.data_ptr(), storage.nbytes())
            # Without detach, an operation that saves its own output would leak memory through a reference cycle.
            return tensor.detach()

        try:
            with _enable_gradients(), torch.autograd.graph.saved_tensors_hooks(count, lambda saved: saved):
                self._call(self._images[index : index + 1].clone().requires_grad_(), index)
        except RuntimeError:
            # Features cannot be counted if the forward pass uses torch.func, so assume that they need all the memory.
            return self._memory
        return sum(sizes.values())

    def _batches(self, index: int) -> Batches:
        """Return the batches of products that fit into memory, measured at one image."""
        if self._product_batches is None:
            limit = (BATCH_VALUES_GPU if hardware(self._images.device).is_accelerator else BATCH_VALUES) // self.size
            # At worst, gradients and the workspace of convolutions take as much memory as the features.
            largest = self._memory // max(1, 2 * self._count_feature_bytes(index))
            self._product_batches = Batches(max(1, min(limit, largest)))
        return self._product_batches


class Jacobian(AutogradMaps):
    """The Jacobians of a denoiser, any ``nn.Module`` with ``forward(noisy, sigma)``, at noisy images.

    The network may ignore sigma, and must process each image of a batch independently, as in evaluation mode. Its
    parameters, their gradients and ``requires_grad`` are not changed. After a change of the parameters, create
    a new object.

    Parameters
    ----------
    network
        A network in evaluation mode, on the device and in the precision of the images.
    noisy
        Noisy images, shape (N, C, H, W).
    sigma
        Noise level of all images, or of each image, shape (N,).
    memory
        Approximate memory limit in bytes for the features and gradients of a batch of products. Results need additional
        memory: 4 N d^2 bytes for all matrices in float32, with d = C * H * W.
    precision
        ``float32`` or ``bfloat16``. With ``bfloat16``, :meth:`matrices` computes products in bfloat16 with the gates of
        ReLUs computed in float32 (:mod:`gahbench.jacobian.gated`), which is several times as fast on hardware with
        bfloat16 units. The error is measured for each image; if it exceeds 1 %, products in float32 are used.

    Raises
    ------
    ValueError
        If the images or noise levels have wrong shapes, or the network is in training mode.

    Examples
    --------
    >>> import torch
    >>> from gahbench.jacobian import Jacobian
    >>> blur = torch.nn.AvgPool2d(3, stride=1, padding=1)
    >>> class Blur(torch.nn.Module):
    ...     def forward(self, noisy, sigma):
    ...         return blur(noisy)
    >>> Jacobian(Blur().eval(), torch.rand(1, 1, 4, 4), sigma=0.1).trace().value.round(decimals=4)
    tensor([1.7778], dtype=torch.float64)
    """

    def __init__(
        self,
        network: nn.Module,
        noisy: Tensor,
        sigma: float | Tensor,
        memory: int = MEMORY,
        precision: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        if noisy.ndim != 4 or not noisy.is_floating_point():
            raise ValueError(f"expected noisy images of shape (N, C, H, W), not {tuple(noisy.shape)} of {noisy.dtype}")
        levels = torch.as_tensor(sigma, dtype=noisy.dtype, device=noisy.device)
        if levels.ndim > 1 or (levels.ndim == 1 and len(levels) != len(noisy)):
            raise ValueError(
                f"expected one sigma, or one for each of {len(noisy)} images, not shape {tuple(levels.shape)}"
            )
        if network.training:
            raise ValueError("the network is in training mode, where images affect each other; call network.eval()")
        levels = levels.expand(len(noisy)) if levels.ndim == 0 else levels
        # Weights of TorchScript modules cannot be replaced.
        has_replaceable_weights = noisy.device.type == "cpu" and not isinstance(network, torch.jit.ScriptModule)
        state = _channels_last_weights.get(network) if has_replaceable_weights else None
        # Fused attention supports neither batched nor forward-mode derivatives; the plain formula supports both.
        from torch.nn.attention import SDPBackend, sdpa_kernel

        def forward(images: Tensor, first: int) -> Tensor:
            inputs = images, levels[first : first + 1].expand(len(images))
            with sdpa_kernel(SDPBackend.MATH):
                denoised: Tensor = network(*inputs) if state is None else functional_call(network, state, inputs)
            return denoised

        super().__init__(forward, noisy, True, memory)
        self._network, self._levels, self._precision = network, levels, precision
        exact = precision == "float32" or noisy.dtype != torch.float32
        #: Errors of the matrices; ``None`` until the matrices are computed.
        self._errors = torch.zeros(len(noisy), dtype=torch.float64) if exact else None
        self._is_exact = exact

    def select(self, index: int) -> Jacobian:
        """Return the Jacobian at image ``index``."""
        levels = self._levels[index : index + 1]
        jacobian = Jacobian(self._network, self._images[index : index + 1], levels, self._memory, self._precision)
        jacobian._has_forward_mode, jacobian._product_batches = self._has_forward_mode, self._product_batches
        return jacobian

    def in_precision(self, precision: Literal["float32", "bfloat16"]) -> Jacobian:
        """Return the same Jacobians with matrices computed in another precision."""
        return Jacobian(self._network, self._images, self._levels, self._memory, precision)

    @property
    def network(self) -> nn.Module:
        """The denoiser."""
        return self._network

    def columns(self, precision: Literal["float32", "bfloat16"], count: int) -> Tensor:
        """Compute products of the first image with ``count`` unit vectors in a precision, for timing.

        Raises
        ------
        ValueError
            If the network does not support products in bfloat16.
        """
        if precision == "float32":
            return self.select(0).rmatvec(torch.eye(min(count, self.size), self.size)[None])
        products = gated_matrix(self._network, self._images[:1], self._levels[:1], count=count)
        if products is None:
            raise ValueError("the network is not a chain of linear maps and ReLUs")
        return products

    def matrices(self) -> Tensor:
        """Return the matrices, shape (N, d, d)."""
        if self._is_exact:
            return super().matrices()
        matrices, errors = zip(*map(self._bfloat16_matrix, range(self.count)), strict=True)
        self._errors = torch.stack(errors)
        return torch.cat(matrices)

    def errors(self) -> Tensor:
        """Return the errors of :meth:`matrices` relative to float32, in Frobenius norm, shape (N,).

        An error is estimated from products with 8 random vectors when the matrices are computed, and is 0 if the
        matrix was computed in float32.
        """
        if self._errors is None:
            self.matrices()
        assert self._errors is not None
        return self._errors

    def _bfloat16_matrix(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the matrix of one image, shape (1, d, d), and its error; use float32 if bfloat16 is inaccurate."""
        single, level = self.select(index), self._levels[index : index + 1]
        matrix = gated_matrix(self._network, single._images, level)
        if matrix is not None:
            vectors = probes_for(self.size, ERROR_PROBES, 0, self.like)
            exact = single.rmatvec(vectors)
            # All images need the same memory, so measure it only once.
            self._product_batches = single._product_batches
            error = (vectors @ matrix - exact).double().norm() / exact.double().norm().clamp_min(1e-300)
            if error <= MAX_ERROR:
                return matrix[None], error.cpu()
        return AutogradMaps.matrices(single), torch.zeros((), dtype=torch.float64)


def _to_channels_last(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights with kernels in channels-last layout, which is faster for convolutions on a CPU."""
    return {
        name: tensor.detach().contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor.detach()
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }


#: Channels-last weights of networks, shared by all Jacobians of a network.
_channels_last_weights = PerNetworkCache(_to_channels_last)


@contextlib.contextmanager
def _enable_gradients() -> Iterator[None]:
    """Enable gradients regardless of the mode of the caller, and silence torch's performance warnings."""
    with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
        warnings.simplefilter("ignore")
        yield
