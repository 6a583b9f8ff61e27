"""All code paths of gahbench that compute on a device, as functions of the device.

Each path prepares its inputs and returns a function whose results agree on the CPU and on the stand-in GPU.
"""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file
from small_fits import CPU, PLAIN, StopAfter, checkpoints_of

import gahbench
from gahbench import Reference, Truth, sampling
from gahbench.contracts.truth import TrainingData
from gahbench.jacobian import Jacobian, top
from gahbench.networks.trained import Trained
from gahbench.registry.registry import Registry
from gahbench.sampling import Sampling, draw_samples, wrap_network
from gahbench.testing.samples import SampleDataset
from gahbench.training import trainer
from gahbench.training.fit_checks import WatchedFit
from gahbench.training.fitting import _build_timed_step, fit
from gahbench.training.recipe import Training
from gahbench.training.trainer import Stopped, Trainer
from tests.devices.subjects import (
    FAMILIES,
    SIDE,
    SIGMA,
    captured_at_two_levels,
    clean_images,
    create,
    create_on_family,
    evaluation_on,
    noisy_images,
    plugin_names,
    random_network,
)

STEPS = 2
#: Side of images for which full Jacobian matrices are computed.
SMALL_SIDE = 8
OPTIMA = (
    "c-alpha[size=16]",
    "discs[size=8]",
    "gaussian-faces",
    "gaussian-field[size=16]",
    "rays",
    "sinusoids[size=16]",
)
#: Datasets for metrics that need exact optima, manifolds or larger images.
FAMILY_OF = {
    "flow-distance": "gaussian-field[size=8]",
    "leakage": "sinusoids[size=8]",
    "local-dimension": "sinusoids[size=8]",
    "ssim": FAMILIES[0],
    "transfer-gap": FAMILIES[0],
}
#: Names of paths that ``--few`` selects: each line of gahbench, and plugins that differ in their waits.
FEW = {
    *("clip", "edm", "fixed images", "inverse variance, mae", "muon", "no average", "quadratic noise", "bfloat16"),
    *("float32, from the device to the CPU", "float32, from the CPU to the device"),
    *("bfloat16, from the device to the CPU", "timed passes", "flags"),
    # Architectures, bases and references.
    *("bf-cnn", "ffdnet", "bf-cnn, float32", "bf-cnn, bfloat16"),
    *("bandlet", "graph-laplacian", "haar", "pca", "wavelet-ti"),
    *("bayes-shrink", "by-level", "empirical-bayes", "heat-kernel", "lower-bound", "optimal", "untrained"),
    # Later metrics share results with those that precede them, so only the first metrics can be run alone.
    *("training images of c-alpha", "c-alpha[size=16]", "gaussian-field[size=16]", "rays", "adaptation", "ssim"),
    *("stochastic", "flow, heun", "sample optimal", "sample untrained[architecture=unet[width=4]]"),
    *("affine ratios", "memorization ratios, images on the CPU", "nearest, images on the CPU", "patch distance"),
}
#: Variants of a training step.
RECIPES: dict[str, dict[str, Any]] = {
    "clip": {"clip": 1.0},
    "edm": {"weighting": "edm"},
    "fixed images": {"dataset": "faces[size=16]", "train_images": 8},
    "inverse variance, mae": {"weighting": "inverse-variance", "loss": "mae"},
    "muon": {"optimizer": "muon"},
    "no average": {"ema": None},
    "quadratic noise": {"noise": "quadratic"},
}


@dataclass(frozen=True)
class DevicePath:
    """A code path of gahbench: ``prepare`` takes the device and returns the function to run.

    The tolerance limits the difference between devices, relative to the largest value. With ``runs_once``, waits of the
    first run are counted, since later runs use cached results. Otherwise waits of the second run are counted, for which
    constants are already on the device.
    """

    group: str
    name: str
    prepare: Callable
    tolerance: float = 1e-5
    runs_once: bool = False


def path(group, name, prepare, tolerance=1e-5, /, runs_once=False, **options):
    """Return a path with parameters for ``prepare``."""
    return DevicePath(group, name, functools.partial(prepare, **options), tolerance, runs_once)


