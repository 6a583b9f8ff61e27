"""Code paths of gahbench that compute on a device agree on the CPU and on the stand-in GPU.

``test_stand_in.py`` runs these tests in a separate process. No training step may wait for the GPU.
"""

import contextlib
import copy
import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_fits import CPU, PLAIN, StopAfter, checkpoints_of
from small_plugins import NEEDS, small
from torch.utils import _pytree as tree

import gahbench
from devices import stand_in
from gahbench import Reference, Truth, sampling
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.jacobian import Jacobian, top
from gahbench.networks.initialisation import build_network
from gahbench.networks.network_facts import with_random_weights
from gahbench.networks.trained import Trained
from gahbench.registry.registry import Registry
from gahbench.training.fitting import fit
from gahbench.training.recipe import Training
from gahbench.training.trainer import Stopped, Trainer

stand_in.install()
DEVICE = torch.device(stand_in.NAME, 0)
SIGMA, SIDE = 0.1, 16
FAMILIES = ("c-alpha[size=16]", "gaussian-field[size=16]", "discs[size=8]", "faces[size=16]")
#: Plugins that need external files, or modules whose parameters the stand-in GPU cannot replace.
LEFT_OUT = {"hf", "diffusers", "torchscript"}
#: Datasets for metrics that need exact optima, manifolds or larger images.
FAMILY_OF = {"flow-distance": "gaussian-field[size=8]", "ssim": FAMILIES[0], "transfer-gap": FAMILIES[0]}
FAMILY_OF |= dict.fromkeys(("leakage", "local-dimension"), "sinusoids[size=8]")
#: Plugins whose paths run in every test; those of other plugins are slow.
FEW = {
    *("bf-cnn", "ffdnet", "bandlet", "graph-laplacian", "haar", "pca", "wavelet-ti", "bayes-shrink", "by-level"),
    *("empirical-bayes", "heat-kernel", "lower-bound", "optimal", "untrained", "adaptation", "ssim", "alignment"),
}
RECIPES = [
    {"clip": 1.0, "ema": 0.9},
    {"weighting": "edm", "ema": None},
    {"dataset": "faces[size=16]", "train_images": 8},
    {"weighting": "inverse-variance", "loss": "mae"},
    {"optimizer": "muon", "noise": "quadratic"},
    {"bfloat16": True},
]


def names_of(kind):
    """Return the built-in plugins that need no additional package; most are slow."""
    names = [name for name in Registry().names(kind) if name not in NEEDS and name not in LEFT_OUT]
    return [pytest.param(name, marks=[] if name in FEW else [pytest.mark.slow]) for name in names]


def create(kind, name):
    """Return a small plugin with reproducible weights."""
    torch.manual_seed(0)
    parameters = {"reference": "bayes-shrink"} if name == "cycle-spin" else small(name, Path(tempfile.mkdtemp()))
    if name == "pretrained":
        torch.save(network("ffdnet").state_dict(), parameters["checkpoint"])
        parameters["architecture"] = "ffdnet[width=8,layers=5]"
    return gahbench.create(kind, name, **parameters)


def create_on_family(kind, name):
    """Return a fitted basis or reference, a dataset that supports it, and test images."""
    plugin = create(kind, name)
    for dataset in (gahbench.create("dataset", family) for family in FAMILIES):
        if plugin.supports(dataset):
            plugin.fit(TrainingData(dataset))
            return plugin, dataset, dataset.images("test", 2)
    raise ValueError(f"{name}: not supported by {', '.join(FAMILIES)}")


def noisy(clean):
    return clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def images(family=FAMILIES[0], count=2):
    return gahbench.create("dataset", family).images("test", count)


def network(name, seed=0):
    """Return a small network with random weights, in evaluation mode."""
    parameters = small(name, Path(tempfile.mkdtemp())) | ({"width": 4, "layers": 3} if name == "bf-cnn" else {})
    configured, shape = Registry().configure("architecture", name, **parameters), (1, SIDE, SIDE)
    return with_random_weights(build_network(lambda: configured.build(shape), seed), shape).eval()


def compare(compute, tolerance=1e-5):
    """Compare the numbers that a function of the device returns, relative to the largest."""
    expected, results = (
        [torch.as_tensor(leaf).cpu().double() for leaf in tree.tree_leaves(compute(device)) if leaf is not None]
        for device in (CPU, DEVICE)
    )
    assert expected
    for result, reference in zip(results, expected, strict=True):
        scale = float(reference.abs().nan_to_num().amax()) if reference.numel() else 1.0
        assert torch.allclose(result, reference, rtol=0, atol=tolerance * max(scale, 1e-30), equal_nan=True)


