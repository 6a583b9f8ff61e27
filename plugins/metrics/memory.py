"""Metrics of the training images: their flows, their empirical score, its collapse, and features of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from gahbench import Metric, Names, OptimumError, ParameterError, Reference, Scores, generator
from gahbench.evaluation import Evaluation, fit_on_same_images, training_images
from gahbench.networks import Trained
from gahbench.sampling import draw_path_points, wrap_denoiser

#: Largest number, and largest size in bytes, of the training images.
MAX_IMAGES, MAX_BYTES = 100_000, 1 << 30
#: Number of noise levels of the coarse search, number of bisections that follow, and range of the noise levels.
LEVELS, BISECTIONS = 128, 40
SPAN = (1e-3, 1e2)
#: Number of pairs of a noisy image and a training image that are compared at a time.
PAIRS = 1 << 22
#: Number of images whose features are computed at a time.
BATCH = 16


class FlowDistance(Metric):
    """Root mean square distance between the images to which two probability flows lead from the same noise.

    The probability flow of a denoiser maps white noise z to an image F(z) by the differential equation dy / d sigma =
    (y - f(y, sigma)) / sigma (Song et al. 2021). The value is |F(z) - G(z)| / sqrt(d) for each z, where G is the flow
    of a reference: ``optimal``, whose flow leads to the distribution of the data, or ``empirical-bayes``, whose flow
    leads to the training images. The probability flow distance of Zhang et al. 2025 is sqrt(E |F(z) - G(z)|^2), the
    square root of d times the mean of the part ``square``. If ``sigma_start`` is large and ``sigma_end`` small compared
    with the images, it is a metric on distributions; a flow that starts from weaker noise leads to images that vary too
    little. The distance from the optimum is the error of generalization, and the distance from the training images is
    the error of memorization. Zhang et al. compare features of a network, and replace the unknown optimum by a trained
    teacher; here pixels are compared, and the optimum is exact.

    Between Gaussians of covariances C and C', for ``sigma_start`` tending to infinity and ``sigma_end`` to 0, the
    distance is sqrt(|m - m'|^2 + |C^1/2 - C'^1/2|^2), the Wasserstein distance if C and C' commute.

    The flow has the suite's settings of sampling. If the suite samples with another sampler, the flow has that
    sampler's number of samples, seed, mean, ends, and final step, and the default noise levels and solver. Samples that
    diverged have no value.

    Parts: ``square``, the mean square distance; ``null``, the distance between images from different noise.

    Parameters
    ----------
    to
        The reference, of kind ``classical``, ``trained`` or ``optimal``.
    """

    positive_parts = ("", "square", "null")
    citation = "zhang-huijie-2025"
    unit = "grey scale"
    titles: ClassVar[dict[str, str]] = {"": "distance of flows from {to}"}
    nulls: ClassVar[dict[str, str]] = {"": "null"}
    higher_is_better = False
    needs = frozenset({"samples", "test", "training"})
    label_parameters = ("to",)

    def __init__(self, to: Annotated[Reference, Names("reference", default="optimal")]) -> None:
        if to.kind in ("oracle", "bound"):
            raise ValueError(f"to: a reference of kind '{to.kind}' sees the clean image; accepted: other kinds")
        self.to = to

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the distance and the parts for every starting noise from which both flows converged."""
        reference = fit_on_same_images(self.to, evaluation)
        if reference is None:
            return Scores([])
        settings = evaluation.sampling.as_flow()
        flow = evaluation if settings == evaluation.sampling else replace(evaluation, sampling=settings)
        try:
            drawn, others = flow.samples, flow.with_denoiser(reference).samples
        except OptimumError:
            # The optimum may be unavailable at some noise levels.
            return Scores([])
        indices = (drawn.converged & others.converged).nonzero()[:, 0]
        if not len(indices):
            return Scores([])
        images, targets = drawn.images[indices].double(), others.images[indices].double()
        square = (images - targets).square().flatten(1).mean(1)
        parts = {"": square.sqrt(), "square": square}
        if len(indices) > 1:
            parts["null"] = (images - targets.roll(-1, 0)).square().flatten(1).mean(1).sqrt()
        empty = torch.full((len(drawn),), torch.nan, dtype=torch.float64)
        return Scores.parts({part: empty.index_copy(0, indices, value) for part, value in parts.items()})