def all_paths():
    """Yield the paths, group by group."""
    parts = [training, fits, fit_checks, denoising, jacobians, bases, references, posteriors, metrics]
    parts += [sampled, statistics, public]
    for part in parts:
        yield from part()


def training():
    def steps(device, name="unet", bfloat16=False, **options):
        dataset = gahbench.create("dataset", options.pop("dataset", "discs[size=16]"))
        training = Training.model_validate({"steps": 30, "batch_size": 4, "compile": "never", "ema": 0.9, **options})
        network, acceleration = random_network(name).train(), replace(PLAIN, bfloat16=bfloat16)
        fit = Trainer(network, dataset, training, 0, acceleration, (SIGMA,), device)
        return lambda: [
            *(fit.step(step, step / 30) for step in range(STEPS)),
            *(parameter.detach() for parameter in fit.stored_network.parameters()),
        ]

    for name in plugin_names("architecture"):
        yield path("training step", name, steps, 1e-4, name=name)
    for name, options in RECIPES.items():
        yield path("training step", name, steps, **options)
    yield path("training step", "bfloat16", steps, 2e-2, bfloat16=True)


def fits():
    def resume(device, first, precision):
        """Return a fit that stops in the middle, on the device or on the CPU, and is resumed on the other."""
        recipe = {"ema": 0.9, "snapshots": 2, "validations": 2, "precision": precision, "compile": "never"}
        training = Training.model_validate({"steps": 12, "batch_size": 4, "validation_images": 2, **recipe})
        dataset = gahbench.create("dataset", "discs[size=16]")
        build = functools.partial(gahbench.create, "architecture", "bf-cnn", width=4, layers=3)
        devices = (device, CPU) if first else (CPU, device)

        # Reports read values back at times that depend on the clock, so allow only the last report.
        @mock.patch.object(trainer, "REPORT_SECONDS", math.inf)
        def run():
            folder = Path(tempfile.mkdtemp())
            checkpoints = checkpoints_of(folder)
            arguments = (build, dataset, training, 0, folder)
            with contextlib.suppress(Stopped):
                fit(*arguments, devices[0], should_stop=StopAfter(5), checkpoints=checkpoints)
            result = fit(*arguments, devices[1], checkpoints=checkpoints_of(folder))
            assert result.facts["steps"] == 12
            return [load_file(folder / name) for name in sorted(result.files) if name.endswith("safetensors")]

        return run

    for first, precision in ((True, "float32"), (False, "float32"), (True, "bfloat16")):
        name = f"{precision}, from the {'device to the CPU' if first else 'CPU to the device'}"
        tolerance = 1e-5 if precision == "float32" else 1e-2
        yield path("fit, resumed", name, resume, tolerance, runs_once=True, first=first, precision=precision)


def fit_checks():
    def run_timed_passes(device):
        """Return the timed passes that choose the precision of training."""
        torch.manual_seed(0)
        run = _build_timed_step(random_network("bf-cnn").to(device), (2, 1, SIDE, SIDE), device)
        return lambda: [run("float32"), run("bfloat16")]

    def check_network(device):
        """Return the checks of a trained network."""
        watched = WatchedFit(lambda: random_network("bf-cnn").to(device), Training(steps=10, batch_size=4), 0)
        watched.build()
        return lambda: [len(watched.flags((1, SIDE, SIDE), device))]

    yield path("checks of a fit", "timed passes", run_timed_passes)
    yield path("checks of a fit", "flags", check_network)


def denoising():
    def denoise(device, name):
        trained, noisy = Trained(random_network(name), device), noisy_images(clean_images())
        return lambda: trained.denoise(noisy, SIGMA, Truth(noisy))

    for name in plugin_names("architecture"):
        yield path("denoising a batch", name, denoise, name=name)


