"""Pairs of datasets and entrants: undefined pairs, refused pairs, and dry runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gahbench._util.errors import ParameterError, SuiteError
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset, all_shapes
from gahbench.contracts.denoisers import SEES_DATASET
from gahbench.contracts.references import Reference
from gahbench.planning.dry_run import DryRun, dry_runs
from gahbench.planning.suite import Suite
from gahbench.planning.suite_fields import scored_images
from gahbench.registry.configured import Configured
from gahbench.registry.plugin import watch
from gahbench.registry.registry import Registry

#: A configured dataset, and the dataset itself.
Built = tuple[Configured, Dataset]
#: Labels of a dataset and an entrant.
Pair = tuple[str, str]


@dataclass(frozen=True)
class Pairs:
    """Undefined pairs, refused pairs with reasons, and dry runs of a suite."""

    undefined: frozenset[Pair] = frozenset()
    refused: dict[Pair, str] = field(default_factory=dict)
    dry_runs: dict[Pair, DryRun] = field(default_factory=dict)


def undefined_pairs(suite: Suite, built: Sequence[Built]) -> frozenset[Pair]:
    """Return the pairs whose reference is not defined on the dataset; raise if a reference is defined on no dataset."""
    undefined: set[Pair] = set()
    for entrant in suite.entrants:
        if entrant.kind != "reference":
            continue
        try:
            reference: Reference = entrant.build()
            unsupported = {
                (configured.label, entrant.label) for configured, set_ in built if not reference.supports(set_)
            }
        except Exception:
            continue  # The row of a broken plugin reports the error.
        # A run that selects other datasets has no row of this reference.
        if len(unsupported) == len({configured.label for configured in suite.complete.datasets}):
            kinds = ", ".join(
                f"{configured.label}: {dataset.optimum.kind}{'' if dataset.has_true_basis else ', no true basis'}"
                for configured, dataset in built
            )
            raise SuiteError(
                f"{suite.location(entrant)}: {entrant.where}: not defined on any dataset of the suite; the kinds of "
                f"their optima are {kinds}"
            )
        undefined |= unsupported
    return frozenset(undefined)


def check_pairs(
    suite: Suite, built: Sequence[Built], registry: Registry, undefined: frozenset[Pair], done: set[Pair]
) -> Pairs:
    """Check pairs by dry runs of networks and by the shape checks of references."""
    refused: dict[Pair, str] = {}
    runs_by_pair = {
        (configured.label, entrant.label): DryRun() for configured, _ in built for entrant in suite.entrants
    }
    cases = [
        ((configured.label, entrant.label), entrant, dataset)
        for configured, dataset in built
        for entrant in suite.entrants
        if (configured.label, entrant.label) not in undefined
    ]
    networks = [case for case in cases if case[1].kind == "architecture" and case[0] not in done]
    # All shapes of a dataset are tried. Parameters and multiply-adds are those of the first shape.
    tried = [(pair, entrant, shape) for pair, entrant, dataset in networks for shape in _shapes(suite, dataset)]
    runs = dry_runs([(entrant, shape) for _, entrant, shape in tried], registry)
    for (pair, _, _), run in reversed(list(zip(tried, runs, strict=True))):
        runs_by_pair[pair] = run
        if run.refusal is not None:
            refused[pair] = run.refusal
    for pair, entrant, dataset in cases:
        if entrant.kind == "reference" and (reason := _refusal(suite, entrant, dataset)) is not None:
            refused[pair] = reason
    for entrant in suite.entrants:
        entrant_pairs = [pair for pair, candidate, _ in cases if candidate is entrant]
        if entrant_pairs and all(pair in refused for pair in entrant_pairs):
            raise SuiteError(
                f"{suite.location(entrant)}: {entrant.where} on {entrant_pairs[0][0]}: {refused[entrant_pairs[0]]}"
            )
    return Pairs(undefined, refused, runs_by_pair)


def _refusal(suite: Suite, entrant: Configured, dataset: Dataset) -> str | None:
    """Return why a reference refuses the images of a dataset; ``None`` if it accepts them."""
    try:
        reference: Reference = suite.build(entrant)
        if dataset.noise_kind is not None and reference.kind in SEES_DATASET:
            return "needs clean images, and these images are noisy; accepted: classical references and networks"
        # A saved model runs its own code, which may end the process.
        with watch(entrant.where, is_external=bool(entrant.origins)):
            for shape in _shapes(suite, dataset):
                reference.check_shape(shape)
    except SuiteError:
        raise
    except (ValueError, ParameterError) as error:
        return str(error)
    except Exception:
        return None  # The row of a broken plugin reports the error.
    return None


def _shapes(suite: Suite, dataset: Dataset) -> tuple[Shape, ...]:
    return all_shapes(dataset, scored_images(suite.scoring, dataset, "test"))
