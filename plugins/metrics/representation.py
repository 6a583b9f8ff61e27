"""Spread of the features of a network over channels on training images and on samples."""

from __future__ import annotations

import functools
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Batches, Metric, Scores, image_shape
from gahbench.evaluation import Evaluation
from gahbench.networks import Trained, feature_layers, layer_output, middle_layer


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
        layer = self._layer(denoiser, evaluation.clean[:1])
        if layer is None:
            return Scores([])
        sets = {"train": evaluation.on_training(len(generated)).clean, "test": evaluation.clean, "generated": generated}
        spread = {name: _spread(denoiser, layer, evaluation, images, sigma) for name, images in sets.items()}
        return Scores.parts({"": spread["train"] / spread["generated"], **spread})

    def _layer(self, denoiser: Trained, image: Tensor) -> str | None:
        """Return the name of the layer, or ``None`` if no layer has features of several channels."""
        if self.layer is not None:
            return self.layer
        level = torch.full((1,), 0.1, device=denoiser.device)
        layers = feature_layers(denoiser.network, image.to(denoiser.device), level)
        candidates = [(layer.name, layer.pixels) for layer in layers if layer.channels > 1]
        return middle_layer(candidates) if candidates else None


def _spread(denoiser: Trained, layer: str, evaluation: Evaluation, clean: Tensor, sigma: float) -> Tensor:
    """Return the standard deviation over channels of pooled features, averaged over images."""
    noisy = Evaluation(denoiser, clean, [sigma], evaluation.noise_seed, evaluation.split).noisy(sigma)
    return Batches.for_images(image_shape(noisy)).run(functools.partial(_mean_spread, denoiser, layer, noisy, sigma))


def _mean_spread(denoiser: Trained, layer: str, noisy: Tensor, sigma: float, size: int) -> Tensor:
    spreads = []
    for batch in torch.split(noisy, size):
        levels = torch.full((len(batch),), sigma, device=denoiser.device)
        features = layer_output(denoiser.network, layer, batch.to(denoiser.device), levels)
        if features.ndim != 4 or features.shape[1] < 2:
            raise ValueError(f"layer '{layer}' returns shape {tuple(features.shape)}; accepted: (N, C, H, W), C > 1")
        spreads.append(features.float().amax((2, 3)).std(1).double().cpu())
    return torch.cat(spreads).mean()
