"""Units of work, and their documents, whose hashes are the keys of the units.

A document is plain JSON of everything that affects the outcome of a unit. It does not contain the order of units,
paths, times, or the number of workers. It contains digests of the behaviour of code, under the names ``source`` (of a
plugin) and ``code`` (of the function that computes the unit).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gahbench._util.keys import key_of
from gahbench.contracts.datasets import Dataset, Split
from gahbench.contracts.metrics import Metric
from gahbench.contracts.unit import Unit
from gahbench.registry.behaviour import function_digest
from gahbench.registry.configured import Configured
from gahbench.registry.plugin import Kind
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec
from gahbench.training.recipe import Training

#: Functions that compute units, by kind.
FIT = "gahbench.training.fitting:fit"
SCORE = "gahbench.evaluation.measurement:Measurement"
#: Function that audits a denoiser after it is scored, and the metric and split of these scores.
CHECKS = "gahbench.evaluation.audit:audit"
AUDITED = ("psnr", "test")
#: Version of the rules of the audit, incremented when the rules detect more.
CHECKS_VERSION = 2
#: Names of the digests of code in documents.
CODE = ("code", "source")


@dataclass(frozen=True)
class PlannedDataset:
    """A dataset, and its configuration."""

    configured: Configured
    dataset: Dataset

    @functools.cached_property
    def document(self) -> dict[str, Any]:
        """The dataset as documents of units describe it: with a fingerprint of images instead of paths of files."""
        identity, fingerprint = self.configured.identity, self.dataset.fingerprint()
        return {**(identity if fingerprint is None else _without_paths(identity)), "fingerprint": fingerprint}


@dataclass(frozen=True)
class Request:
    """The settings that affect a score: images, noise, sampling, precision, and the images learned from."""

    split: Split
    image_split: Split
    images: int
    sigmas: list[float]
    noise_seed: int
    sampling: dict[str, Any]
    jacobian_precision: str
    learned_from: Mapping[str, Any] | None
    partner_learned_from: Mapping[str, Any] | None
    #: Whether noisy images were recorded.
    is_measured: bool = False


def fit_unit(
    planned: PlannedDataset,
    entrant: Configured,
    label: str,
    training: Training,
    seed: int,
    half: Split | None,
    work: float,
) -> Unit:
    """Build the unit that trains an architecture."""
    document = {
        "code": function_digest(FIT),
        "dataset": planned.document,
        "entrant": entrant.identity,
        "training": training.key_fields(),
        "seed": seed,
    }
    return Unit(
        kind="fit",
        key=key_of(document),
        dataset=planned.configured.label,
        entrant=label,
        entrant_kind="architecture",
        seed=seed,
        split=half,
        metric=None,
        requires=None,
        work=work,
        payload={
            "dataset": describe_plugin(planned.configured),
            "entrant": describe_plugin(entrant),
            "training": training.model_dump(mode="json"),
            "seed": seed,
        },
        document=document,
    )


def score_unit(
    planned: PlannedDataset,
    entrant: Configured,
    label: str,
    metric: Configured,
    measure: Metric,
    request: Request,
    seed: int | None = None,
    fit: str | None = None,
    partner: str | None = None,
) -> Unit:
    """Build the unit that scores an entrant by a metric."""
    document = _protocol(planned, metric, measure, request)
    document["entrant"] = fit if fit is not None else entrant.identity
    if (metric.plugin.name, request.split) == AUDITED:
        document["audit"] = {"code": function_digest(CHECKS)}
    # The key of a fit already contains the training images of the network.
    if (fit is None and depends_on_images(entrant)) or measure.needs & {"training", "partner"}:
        document["learned_from"] = request.learned_from
    if "partner" in measure.needs:
        document["partner"] = partner if partner is not None else request.partner_learned_from
    return Unit(
        kind="score",
        key=key_of(document),
        dataset=planned.configured.label,
        entrant=label,
        entrant_kind="reference" if fit is None else "architecture",
        seed=seed,
        split=request.split,
        metric=metric.label,
        requires=fit,
        work=float(request.images * len(request.sigmas)),
        payload={
            "dataset": describe_plugin(planned.configured),
            "entrant": describe_plugin(entrant),
            "metric": describe_plugin(metric),
            "split": request.image_split,
            "images": request.images,
            "sigmas": request.sigmas,
            "noise_seed": request.noise_seed,
            **({"captured": True} if request.is_measured else {}),
            "learned_from": request.learned_from,
            "partner_learned_from": request.partner_learned_from,
            "sampling": request.sampling,
            "jacobian_precision": request.jacobian_precision,
        },
        partner=partner if "partner" in measure.needs else None,
        document=document,
    )


def _protocol(planned: PlannedDataset, metric: Configured, measure: Metric, request: Request) -> dict[str, Any]:
    """Return the document of a score without the entrant; scores with equal ones are comparable."""
    document: dict[str, Any] = {
        "code": function_digest(SCORE, frozenset(measure.needs)),
        "dataset": planned.document,
        "metric": metric.identity,
        "split": request.split,
        "images": request.images,
        "sigmas": request.sigmas,
        "noise_seed": request.noise_seed,
    }
    if request.is_measured:
        document["captured"] = True
    if request.image_split != request.split:
        document["shown"] = request.image_split
    if "samples" in measure.needs:
        document["sampling"] = request.sampling
    if "jacobian" in measure.needs and request.jacobian_precision != "auto":
        document["jacobian_precision"] = request.jacobian_precision
    return document


def protocol_key(planned: PlannedDataset, noise_seed: int) -> str:
    """Return a digest of images and noise, which does not depend on code."""
    return key_of({"dataset": _without_code(planned.document), "noise_seed": noise_seed})


def _without_code(document: Any) -> Any:
    if isinstance(document, Mapping):
        return {name: _without_code(value) for name, value in document.items() if name not in CODE}
    return [_without_code(item) for item in document] if isinstance(document, list | tuple) else document


def _without_paths(identity: dict[str, Any]) -> dict[str, Any]:
    """Remove the paths of files."""
    parameters = {name: value for name, value in identity["parameters"].items() if name != "path"}
    nested = {
        name: [_without_paths(item) for item in inner] if isinstance(inner, list) else _without_paths(inner)
        for name, inner in identity["nested"].items()
    }
    return {**identity, "parameters": parameters, "nested": nested}


def fits_training_subset(entrant: Configured) -> bool:
    """Return whether a reference learns from the training images of networks."""
    return bool(getattr(entrant.plugin.factory, "fits_training_subset", False))


def depends_on_images(entrant: Configured) -> bool:
    """Return whether a reference depends on the training images of its row: it learns, or selects weights."""
    return fits_training_subset(entrant) or entrant.published_training is not None


def describe_plugin(configured: Configured) -> dict[str, Any]:
    """Return the description from which a worker builds a plugin, and checks that it is unchanged."""
    return {
        "name": configured.plugin.name,
        "parameters": configured.parameters,
        "identity": configured.identity_key,
        "origins": list(configured.origins),
        "label": configured.label,
    }


def configure_recorded(registry: Registry, kind: Kind, description: Mapping[str, Any]) -> Configured:
    """Configure the plugin that a payload describes."""
    configured = registry.configure(kind, Spec(description["name"], (), dict(description["parameters"])))
    return replace(configured, label=description["label"])
