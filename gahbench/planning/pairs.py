"""Pairs of datasets and entrants: undefined pairs, refused pairs, and dry runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from gahbench._util.errors import ParameterError, SuiteError
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset, all_shapes
from gahbench.contracts.denoisers import SEES_DATASET
from gahbench.contracts.references import Reference
from gahbench.planning.dry_run import DryRun, dry_run
from gahbench.planning.suite import Suite
from gahbench.planning.suite_fields import scored_images
from gahbench.registry.configured import Configured

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


def check_pairs(suite: Suite, built: Sequence[Built], done: Collection[Pair]) -> Pairs:
    """Check pairs by dry runs of networks, except of pairs that are done, and by asking references."""
    undefined: set[Pair] = set()
    refused: dict[Pair, str] = {}
    runs = {(configured.label, entrant.label): DryRun() for configured, _ in built for entrant in suite.entrants}
    shapes = [all_shapes(dataset, scored_images(suite.scoring, dataset, "test")) for _, dataset in built]
    for entrant in suite.entrants:
        reference = _build_reference(suite, entrant)
        pairs = [(configured.label, entrant.label) for configured, _ in built]
        for pair, (_, dataset), dataset_shapes in zip(pairs, built, shapes, strict=True):
            reason = None
            if reference is not None and not _supports(reference, dataset):
                undefined.add(pair)
            elif reference is not None:
                reason = _refusal(reference, dataset, dataset_shapes)
            elif entrant.kind == "architecture" and pair not in done:
                tried = [dry_run(entrant, shape) for shape in dataset_shapes]
                # Parameters and multiply-adds are those of the first shape.
                runs[pair] = tried[0]
                reason = next((run.refusal for run in tried if run.refusal is not None), None)
            if reason is not None:
                refused[pair] = reason
        _require_accepted(suite, entrant, built, undefined, refused)
    return Pairs(frozenset(undefined), refused, runs)


def _require_accepted(
    suite: Suite, entrant: Configured, built: Sequence[Built], undefined: set[Pair], refused: dict[Pair, str]
) -> None:
    """Raise if an entrant is undefined or refused on all datasets."""
    defined = [pair for configured, _ in built if (pair := (configured.label, entrant.label)) not in undefined]
    # A run that selects some datasets of the suite may have no row of a reference.
    if not defined and not any(option.startswith("--dataset ") for option in suite.changes):
        kinds = ", ".join(
            f"{configured.label}: {dataset.optimum.kind}{'' if dataset.has_true_basis else ', no true basis'}"
            for configured, dataset in built
        )
        raise SuiteError(
            f"{suite.location(entrant)}: {entrant.where}: not defined on any dataset of the suite; the kinds of "
            f"their optima are {kinds}"
        )
    if defined and all(pair in refused for pair in defined):
        raise SuiteError(f"{suite.location(entrant)}: {entrant.where} on {defined[0][0]}: {refused[defined[0]]}")


def _build_reference(suite: Suite, entrant: Configured) -> Reference | None:
    """Return the reference, or ``None`` for an architecture and for a reference that cannot be built."""
    if entrant.kind != "reference":
        return None
    try:
        reference: Reference = suite.build(entrant)
    except SuiteError:
        raise
    except Exception:
        return None  # The row of a broken plugin reports the error.
    return reference


def _supports(reference: Reference, dataset: Dataset) -> bool:
    try:
        return reference.supports(dataset)
    except Exception:
        return True  # The row of a broken plugin reports the error.


def _refusal(reference: Reference, dataset: Dataset, shapes: Sequence[Shape]) -> str | None:
    """Return why a reference refuses the images of a dataset; ``None`` if it accepts them."""
    if dataset.noise_kind is not None and reference.kind in SEES_DATASET:
        return "needs clean images, and these images are noisy; accepted: classical references and networks"
    try:
        for shape in shapes:
            reference.check_shape(shape)
    except (ValueError, ParameterError) as error:
        return str(error)
    except Exception:
        return None  # The row of a broken plugin reports the error.
    return None
