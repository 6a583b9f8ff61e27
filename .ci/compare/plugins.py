"""Compare the outputs of every registered plugin in two checkouts, on fixed inputs.

An architecture denoises with fixed weights; a dataset gives images of each split; a reference denoises; a basis
analyses and synthesises; a metric scores a network, a filter and the optimum. Other plugins are compared by name. Small
parameters are those of BASE's tests. The exit status is 1 if an output is only in one checkout, or differs by more than
``--tolerance``, relative to the larger of 1 and the value.
"""

import functools
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.sampling import Sampling

#: The kinds whose plugins are called, by a function below with the name of the kind.
CALLED = ("architecture", "dataset", "reference", "basis", "metric")
KINDS = (*CALLED, "engine", "tracker", "claim")
KEYS = ["kind", "plugin", "output", "index"]
#: Families of which a reference or a basis uses the first that it supports.
FAMILIES = ("c-alpha[size=16]", "gaussian-field[size=16]", "discs[size=16]", "faces[size=16]", "sinusoids[size=16]")
SIGMAS = (0.05, 0.1, 0.2, 0.4, 0.8)
SCORED = (("network", FAMILIES[0]), ("heat-kernel", FAMILIES[0]), ("optimal", FAMILIES[1]), ("network", FAMILIES[4]))
SMALL = {"cycle-spin": {"reference": "bayes-shrink"}, "decay": {"min_terms": 8}}
Outputs = Iterator[tuple[str, Any]]


def probe(file: Path, tests: Path, names: str) -> None:
    """Write the outputs of all plugins of a checkout: arrays, or the type of an error."""
    sys.path.insert(0, str(tests))
    from small_plugins import small

    tables, registry = [], gahbench.Registry()

    def add(kind: str, name: str, output: str = "", value: Any = 0) -> None:
        array = np.asarray(value.detach() if hasattr(value, "detach") else value).ravel()
        values = array.astype(object if array.dtype.kind == "U" else np.float64)
        cells = zip(KEYS, (kind, name, output, range(len(values))), strict=True)
        tables.append(pd.DataFrame({**dict(cells), "value": values}))

    pairs = [(kind, name) for kind in KINDS for name in registry.names(kind)]
    for number, (kind, name) in enumerate(pairs):
        add(kind, name)
        if kind not in CALLED or (names and name not in names.split(",")):
            continue
        folder = file.parent / str(number)
        folder.mkdir()
        try:
            for output, value in globals()[kind](name, SMALL.get(name) or small(name, folder)):
                add(kind, name, output, value)
        except Exception as error:
            add(kind, name, "error", type(error).__name__)
    pd.concat(tables).to_pickle(file, compression=None)


def create(kind: str, name: str, parameters: dict[str, Any], channels: int = 1) -> Any:
    torch.manual_seed(0)
    plugin = gahbench.create(kind, name, channels=channels, shape=(channels, 16, 16), **parameters)
    if kind == "architecture":
        # Layers that start at zero would hide the layers before them.
        for index, weight in enumerate(plugin.eval().parameters()):
            weight.data += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(index))
    return plugin


def create_on_family(kind: str, name: str, parameters: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return a reference or basis, a family that it supports and learned from, and two test images."""
    plugin = create(kind, name, parameters)
    family = next(data for data in (gahbench.create("dataset", name) for name in FAMILIES) if plugin.supports(data))
    plugin.fit(gahbench.TrainingData(family, "train", 16))
    return plugin, family, family.images("test", 2)


def architecture(name: str, parameters: dict[str, Any]) -> Outputs:
    for channels in (1, 3):
        noisy = torch.rand(2, channels, 16, 16, generator=torch.Generator().manual_seed(1))
        network = create("architecture", name, parameters, channels)
        with torch.no_grad():
            yield f"{channels} channels", network(noisy, torch.tensor([0.1, 0.2]))


def dataset(name: str, parameters: dict[str, Any]) -> Outputs:
    family = create("dataset", name, parameters)
    yield "optimum", family.optimum.kind
    yield from ((split, family.images(split, 3)) for split in ("test", "train", "validation"))


def reference(name: str, parameters: dict[str, Any]) -> Outputs:
    plugin, family, clean = create_on_family("reference", name, parameters)
    evaluation = Evaluation(plugin, clean, SIGMAS, dataset=family)
    yield from ((str(sigma), evaluation.denoised(sigma)) for sigma in SIGMAS[1::2])


def basis(name: str, parameters: dict[str, Any]) -> Outputs:
    plugin, family, clean = create_on_family("basis", name, parameters)
    adapted = plugin.adapt_to(Truth(clean, family), 0.3)
    coefficients = adapted.analysis(clean)
    yield from {"analysis": coefficients, "synthesis": adapted.synthesis(coefficients)}.items()
    yield "noise levels", adapted.noise_levels(family.shape)


def metric(name: str, parameters: dict[str, Any]) -> Outputs:
    plugin = create("metric", name, parameters)
    for scored, family in SCORED:
        try:
            plugin.check((1, 16, 16), SIGMAS)
            yield f"{scored} {family}", list(plugin.score(evaluate(scored, family, max(2, plugin.min_images))).value)
        except (ValueError, gahbench.GahbenchError) as error:
            yield f"{scored} {family} refused", type(error).__name__


@functools.cache
def evaluate(scored: str, family: str, count: int) -> Any:
    """Return an evaluation with all that a metric may need: a partner that learned from other images, and snapshots."""
    images = gahbench.create("dataset", family)
    settings = Sampling(count=4, sampler="flow", sigma_start=1.0, sigma_end=0.05)
    evaluation = None
    for depths, half in (((4, 3), "B"), ((3, 4), "A")):
        options = {"dataset": images, "learned_from": gahbench.TrainingData(images, half, 8), "sampling": settings}
        if scored == "network":
            denoisers = [Trained(create("architecture", "bf-cnn", {"width": 8, "layers": depth})) for depth in depths]
            options["snapshots"] = [(step, lambda one=one: one) for step, one in enumerate(denoisers, 1)]
        else:
            denoisers = [create("reference", scored, {})]
        evaluation = Evaluation(denoisers[-1], images.images("test", count), SIGMAS, partner=evaluation, **options)
    return evaluation


def main() -> None:
    from checkouts import merge, open_checkouts, summarize

    with ExitStack() as stack:
        arguments, pair = open_checkouts(stack, __doc__, tolerance=1e-6)
        options = (pair[0].folder / "tests", "bf-cnn,discs,identity,haar,psnr" if arguments.smoke else "")
        base, head = (checkout.probe(__file__, *options) for checkout in pair)
    both = merge(base, head, KEYS)
    outputs = both[~both["output"].isin(["", "error"])]
    summarize(outputs, ["kind"], arguments.tolerance)
    both["called"] = both["output"].isin(outputs["output"]).groupby([both["kind"], both["plugin"]]).transform("any")
    plugins = both.drop_duplicates(KEYS[:2])
    print(plugins.groupby("kind")["called"].agg(plugins="count", called="sum"))
    print("not called:", *plugins["plugin"][~plugins["called"] & plugins["kind"].isin(CALLED)])
    different = both[~(both["change"] <= arguments.tolerance)]
    print("different:", *(" ".join(key) for key, _ in different.groupby(KEYS[:3])), sep="\n  ")
    sys.exit(bool(len(different)) or outputs.empty)


if __name__ == "__main__":
    if sys.argv[1] == "--probe":
        probe(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        main()