def steps(device, name="unet", bfloat16=False, dataset="discs[size=16]", **options):
    """Return the losses and weights of a few training steps, of which the second may not wait."""
    training = Training.model_validate({"steps": 30, "batch_size": 4, "compile": "never", **options})
    acceleration = replace(PLAIN, bfloat16=bfloat16)
    data = gahbench.create("dataset", dataset)
    trainer = Trainer(network(name).train(), data, training, 0, acceleration, (SIGMA,), device)
    losses = [trainer.step(0, 0.0)]
    with stand_in.record_waits() as waits:
        losses.append(trainer.step(1, 1 / 30))
    assert waits == []
    return [losses, [parameter.detach() for parameter in trainer.stored_network.parameters()]]


@pytest.mark.parametrize("name", names_of("architecture"))
def test_architectures(name):
    compare(functools.partial(steps, name=name), 1e-4)
    clean = images()
    compare(lambda device: Trained(network(name), device).denoise(noisy(clean), SIGMA, Truth(clean)))

    def products(device):
        maps = Jacobian(Trained(network(name), device).network, noisy(clean).to(device), SIGMA)
        vectors = torch.ones(2, 3, SIDE**2, device=device)
        return [maps.matvec(vectors), maps.rmatvec(vectors)]

    compare(products, 1e-4)


@pytest.mark.parametrize("options", RECIPES, ids=str)
def test_recipes(options):
    compare(functools.partial(steps, **options), 2e-2 if "bfloat16" in options else 1e-5)


@pytest.mark.parametrize(("first", "precision"), [(True, "float32"), (False, "float32"), (True, "bfloat16")])
def test_a_fit_that_is_resumed_on_another_device(first, precision):
    recipe = {"ema": 0.9, "snapshots": 2, "validations": 2, "precision": precision, "compile": "never"}
    training = Training.model_validate({"steps": 12, "batch_size": 4, "validation_images": 2, **recipe})
    build = functools.partial(gahbench.create, "architecture", "bf-cnn", width=4, layers=3)

    def resume(device):
        folder, devices = Path(tempfile.mkdtemp()), (device, CPU) if first else (CPU, device)
        arguments = (build, gahbench.create("dataset", "discs[size=16]"), training, 0, folder)
        with contextlib.suppress(Stopped):
            fit(*arguments, devices[0], should_stop=StopAfter(5), checkpoints=checkpoints_of(folder))
        result = fit(*arguments, devices[1], checkpoints=checkpoints_of(folder))
        assert result.facts["steps"] == 12
        return [load_file(folder / name) for name in sorted(result.files) if name.endswith("safetensors")]

    compare(resume, 1e-5 if precision == "float32" else 1e-2)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 5e-2)])
def test_spectra_of_jacobians(precision, tolerance):
    def spectra(device):
        start = noisy(images("c-alpha[size=8]")).to(device)
        maps = Jacobian(Trained(network("bf-cnn"), device).network, start, SIGMA, precision=precision)
        return [maps.matrices(), maps.trace().value, top(maps, 3).values]

    compare(spectra, tolerance)


@pytest.mark.parametrize("name", names_of("basis"))
def test_bases(name):
    basis, dataset, clean = create_on_family("basis", name)

    def transform(device):
        truth = Truth(clean.to(device), dataset)
        adapted = basis.adapt_to(truth, SIGMA)
        coefficients = adapted.analysis(truth.clean)
        traces = torch.full((len(clean),), SIDE**2 / 8, dtype=torch.float64, device=device)
        maps = basis.filters(truth, SIGMA).at(traces)
        results = [coefficients.square().flatten(1).sum(1), adapted.synthesis(coefficients)]
        return [*results, adapted.noise_levels(dataset.shape), maps.matvec(truth.clean.flatten(1)[:, None])]

    compare(transform, 1e-4)


@pytest.mark.parametrize("name", names_of("reference"))
def test_references(name):
    def denoise(device):
        reference, dataset, clean = create_on_family("reference", name)
        if type(reference).move is Reference.move:
            return reference.denoise(noisy(clean).to(device), SIGMA, Truth(clean.to(device), dataset))
        reference.move(device)
        start, truth = noisy(clean), Truth(clean, dataset)
        results = [reference.denoise_each(start, torch.tensor([SIGMA, 2 * SIGMA]), truth)]
        if (maps := reference.jacobian(start, SIGMA, truth)) is not None:
            results.append(maps.matvec(torch.ones(2, 1, start[0].numel(), device=maps.like.device)))
        return results

    compare(denoise, 1e-4)