def jacobians():
    def products(device, name):
        noisy = noisy_images(clean_images())[:2].to(device)
        maps = Jacobian(Trained(random_network(name), device).network, noisy, SIGMA)
        vectors = torch.ones(2, 3, SIDE**2, device=device)
        return lambda: [maps.matvec(vectors), maps.rmatvec(vectors)]

    def spectra(device, name, precision):
        noisy = noisy_images(clean_images(f"c-alpha[size={SMALL_SIDE}]"))[:2].to(device)
        maps = Jacobian(Trained(random_network(name), device).network, noisy, SIGMA, precision=precision)
        return lambda: [maps.matrices(), maps.trace().value, top(maps, 3).values]

    for name in plugin_names("architecture"):
        yield path("Jacobian, products", name, products, 1e-4, runs_once=True, name=name)
    for name, precision in (("bf-cnn", "float32"), ("bf-cnn", "bfloat16")):
        tolerance = 1e-4 if precision == "float32" else 5e-2
        group, title = "Jacobian, matrices and eigenvectors", f"{name}, {precision}"
        yield path(group, title, spectra, tolerance, runs_once=True, name=name, precision=precision)


def bases():
    def transform(device, name, dataset=None):
        basis = create("basis", name)
        clean = None if dataset is None else dataset.images("test", 1)
        if clean is None:
            basis, dataset, clean = create_on_family("basis", name)
        basis.fit(TrainingData(dataset))
        truth = Truth(clean.to(device), dataset)

        def run():
            adapted = basis.adapt_to(truth, SIGMA)
            coefficients = adapted.analysis(truth.clean)
            levels = adapted.noise_levels(dataset.shape)
            return [coefficients.square().flatten(1).sum(1), adapted.synthesis(coefficients), levels]

        return run

    def supports(name, dataset):
        """Return whether a basis supports images of an odd size."""
        basis = create("basis", name)
        try:
            basis.check_shape(dataset.shape)
        except ValueError:
            return False
        return not basis.oracle

    def filters(device, name):
        basis, dataset, clean = create_on_family("basis", name)
        basis.fit(TrainingData(dataset))
        truth = Truth(clean.to(device), dataset)
        traces = torch.full((len(clean),), SIDE**2 / 8, dtype=torch.float64, device=device)

        def run():
            maps = basis.filters(truth, SIGMA).at(traces)
            return [maps.matvec(truth.clean.flatten(1)[:, None]), maps.trace().value]

        return run

    for name in plugin_names("basis"):
        yield path("basis", name, transform, name=name)
    large, odd = gahbench.create("dataset", "c-alpha[size=32]"), SampleDataset((1, 17, 23))
    for name in ("bandlet", "true-flow"):
        yield path("basis", f"{name}, 32 pixels", transform, name=name, dataset=large)
    for name in plugin_names("basis"):
        if supports(name, odd):
            yield path("basis, 17x23 pixels", name, transform, name=name, dataset=odd)
    for name in plugin_names("basis"):
        yield path("filters of a basis", name, filters, 1e-4, name=name)


def references():
    def denoise(device, name):
        reference, dataset, clean = create_on_family("reference", name)
        reference.fit(TrainingData(dataset))
        truth, noisy = Truth(clean.to(device), dataset), noisy_images(clean).to(device)
        return lambda: reference.denoise(noisy, SIGMA, truth)

    def denoise_on_device(device, name, **options):
        """Return a function that denoises CPU images with a reference that moves them to its device."""
        reference, dataset, clean = create_on_family("reference", name, **options)
        reference.fit(TrainingData(dataset))
        reference.move(device)
        truth, noisy = Truth(clean[:2], dataset), noisy_images(clean)[:2]
        sigmas = torch.tensor([SIGMA, 2 * SIGMA])

        def run():
            reference.check_shape(dataset.shape)
            results = [reference.denoise(noisy, SIGMA, truth), reference.denoise_each(noisy, sigmas, truth)]
            if (maps := reference.jacobian(noisy, SIGMA, truth)) is not None:
                results.append(maps.matvec(torch.ones(2, 1, noisy[0].numel(), device=maps.like.device)))
            return results

        return run

    for name in plugin_names("reference"):
        if Registry().get("reference", name).factory.move is Reference.move:
            yield path("reference", name, denoise, name=name)
        else:
            yield path("reference with a device", name, denoise_on_device, 1e-4, name=name)
    title = "local-score, similar patches merged"
    yield path("reference with a device", title, denoise_on_device, 1e-4, name="local-score", merge_tolerance=0.5)