class SelectiveUnderfitting(Metric):
    """Ratio of the errors against the empirical score on sampling paths and on noisy training images.

    The empirical score is the score of the training images under noise, (g(y) - y) / sigma^2 with g the posterior mean
    over the training images (``empirical-bayes``), which minimises the training loss. Training compares f with it only
    near noisy training images. Sampling passes elsewhere, so a network may fit the empirical score where it is trained,
    and yet not return training images (Song et al. 2025).

    Boards show the ratio of the means of ``extrapolation`` and ``supervision``. It is near 1 if the paths pass through
    the noisy training images, and large if the denoiser underfits selectively. It is undefined for ``empirical-bayes``,
    which has no error. There are no values for denoisers that learned from a stream of new images.

    Parts: |f(y) - g(y)|^2 / (sigma^2 d), the error of the scores times sigma^2, per pixel: ``supervision``, at noisy
    training images; ``extrapolation``, at the points y of the denoiser's own probability flow at the noise level sigma.
    The flow is as in ``flow-distance``. There are as many points of each kind as samples; training images are repeated
    if there are fewer. Noise levels outside the flow's have no value.
    """

    positive_parts = ("", "extrapolation", "supervision")
    citation = "song-2025"
    titles: ClassVar[Mapping[str, str]] = {
        "supervision": "error of the score at noisy training images",
        "extrapolation": "error of the score on sampling paths",
    }
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {"": ("extrapolation", "supervision")}
    higher_is_better = None
    needs = frozenset({"samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts for every point at every noise level."""
        data, settings = evaluation.learned_from, evaluation.sampling.as_flow()
        sigmas = [sigma for sigma in evaluation.sigmas if settings.sigma_end <= sigma <= settings.sigma_start]
        if data is None or data.count is None or not sigmas:
            return Scores([])
        shape, device = evaluation.shape, evaluation.device
        training = data.training(max(1, min(MAX_IMAGES, MAX_BYTES // (4 * evaluation.clean[0].numel()))))
        clean = training[torch.arange(settings.count) % len(training)]
        values: dict[tuple[str, float], Tensor] = {}
        try:
            denoise = wrap_denoiser(evaluation.denoiser, shape, evaluation.dataset, device)
            paths = draw_path_points(denoise, shape, settings, sigmas, device=device)
            for sigma, points in zip(sigmas, paths, strict=True):
                noisy = clean + data.noise(settings.count, sigma)
                values["supervision", sigma] = _errors(evaluation, training, noisy, sigma)
                values["extrapolation", sigma] = _errors(evaluation, training, points, sigma)
        except OptimumError:
            # The optimum may be unavailable at some noise levels.
            return Scores([])
        return Scores.parts(values)


def _errors(evaluation: Evaluation, training: Tensor, points: Tensor, sigma: float) -> Tensor:
    """Return |f(y) - g(y)|^2 / (sigma^2 d) at points y of shape (N, C, H, W), shape (N,); NaN where points are NaN."""
    errors = torch.full((len(points),), torch.nan, dtype=torch.float64)
    indices = points.flatten(1).isfinite().all(1).nonzero()[:, 0]
    if len(indices):
        noisy = points[indices]
        denoised = replace(evaluation, clean=noisy, start=0, granted=None).denoise(noisy, sigma)
        examples, queries = (images.to(evaluation.device).flatten(1).double() for images in (training, noisy))
        # Distances are differences of numbers of the size of the images, whose mean does not matter.
        mean = examples.mean(0)
        weights = torch.softmax(-torch.cdist(queries - mean, examples - mean).square() / (2 * sigma**2), dim=1)
        errors[indices] = (denoised.double().flatten(1) - (weights @ examples).cpu()).square().mean(1) / sigma**2
    return errors


class Collapse(Metric):
    """Noise level at which a noisy training image has half of the posterior weight of the training set.

    A network that memorizes perfectly computes the posterior mean over N training images. For a noisy training image
    y = x_i + sigma z below this noise level, the weight exp(-|y - x_i|^2 / (2 sigma^2)) of x_i exceeds half of the sum
    of the weights of all training images. The posterior mean then leads back to x_i, and samples become copies (Biroli,
    Bonnaire, de Bortoli, Mezard 2024). For white Gaussian images with d values of variance s^2 the level is
    s / sqrt(N^(2/d) - 1) in the limit of large d, which falls very slowly with N. The metric depends on the training
    images only, not on the denoiser. It has no value for a single training image.
    """

    citation = "biroli-2024"
    unit = "σ"
    needs = frozenset({"training"})
    higher_is_better = None

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the level for as many training images as there are test images."""
        if evaluation.learned_from is None:
            return Scores([])
        images = training_images(evaluation).flatten(1).double()
        if len(images) < 2:
            return Scores([])
        chosen = images[: len(evaluation.clean)]
        random = generator("noise", "collapse", evaluation.noise_seed)
        noise = torch.randn(chosen.shape, generator=random, dtype=torch.float64)
        return Scores(collapse_levels(chosen, noise, images).tolist(), image=list(range(len(chosen))))


def collapse_levels(chosen: Tensor, noise: Tensor, images: Tensor) -> Tensor:
    """Return the highest noise levels at which training images have half of the posterior weight, (M,), float64."""
    chunks = torch.split(torch.arange(len(chosen)), max(1, PAIRS // len(images)))
    return torch.cat([_levels(chosen[chunk], noise[chunk], images, chunk) for chunk in chunks])


def _levels(chosen: Tensor, noise: Tensor, images: Tensor, indices: Tensor) -> Tensor:
    # With u = 1 / sigma, the log ratio of the weights of x_j and x_i is
    # -u^2 |x_i - x_j|^2 / 2 - u z.(x_i - x_j).
    squares = torch.cdist(chosen, images).square()
    along = (noise * chosen).sum(1, keepdim=True) - noise @ images.T
    squares[torch.arange(len(chosen)), indices] = torch.inf

    def excess(u: Tensor) -> Tensor:
        log_ratio: Tensor = torch.logsumexp(-u[:, None].square() * squares / 2 - u[:, None] * along, dim=1)
        return log_ratio

    grid = torch.logspace(math.log10(SPAN[1]), math.log10(SPAN[0]), LEVELS, dtype=torch.float64)
    # Find the first level, from strong to weak noise, at which x_i outweighs all other images together.
    below = torch.stack([excess((1 / sigma).expand(len(chosen))) <= 0 for sigma in grid], dim=1)
    first = torch.where(below.any(1), below.double().argmax(1), LEVELS - 1)
    low, high = grid[first].log(), grid[(first - 1).clamp(min=0)].log()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        inside = excess((-middle).exp()) <= 0
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    levels: Tensor = low.exp()
    return levels


class Representation(Metric):
    """Ratio of two spreads of features over channels: on training images, and on generated samples.

    The features of a middle layer at the lowest noise level of the suite are max-pooled over space. Their spread is the
    standard deviation over channels, averaged over images (arXiv 2512.20963). A memorized image activates few channels,
    which gives a large spread. A network that generalizes activates many channels, equally on training images and on
    samples, so the ratio is 1. Entrants that are not networks have no value.

    Parts: ``train``, ``generated`` and ``test``, the spreads on training images, samples and test images.

    Parameters
    ----------
    layer
        Name of a module of the network with features of shape (N, C, H, W). ``null`` for the middle layer among the
        layers with the fewest pixels: the bottleneck of a UNet, or the middle of a chain of convolutions.
    """

    titles: ClassVar[dict[str, str]] = {"": "feature spread, train over generated"}
    needs = frozenset({"samples", "test", "training"})
    higher_is_better = False

    def __init__(self, layer: str | None = None) -> None:
        self.layer = layer

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value over all images, and its parts."""
        denoiser, learned = evaluation.denoiser, evaluation.learned_from
        if not isinstance(denoiser, Trained) or learned is None:
            return Scores([])
        generated = evaluation.samples.images[evaluation.samples.converged]
        if not len(generated):
            return Scores([])
        sigma = min(evaluation.sigmas)
        layer = self.layer
        if layer is None:
            level = torch.full((1,), 0.1, device=denoiser.device)
            outputs = _outputs(denoiser.network, evaluation.clean[:1].to(denoiser.device), level)
            pixels = {name: output[0, 0].numel() for name, output in outputs.items() if output.shape[1] > 1}
            if not pixels:
                return Scores([])
            smallest = [name for name in pixels if pixels[name] == min(pixels.values())]
            layer = smallest[len(smallest) // 2]
        sets = {"train": evaluation.on_training(len(generated)).clean, "test": evaluation.clean, "generated": generated}
        spread = {}
        for name, clean in sets.items():
            noisy = Evaluation(denoiser, clean, [sigma], evaluation.noise_seed, evaluation.split).noisy(sigma)
            spreads = [_spreads(denoiser, layer, batch, sigma) for batch in torch.split(noisy, BATCH)]
            spread[name] = torch.cat(spreads).mean()
        return Scores.parts({"": spread["train"] / spread["generated"], **spread})


def _spreads(denoiser: Trained, layer: str, noisy: Tensor, sigma: float) -> Tensor:
    """Return the standard deviation over channels of the pooled features of each image, shape (N,), float64."""
    levels = torch.full((len(noisy),), sigma, device=denoiser.device)
    features = _outputs(denoiser.network, noisy.to(denoiser.device), levels, layer).get(layer)
    if features is None or features.shape[1] < 2:
        raise ParameterError(f"layer '{layer}' has no output of shape (N, C, H, W), C > 1; accepted: layers that do")
    return features.float().amax((2, 3)).std(1).double().cpu()


def _outputs(network: nn.Module, noisy: Tensor, sigma: Tensor, layer: str | None = None) -> dict[str, Tensor]:
    """Return the outputs (N, C, H, W) of a module, or of all modules without children, in the order of their calls."""
    modules = dict(network.named_modules())
    if layer is None:
        modules = {name: module for name, module in modules.items() if not any(module.children())}
    elif layer in modules:
        modules = {layer: modules[layer]}
    else:
        raise ParameterError(f"the network has no layer '{layer}'; accepted: {', '.join(filter(None, modules))[:1000]}")
    outputs: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: outputs.update({name: output}))
        for name, module in modules.items()
    ]
    try:
        with torch.no_grad():
            network(noisy, sigma)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: item for name, item in outputs.items() if isinstance(item, Tensor) and item.ndim == 4}