@functools.cache
def trained_network(seed):
    """Return a briefly trained network, with which sampling converges."""
    training = Training(steps=40, batch_size=16, compile="never", learning_rate=1e-2)
    start = build_network(lambda: gahbench.create("architecture", "bf-cnn", width=8, layers=4), seed)
    return Trainer(start, gahbench.create("dataset", FAMILIES[0]), training, seed, PLAIN).fit().network


@functools.cache
def evaluation_on(device, family):
    """Return an evaluation with everything that a metric may need; metrics share its cached results."""
    dataset = gahbench.create("dataset", family)
    networks = [trained_network(0), trained_network(1), network("bf-cnn")]
    if "sinusoids" in family:
        # The metric of local dimension needs networks that are not blind.
        networks = [network("ffdnet", seed) for seed in (0, 1, 2)]
    first, second, start = (Trained(copy.deepcopy(it), device) for it in networks)
    settings = sampling.Sampling(count=4, sampler="flow", sigma_start=1.0, sigma_end=0.05)
    clean, sigmas = dataset.images("test", 2), (0.05, 0.1, 0.2, 0.4, 0.8)
    make = functools.partial(Evaluation, dataset=dataset, device=device, sampling=settings)

    def half(last, name, **options):
        snapshots = [(step, lambda it=it: it) for step, it in ((1, start), (2, last), (4, last))]
        return make(last, clean, sigmas, learned_from=TrainingData(dataset, name, 8), snapshots=snapshots, **options)

    return half(first, "train-a", partner=half(second, "train-b"))


# The metric `decay` applies to references in their own basis, on the CPU.
@pytest.mark.parametrize("name", [name for name in names_of("metric") if name.values != ("decay",)])
def test_metrics(name):
    # The default of sample-prediction, local-score, takes long.
    metric = gahbench.create("metric", name, **({"to": "wiener-linear"} if name == "sample-prediction" else {}))
    if "captured" not in metric.needs:
        family = FAMILY_OF.get(name, "c-alpha[size=8]")
        compare(lambda device: metric.score(evaluation_on(device, family)).value, 1e-3)


@pytest.mark.parametrize("family", ["c-alpha[size=16]", "discs[size=8]", "gaussian-field[size=16]", "rays"])
def test_optima(family):
    dataset = gahbench.create("dataset", family)
    start = noisy(dataset.images("test", 1))
    compare(
        lambda device: (
            dataset.genie(start.to(device), SIGMA, "test")
            if dataset.optimum.kind == "bracket"
            else dataset.posterior(start.to(device), SIGMA).mean
        )
    )


@pytest.mark.parametrize("options", [{"step": 0.1, "beta": 0.5}, {"sampler": "flow", "levels": 10, "solver": "heun"}])
def test_samples(options):
    settings = sampling.Sampling(count=3, seed=0, sigma_start=1.0, sigma_end=0.01, **options)

    def draw(device):
        drawn = sampling.draw_samples(
            sampling.wrap_network(network("unet"), device), (1, SIDE, SIDE), settings, batch=2, device=device
        )
        return [drawn.images, drawn.steps, drawn.sigma]

    compare(draw)


def test_statistics_of_samples():
    samples, training = images(count=6), gahbench.create("dataset", FAMILIES[0]).images("train", 12)
    names = ("affine_ratios", "memorization_ratios", "patch_distance", "spectrum_distance")
    for images_device in (None, CPU):
        compare(
            lambda device, images_device=images_device: [
                getattr(sampling, name)(samples.to(device), training.to(images_device or device)) for name in names
            ]
        )


def test_public_functions():
    def score(device):
        scored = gahbench.score(network("bf-cnn"), "discs[size=8]", sigmas=[0.1], images=3, device=str(device))
        return scored.scores["value"].tolist()

    compare(score)
    options = {"dataset": "gaussian-field[size=16]", "count": 2, "max_steps": 20}
    for entrant in ("optimal", "empirical-bayes[images=8]", "untrained[architecture=unet[width=4]]"):
        compare(lambda device, it=entrant: gahbench.sample(it, device=str(device), **options).images)