def posteriors():
    def posterior(device, family):
        dataset = gahbench.create("dataset", family)
        clean = dataset.images("test", 1)
        noisy = noisy_images(clean).to(device)

        def run():
            if dataset.optimum.kind == "bracket":
                return [dataset.genie(noisy, SIGMA, "test")]
            exact = dataset.posterior(noisy, SIGMA)
            return [exact.mean, exact.trace]

        return run

    def draw_training_images(device):
        """Return a function that draws training images on the device from random numbers of the CPU."""
        dataset = gahbench.create("dataset", "c-alpha[size=16]")
        return lambda: dataset.draw(torch.Generator().manual_seed(0), 4, device)

    yield path("dataset", "training images of c-alpha", draw_training_images)
    for family in OPTIMA:
        yield path("dataset", family, posterior, family=family)


def metrics():
    def score(device, name):
        # The default of sample-prediction, local-score, has a separate path.
        options = {"to": "wiener-linear"} if name == "sample-prediction" else {}
        metric = gahbench.create("metric", name, **options)
        # Metrics share cached results, so only the first metric that needs a result waits for it.
        evaluation = evaluation_on(device, FAMILY_OF.get(name, f"c-alpha[size={SMALL_SIDE}]"))
        if "captured" in metric.needs:
            evaluation = captured_at_two_levels(evaluation)
        return lambda: metric.score(evaluation).value

    for name in plugin_names("metric"):
        # The metric `decay` applies to references in their own basis, on the CPU.
        if name != "decay":
            yield path("metric", name, score, 1e-3, runs_once=True, name=name)


def sampled():
    def draw(device, **options):
        denoise = wrap_network(random_network("unet"), device)
        settings = Sampling(count=3, seed=0, sigma_start=1.0, sigma_end=0.01, **options)

        def run():
            drawn = draw_samples(denoise, (1, SIDE, SIDE), settings, batch=2, device=device)
            return [drawn.images, drawn.steps, drawn.sigma]

        return run

    yield path("sampling", "stochastic", draw, sampler="stochastic", step=0.1, beta=0.5)
    for solver in ("euler", "heun"):
        yield path("sampling", f"flow, {solver}", draw, sampler="flow", levels=10, solver=solver)


def statistics():
    samples, images = clean_images(count=6), gahbench.create("dataset", FAMILIES[0]).images("train", 12)

    def compare(device, compute, all_on_device):
        arguments = samples.to(device), images.to(device) if all_on_device else images
        return lambda: compute(*arguments)

    functions = {
        "affine ratios": sampling.affine_ratios,
        "memorization ratios": sampling.memorization_ratios,
        "memorization ratios, one image": lambda samples, images: sampling.memorization_ratios(samples, images[:1]),
        "nearest": lambda samples, images: sampling.nearest(samples, images, 2).values,
        "nearest by cosine": lambda samples, images: sampling.nearest_by_cosine(samples, images, 2).values,
        "patch distance": sampling.patch_distance,
        "spectrum distance": sampling.spectrum_distance,
    }
    for name, compute in functions.items():
        for suffix, all_on_device in (("", True), (", images on the CPU", False)):
            title = f"{name}{suffix}"
            yield path("statistics of samples", title, compare, compute=compute, all_on_device=all_on_device)


def public():
    def score(device):
        network = random_network("bf-cnn")
        return lambda: (
            gahbench.score(network, "discs[size=8]", sigmas=[0.1, 0.3], images=3, device=str(device))
            .scores["value"]
            .tolist()
        )

    def sample(device, entrant):
        return lambda: [
            gahbench.sample(
                entrant, dataset="gaussian-field[size=16]", count=2, device=str(device), max_steps=20
            ).images
        ]

    yield path("public functions", "score", score)
    for entrant in ("optimal", "empirical-bayes[images=8]", "untrained[architecture=unet[width=4]]"):
        yield path("public functions", f"sample {entrant}", sample, entrant=entrant)
