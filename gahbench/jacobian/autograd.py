"""Jacobians by automatic differentiation, many products at once."""

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
from gahbench.devices.batches import Batches
from gahbench.devices.hardware import hardware, is_out_of_memory
from gahbench.jacobian.gated import Prepared, gated_matrix
from gahbench.jacobian.maps import LinearMaps, probes_for

#: Bytes that the features and gradients of one batch of products may take.
MEMORY = 1 << 30
#: Values of the images of one batch of products, on a processor, whose caches more would overflow, and on a GPU.
TOGETHER, TOGETHER_GPU = 1 << 15, 1 << 20
#: Relative error up to which products in bfloat16 are used, and the random vectors that it is measured with.
MAX_ERROR, ERROR_PROBES = 0.01, 8

#: A function of images ``first`` and on, shape (N, C, H, W), that treats each alone.
Forward = Callable[[Tensor, int], Tensor]


class AutogradMaps(LinearMaps):
    """The Jacobians of a differentiable function of images at N images.

    Products with the transposed Jacobian are backward passes, many at once: copies of an image run through the function
    as a batch, once, and back with as many vectors, as often as need be. Where images may not be repeated the backward
    pass of the one image is batched instead (``vmap``). Products with the Jacobian itself are forward-mode derivatives,
    or, where an operation has none, the derivative of the transposed product, which is linear in its vector. Gradients
    of parameters are neither computed nor touched.

    Parameters
    ----------
    forward
        The function: of images, and the number of the first of them. It treats each image alone.
    images
        Where it is differentiated, shape (N, C, H, W).
    repeatable
        Whether an image may be repeated in a batch: false for functions that depend on its place in the batch.
    memory
        Bytes that features and gradients of products together may take, about: how many products are taken at once
        follows from the features that one backward pass needs.
    """

    def __init__(self, forward: Forward, images: Tensor, repeatable: bool = True, memory: int = MEMORY) -> None:
        super().__init__(len(images), image_shape(images))
        self._forward = forward
        with torch.inference_mode(False):
            # Tensors of inference mode are not for derivatives, their copies are.
            self._images = images.clone() if images.is_inference() else images.detach()
        self._repeatable = repeatable
        self._memory = memory
        self._has_forward_mode = True
        self._together: Batches | None = None
        self._first = 0
        self._ran: tuple[Tensor, Tensor] | None = None

    @property
    def like(self) -> Tensor:
        """The images."""
        return self._images

    @property
    def method(self) -> str:
        """Which derivatives were used so far."""
        backward = "backward passes of copies" if self._repeatable else "batched backward passes"
        return backward if self._has_forward_mode else f"{backward}, no forward mode"

    def only(self, place: int) -> AutogradMaps:
        """Return the Jacobian at one of the images."""
        found = AutogradMaps(self._forward, self._images[place : place + 1], self._repeatable, self._memory)
        found._first = self._first + place
        found._has_forward_mode, found._together = self._has_forward_mode, self._together
        return found

    def value(self) -> Tensor:
        """Return the function's values, shape (N, C, H, W)."""
        with torch.no_grad():
            return torch.cat([self._call(self._images[at : at + 1], at) for at in range(self.count)])

    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return J_i' v for vectors (N, P, d), or (1, P, d) for the same vectors for all; shape (N, P, d)."""
        return self._each(vectors, self._repeated if self._repeatable else self._batched)

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return J_i v for vectors (N, P, d), or (1, P, d) for the same vectors for all; shape (N, P, d)."""
        return self._each(vectors, self._forward_mode)

    def _each(self, vectors: Tensor, products: Callable[[int, Tensor, int], Tensor]) -> Tensor:
        """Compute the products of one image after the other, each many at once."""
        vectors = vectors.to(self._images)
        found = []
        for place in range(self.count):
            asked = vectors[place if len(vectors) > 1 else 0]
            asked = asked.reshape(-1, 1, *self.shape)
            computed = self._batches(place).run(functools.partial(products, place, asked))
            found.append(computed.reshape(-1, self.size))
        return torch.stack(found)

    def _call(self, images: Tensor, place: int) -> Tensor:
        return self._forward(images, self._first + place)

    def _batched(self, place: int, cotangents: Tensor, step: int) -> Tensor:
        """Return J' of image ``place`` times cotangents, shape (P, 1, C, H, W) both, ``step`` at a time."""
        with _differentiating():
            image = self._images[place : place + 1].clone().requires_grad_()
            value = self._call(image, place)
            found = [
                torch.autograd.grad(value, image, some, retain_graph=True, is_grads_batched=True)[0]
                for some in torch.split(cotangents, step)
            ]
        return torch.cat(found).detach()

    def _repeated(self, place: int, cotangents: Tensor, step: int) -> Tensor:
        """Return the same from copies of the image."""
        found, step = [], min(step, len(cotangents))
        with _differentiating():
            # The copies run forward once, and back as often as there are batches of cotangents.
            if self._ran is None or len(self._ran[0]) != step or self.count > 1:
                self._ran = None
                images = self._images[place : place + 1].repeat(step, 1, 1, 1).requires_grad_()
                value = self._call(images, place)
            else:
                images, value = self._ran
            if self.count == 1 and step == 1:
                # Iterations ask for one product after the other.
                self._ran = (images, value)
            for some in torch.split(cotangents[:, 0], step):
                padded = functional.pad(some, (0,) * 7 + (step - len(some),))
                found.append(torch.autograd.grad(value, images, padded, retain_graph=True)[0][: len(some)])
        return torch.cat(found)[:, None].detach()

    def _forward_mode(self, place: int, tangents: Tensor, step: int) -> Tensor:
        """Return J of image ``place`` times tangents, shape (P, 1, C, H, W) both, ``step`` at a time."""
        if self._has_forward_mode:
            try:
                return self._dual(place, tangents, step)
            except (RuntimeError, NotImplementedError) as error:
                if is_out_of_memory(error):
                    raise
                self._has_forward_mode = False
        return self._twice(place, tangents, step)

    def _dual(self, place: int, tangents: Tensor, step: int) -> Tensor:
        image = self._images[place : place + 1]

        def along(tangent: Tensor) -> Tensor:
            found: Tensor = torch.func.jvp(lambda images: self._call(images, place), (image,), (tangent,))[1]
            return found

        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.cat([torch.func.vmap(along, randomness="same")(some) for some in torch.split(tangents, step)])

    def _twice(self, place: int, tangents: Tensor, step: int) -> Tensor:
        """Differentiate J' u, which is linear in u, along the tangents."""
        found = []
        # Twice the features: those of the backward pass are kept too.
        step = max(1, step // 2)
        with _differentiating():
            if not self._repeatable:
                image = self._images[place : place + 1].clone().requires_grad_()
                cotangent = torch.zeros_like(image, requires_grad=True)
                (moved,) = torch.autograd.grad(self._call(image, place), image, cotangent, create_graph=True)
                return torch.cat(
                    [torch.autograd.grad(moved, cotangent, one, retain_graph=True)[0][None] for one in tangents]
                ).detach()
            for some in torch.split(tangents[:, 0], step):
                images = self._images[place : place + 1].repeat(len(some), 1, 1, 1).requires_grad_()
                cotangents = torch.zeros_like(images, requires_grad=True)
                (moved,) = torch.autograd.grad(self._call(images, place), images, cotangents, create_graph=True)
                found.append(torch.autograd.grad(moved, cotangents, some)[0])
        return torch.cat(found)[:, None].detach()

    def _features_of(self, place: int) -> int:
        """Return the bytes of the features that autograd keeps for a backward pass of one image."""
        sizes: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            # Weights, which are leaves, are kept anyway.
            if not tensor.is_leaf:
                storage = tensor.untyped_storage()
                sizes.setdefault(storage.data_ptr(), storage.nbytes())
            # An operation that saves its own output would hold itself in a cycle, which nothing collects.
            return tensor.detach()

        try:
            with _differentiating(), torch.autograd.graph.saved_tensors_hooks(count, lambda kept: kept):
                self._call(self._images[place : place + 1].clone().requires_grad_(), place)
        except RuntimeError:
            # Nothing can be counted within torch.func, which a forward pass may use: as if they took all memory.
            return self._memory
        return sum(sizes.values())

    def _batches(self, place: int) -> Batches:
        """Return how many products are taken at once, by the features of an image."""
        if self._together is None:
            limit = (TOGETHER_GPU if hardware(self._images.device).has_large_batches else TOGETHER) // self.size
            # Gradients of all features, at worst, and as much again for workspace of convolutions.
            fitting = self._memory // max(1, 2 * self._features_of(place))
            self._together = Batches(max(1, min(limit, fitting)))
        return self._together


class Jacobian(AutogradMaps):
    """The Jacobians of a denoiser at noisy images, any ``nn.Module`` with ``forward(noisy, sigma)``.

    Blind or not, grey or colour, on the device of the images. The network must treat each image of a batch alone,
    as in evaluation. Its parameters, their gradients and whether they require them are left as they are; the
    Jacobians are those for the parameters that it has now.

    Parameters
    ----------
    network
        In evaluation; on the device, and in the precision, of the images.
    noisy
        Shape (N, C, H, W).
    sigma
        Noise level, or one for each image, shape (N,).
    memory
        Bytes that the features and gradients of products taken at once may need, about. Results come on top:
        4 N d^2 bytes for all matrices in float32, d = C * H * W.
    precision
        ``float32``, or ``bfloat16``: then :meth:`matrices` are from products in bfloat16 with the gates of rectifiers
        found in float32 (:mod:`gahbench.jacobian.gated`), where they are accurate to 1 %, which is measured for each
        image, and from float32 where they are not. It is several times as fast where the hardware has bfloat16 units.

    Raises
    ------
    ValueError
        If the images or noise levels have other shapes, or the network is in training.

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
            raise ValueError(f"expected one sigma, or {len(noisy)} for as many images, not {tuple(levels.shape)}")
        if network.training:
            raise ValueError("the network is in training, where images depend on each other; call network.eval()")
        levels = levels.expand(len(noisy)) if levels.ndim == 0 else levels
        # Weights of compiled code cannot be replaced.
        replaced = noisy.device.type == "cpu" and not isinstance(network, torch.jit.ScriptModule)
        state = _laid_out.of(network) if replaced else None
        # Fused attention has neither a batched nor a forward derivative, the plain formula has both.
        from torch.nn.attention import SDPBackend, sdpa_kernel

        def forward(images: Tensor, first: int) -> Tensor:
            given = images, levels[first : first + 1].expand(len(images))
            with sdpa_kernel(SDPBackend.MATH):
                denoised: Tensor = network(*given) if state is None else functional_call(network, state, given)
            return denoised

        super().__init__(forward, noisy, True, memory)
        self._network, self._levels, self._precision = network, levels, precision
        exact = precision == "float32" or noisy.dtype != torch.float32
        #: Unknown until matrices are found.
        self._errors = torch.zeros(len(noisy), dtype=torch.float64) if exact else None
        self._is_exact = exact

    def only(self, place: int) -> Jacobian:
        """Return the Jacobian at one of the images."""
        levels = self._levels[place : place + 1]
        found = Jacobian(self._network, self._images[place : place + 1], levels, self._memory, self._precision)
        found._has_forward_mode, found._together = self._has_forward_mode, self._together
        return found

    def in_precision(self, precision: Literal["float32", "bfloat16"]) -> Jacobian:
        """Return the same Jacobians, whose matrices are from products in a precision."""
        return Jacobian(self._network, self._images, self._levels, self._memory, precision)

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self._network

    def columns(self, precision: Literal["float32", "bfloat16"], count: int) -> Tensor:
        """Return products of the first image with ``count`` unit vectors in a precision, to time them.

        Raises
        ------
        ValueError
            If the network has no products in bfloat16.
        """
        if precision == "float32":
            return self.only(0).rmatvec(torch.eye(min(count, self.size), self.size)[None])
        found = gated_matrix(self._network, self._images[:1], self._levels[:1], count=count)
        if found is None:
            raise ValueError("the network is not a chain of linear maps and rectifiers")
        return found

    def matrices(self) -> Tensor:
        """Return the matrices, shape (N, d, d)."""
        if self._is_exact:
            return super().matrices()
        found, errors = zip(*map(self._fast, range(self.count)), strict=True)
        self._errors = torch.stack(errors)
        return torch.cat(found)

    def errors(self) -> Tensor:
        """Return by how much :meth:`matrices` differ from those in float32, relative in Frobenius norm, shape (N,).

        It is estimated from products with 8 random vectors when the matrices are found; 0 where they are those of
        float32.
        """
        if self._errors is None:
            self.matrices()
        assert self._errors is not None
        return self._errors

    def _fast(self, place: int) -> tuple[Tensor, Tensor]:
        """Return the matrix of one image, shape (1, d, d), and its error."""
        one, level = self.only(place), self._levels[place : place + 1]
        found = gated_matrix(self._network, one._images, level)
        if found is not None:
            vectors = probes_for(self.size, ERROR_PROBES, 0, self.like)
            exact = one.rmatvec(vectors)
            # Features of all images take as much: they are counted once.
            self._together = one._together
            error = (vectors @ found - exact).double().norm() / exact.double().norm().clamp_min(1e-300)
            if error <= MAX_ERROR:
                return found[None], error.cpu()
        return AutogradMaps.matrices(one), torch.zeros((), dtype=torch.float64)


def _channels_last(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights with kernels laid out as convolutions on a processor like them."""
    return {
        name: tensor.detach().contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor.detach()
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }


#: Weights of networks, laid out once for all Jacobians of each.
_laid_out = Prepared(_channels_last)


@contextlib.contextmanager
def _differentiating() -> Iterator[None]:
    """Differentiate in any mode of the caller, without torch's performance warnings."""
    with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
        warnings.simplefilter("ignore")
        yield
