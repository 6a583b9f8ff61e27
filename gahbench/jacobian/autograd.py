"""Jacobians by automatic differentiation, with batched products, and a check of them by finite differences."""

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

from gahbench._util.noise import generator
from gahbench._util.shapes import image_shape
from gahbench.devices.hardware import Batches, hardware, is_out_of_memory
from gahbench.jacobian.gated import gated_columns
from gahbench.jacobian.maps import LinearMaps, probes_for

#: Maximum number of image values in one batch of products, on a CPU (limited by its caches) and on a GPU.
BATCH_VALUES, BATCH_VALUES_GPU = 1 << 15, 1 << 18
#: Maximum relative error of products in bfloat16, and the number of random vectors that measure the error.
MAX_ERROR, ERROR_PROBES = 0.01, 8
#: Numbers of random directions in which derivatives of references are checked, and of random vectors that measure the
#: error; step sizes of finite differences, in units of sigma; and maximum error, relative to the norm of a derivative.
DIRECTIONS, DERIVATIVE_PROBES, STEPS, TOLERANCE = 3, 16, (1e-3, 1e-4), 0.05

#: A function of images, shape (N, C, H, W), and the index of the first image; it processes each image independently.
Forward = Callable[[Tensor, int], Tensor]


class AutogradMaps(LinearMaps):
    """The Jacobians of a differentiable function of images at N images.

    Products with the transposed Jacobian (vector-Jacobian products) are backward passes. Copies of an image form a
    batch with a single forward pass, and each backward pass yields one product per copy. If images may not be repeated,
    the backward pass of a single image is batched instead (``vmap``), which is slower. Products with the Jacobian
    itself (Jacobian-vector products) use forward-mode differentiation, or, if an operation does not support it, the
    derivative of the transposed product with respect to its vector. Gradients of parameters are neither computed nor
    changed.

    Parameters
    ----------
    forward
        The function. It takes images and the index of the first image, and processes each image independently.
    images
        Images at which the function is differentiated, shape (N, C, H, W).
    repeatable
        Whether an image may be repeated in a batch; false for functions that depend on the index of the image.
    first
        Index of the first of the images.

    Examples
    --------
    >>> import torch
    >>> maps = AutogradMaps(lambda images, first: images.square(), torch.full((1, 1, 2, 2), 3.0))
    >>> maps.matrices()[0].diagonal()
    tensor([6., 6., 6., 6.])
    """

    # Inference tensors cannot be differentiated, but copies of them can.
    @torch.inference_mode(False)
    def __init__(self, forward: Forward, images: Tensor, repeatable: bool = True, first: int = 0) -> None:
        images = images.clone() if images.is_inference() else images.detach()
        super().__init__(len(images), image_shape(images), images)
        self._forward, self._repeatable, self._first = forward, repeatable, first
        values = BATCH_VALUES_GPU if hardware(images.device).is_accelerator else BATCH_VALUES
        self._product_batches = Batches(max(1, values // self.size))
        self._has_forward_mode = True
        self._last_pass: tuple[Tensor, Tensor] | None = None

    def select(self, index: int) -> AutogradMaps:
        """Return the Jacobian at image ``index``."""
        return AutogradMaps(self._forward, self.like[index : index + 1], self._repeatable, self._first + index)

    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return J_i' v for vectors of shape (N, P, d), or (1, P, d) if all images share them; shape (N, P, d)."""
        return self._compute_products(vectors, self._vjp)

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return J_i v for vectors of shape (N, P, d), or (1, P, d) if all images share them; shape (N, P, d)."""
        return self._compute_products(vectors, self._jvp)

    def _compute_products(self, vectors: Tensor, products: Callable[[int, Tensor, int], Tensor]) -> Tensor:
        """Compute products image by image, in batches of vectors."""
        vectors = vectors.to(self.like).expand(self.count, -1, -1)
        results = []
        for index, own in enumerate(vectors):
            compute = functools.partial(products, index, own.reshape(-1, *self.shape))
            results.append(self._product_batches.run(compute).reshape(-1, self.size))
        return torch.stack(results)

    def _pass(self, index: int, copies: int) -> tuple[Tensor, Tensor]:
        """Return copies of an image, and the values of the function, which depend on them."""
        images = self.like[index : index + 1].repeat(copies, 1, 1, 1).requires_grad_()
        return images, self._forward(images, self._first + index)

    def _vjp(self, index: int, cotangents: Tensor, step: int) -> Tensor:
        """Return J' times cotangents, both of shape (P, C, H, W), for image ``index``, ``step`` at a time."""
        products: list[Tensor] = []
        step = min(step, len(cotangents))
        is_single = self.count == step == 1
        with _enable_gradients():
            # All batches of cotangents share one forward pass.
            images, value = (is_single and self._last_pass) or self._pass(index, step if self._repeatable else 1)
            # Iterative methods request single products one after the other, so keep the forward pass.
            self._last_pass = (images, value) if is_single else None
            for chunk in torch.split(cotangents, step):
                if self._repeatable:
                    chunk = functional.pad(chunk, (0,) * 7 + (step - len(chunk),))
                    products += torch.autograd.grad(value, images, chunk, retain_graph=True)
                else:
                    products += torch.autograd.grad(
                        value, images, chunk[:, None], retain_graph=True, is_grads_batched=True
                    )
        return torch.cat(products)[: len(cotangents)].detach()

    def _jvp(self, index: int, tangents: Tensor, step: int) -> Tensor:
        """Return J times tangents, both of shape (P, C, H, W), for image ``index``, ``step`` at a time."""
        image = self.like[index : index + 1]

        def product(tangent: Tensor) -> Tensor:
            derivative: Tensor = torch.func.jvp(
                lambda images: self._forward(images, self._first + index), (image,), (tangent[None],)
            )[1]
            return derivative

        if self._has_forward_mode:
            try:
                with warnings.catch_warnings(), torch.no_grad():
                    warnings.simplefilter("ignore")
                    return torch.func.vmap(product, randomness="same", chunk_size=step)(tangents)
            except (RuntimeError, NotImplementedError) as error:
                if is_out_of_memory(error):
                    raise
                self._has_forward_mode = False
        # J' u is linear in u, and J is the transpose of its derivative.
        with _enable_gradients():
            images, value = self._pass(index, 1)
            cotangent = torch.zeros_like(images, requires_grad=True)
            (pulled_back,) = torch.autograd.grad(value, images, cotangent, create_graph=True)
            products = [
                torch.autograd.grad(pulled_back, cotangent, chunk[:, None], retain_graph=True, is_grads_batched=True)[0]
                for chunk in torch.split(tangents, step)
            ]
        return torch.cat(products).detach()


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

    @torch.inference_mode(False)
    def __init__(self, network: nn.Module, noisy: Tensor, sigma: float | Tensor) -> None:
        if noisy.ndim != 4 or not noisy.is_floating_point():
            raise ValueError(f"expected noisy images of shape (N, C, H, W), not {tuple(noisy.shape)} of {noisy.dtype}")
        levels = torch.as_tensor(sigma, dtype=noisy.dtype, device=noisy.device)
        if levels.ndim > 1 or (levels.ndim == 1 and len(levels) != len(noisy)):
            raise ValueError(
                f"expected one sigma, or one for each of {len(noisy)} images, not shape {tuple(levels.shape)}"
            )
        if network.training:
            raise ValueError("the network is in training mode, where images affect each other; call network.eval()")
        levels = levels.expand(len(noisy))
        state = {}
        # Kernels in channels-last layout are faster on a CPU, but weights of TorchScript modules cannot be replaced.
        if noisy.device.type == "cpu" and not isinstance(network, torch.jit.ScriptModule):
            tensors = (*network.named_parameters(), *network.named_buffers())
            layouts = {4: torch.channels_last}
            state = {
                name: tensor.detach().contiguous(memory_format=layouts.get(tensor.ndim, torch.contiguous_format))
                for name, tensor in tensors
            }
        # Fused attention supports neither batched nor forward-mode derivatives; the plain formula supports both.
        from torch.nn.attention import SDPBackend, sdpa_kernel

        def forward(images: Tensor, first: int) -> Tensor:
            inputs = images, levels[first : first + 1].expand(len(images))
            with sdpa_kernel(SDPBackend.MATH):
                denoised: Tensor = functional_call(network, state, inputs) if state else network(*inputs)
            return denoised

        super().__init__(forward, noisy)
        #: The denoiser.
        self.network = network
        self._levels = levels

    def columns(self, precision: Literal["float32", "bfloat16"], count: int) -> Tensor:
        """Compute products of the first image with ``count`` unit vectors in a precision, for timing.

        Raises
        ------
        ValueError
            If the network does not support products in bfloat16.
        """
        count = min(count, self.size)
        if precision == "float32":
            return self.select(0).rmatvec(torch.eye(count, self.size)[None])
        return gated_columns(self.network, self.like[:1], self._levels[:1], count)

    def matrices_in_bfloat16(self) -> tuple[Tensor, Tensor]:
        """Return the matrices of a ReLU network, shape (N, d, d), and their errors relative to float32, shape (N,).

        Products are computed in bfloat16 with the gates of ReLUs computed in float32 (:mod:`gahbench.jacobian.gated`),
        which is several times as fast on hardware with bfloat16 units. Errors, in Frobenius norm, are estimated from
        products with 8 random vectors. Matrices with errors above 1 %, and of other networks, are computed in float32,
        with an error of 0.
        """
        matrices, errors = [], torch.zeros(self.count, dtype=torch.float64)
        vectors = probes_for(self.size, ERROR_PROBES, 0, self.like)
        for index in range(self.count):
            single, matrix = self.select(index), None
            with contextlib.suppress(ValueError):
                columns = gated_columns(self.network, single.like, self._levels[index : index + 1], self.size)
                exact = single.rmatvec(vectors)
                error = float((vectors @ columns.mT - exact).double().norm() / exact.double().norm().clamp_min(1e-300))
                if error <= MAX_ERROR:
                    matrix, errors[index] = columns.mT, error
            matrices.append(single.matrices()[0] if matrix is None else matrix)
        return torch.stack(matrices), errors


def autograd_jacobians(forward: Forward, noisy: Tensor, sigma: float) -> AutogradMaps | None:
    """Return the Jacobians of a denoiser at noisy images, or ``None`` if its code cannot be differentiated correctly.

    ``forward`` denoises images, given the index of the first among the noisy images.

    Automatic differentiation is checked at the first image against central differences, along the image itself and in
    three random directions. If a denoiser computes part of its result outside torch, such as a threshold that depends
    on the image, its derivative lacks that part. The median of the three random directions decides, because a denoiser
    may be discontinuous, as thresholding is.
    """
    maps = AutogradMaps(forward, noisy, repeatable=False)
    with torch.no_grad():
        # Raise errors of the denoiser itself before they are taken for failed differentiation.
        forward(noisy[:1], 0)
    try:
        return maps if _is_derivative(maps, forward, noisy[:1], sigma) else None
    except (RuntimeError, TypeError) as error:
        # Otherwise a tensor that requires gradients was converted to an array, or an operation is not differentiable.
        if is_out_of_memory(error):
            raise
        return None


def _is_derivative(maps: AutogradMaps, forward: Forward, image: Tensor, sigma: float) -> bool:
    """Return whether derivatives agree with finite differences; a second, smaller step may avoid a discontinuity."""
    random = generator("noise", "differences")
    # Functions of the whole image, such as a threshold, change along the image itself.
    directions = torch.cat([image, torch.randn(DIRECTIONS, *image.shape[1:], generator=random).to(image)])
    directions *= image[0].numel() ** 0.5 / directions.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
    # Jacobians are computed from transposed products; u'J v for random u estimates the norm of J v and of its error.
    probes = torch.randn(DERIVATIVE_PROBES, image.numel(), generator=random).to(image)
    derivatives = maps.select(0).rmatvec(probes[None])[0].double() @ directions.flatten(1).double().mT

    @torch.no_grad()
    def value(shift: Tensor) -> Tensor:
        return forward(image + shift, 0).double().flatten()

    for step in (share * sigma for share in STEPS):
        shifts = [step * direction for direction in directions]
        differences = torch.stack([value(shift) - value(-shift) for shift in shifts]) / (2 * step)
        errors = (probes.double() @ differences.mT - derivatives).square().mean(0).sqrt()
        errors /= differences.norm(dim=1).clamp_min(1e-12)
        if torch.maximum(errors[0], errors[1:].median()) <= TOLERANCE:
            return True
    return False


@contextlib.contextmanager
def _enable_gradients() -> Iterator[None]:
    """Enable gradients regardless of the mode of the caller, and silence torch's performance warnings."""
    with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
        warnings.simplefilter("ignore")
        yield
