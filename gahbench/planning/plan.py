"""Plans of suites: the units of work with their keys."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import DataError, GahbenchError, ParameterError, PluginError, SuiteError, prefix_errors
from gahbench._util.resources import cpu_count
from gahbench.contracts.captured import MEASURED
from gahbench.contracts.datasets import SPLITS, Dataset, Split
from gahbench.contracts.metrics import Metric
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.planning.board_facts import dataset_row, metric_ratios, metric_titles, own_trainings
from gahbench.planning.pairs import Built, Pair, Pairs, check_pairs
from gahbench.planning.rows import Row, check_training, rows
from gahbench.planning.suite import Suite, load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.planning.suite_fields import noise_levels, refusal_without_clean, scored_images
from gahbench.planning.suite_files import plugin_sources
from gahbench.planning.units import PlannedDataset, Request, fit_unit, score_unit
from gahbench.registry.configured import Configured, citation_rows
from gahbench.registry.registry import open_registry
from gahbench.training.recipe import Training

if TYPE_CHECKING:
    import pandas as pd

#: Maximum number of units of a plan.
MAX_UNITS = 1_000_000


@dataclass(frozen=True)
class Plan:
    """The plan of a suite: all its units, fits first, and the facts that its board shows."""

    suite: Suite
    units: tuple[Unit, ...]
    datasets: tuple[dict[str, Any], ...]
    pairs: Pairs = field(default_factory=Pairs)

    @property
    def fits(self) -> tuple[Unit, ...]:
        """Units that train networks."""
        return tuple(unit for unit in self.units if unit.kind == "fit")

    @property
    def board(self) -> dict[str, Any]:
        """Facts for the board, as plain JSON: baseline, entrants in order, datasets and metrics."""
        return {
            "baseline": self.suite.baseline,
            "entrants": [row.label for row in rows(self.suite)],
            "datasets": list(self.datasets),
            "metrics": metric_titles(self.suite.metrics, self.suite.titles),
            "ratios": metric_ratios(self.suite.metrics),
            "citations": citation_rows([*self.suite.entrants, *self.suite.datasets, *self.suite.metrics]),
            "trainings": own_trainings(self.suite),
            "refused": [
                [dataset, row.label, reason]
                for (dataset, entrant), reason in self.pairs.refused.items()
                for row in rows(self.suite)
                if row.entrant.label == entrant
            ],
            "needs": {metric.label: sorted(metric.build().needs) for metric in self.suite.metrics},
        }

    def suggested_threads(self, workers: int | None = None) -> int:
        """Return the number of threads per worker that suits this machine."""
        suite_fits = sum(base_label(unit.entrant) not in self.suite.added for unit in self.fits)
        cores = cpu_count()
        return max(1, cores // min(cores, workers or suite_fits or len(self.fits) or len(self.units) or 1))


@dataclass(frozen=True)
class PlannedSuite:
    """The plan of a suite, before a run."""

    _plan: Plan = field(repr=False)

    @property
    def units(self) -> pd.DataFrame:
        """One row per unit, fits first: kind (fit, score), dataset, entrant, seed, metric and key."""
        import pandas as pd

        columns = ("kind", "dataset", "entrant", "seed", "metric", "key")
        frame = pd.DataFrame({name: [getattr(unit, name) for unit in self._plan.units] for name in columns})
        return frame.astype({"seed": "Int64"})


def plan(
    suite: str | Path,
    *,
    entrants: Sequence[str] = (),
    settings: Mapping[str, Any] | Sequence[str] = (),
    datasets: Sequence[str] = (),
    metrics: Sequence[str] = (),
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    plugins: Sequence[str | Path] = (),
) -> PlannedSuite:
    """Plan a suite, without running anything: build datasets, try networks out, and key all units.

    Parameters
    ----------
    suite
        Path of a suite, or the name of a suite that gahbench ships, such as ``quick``.
    entrants, settings, datasets, metrics, only, seeds, plugins
        Changes to the suite, selections and plugin files, as for :func:`gahbench.run`.

    Returns
    -------
    PlannedSuite
        The plan, whose table ``units`` has the columns kind, dataset, entrant, seed, metric and key.

    Raises
    ------
    GahbenchError
        If an argument or the suite is invalid.

    Examples
    --------
    >>> import gahbench
    >>> units = gahbench.plan("quick", datasets=["discs"], metrics=["psnr"], only=["identity"]).units
    >>> units[["kind", "entrant", "metric"]].values.tolist()
    [['score', 'identity', 'psnr'], ['score', 'oracle-threshold[sym4]', 'psnr']]
    """
    registry = open_registry(plugin_sources(plugins, suite))
    registry.require_files()
    changes = SuiteChanges.from_arguments(entrants, settings, datasets, metrics, only, seeds)
    return PlannedSuite(make_plan(load_suite(suite, registry, changes)))


def make_plan(suite: Suite, is_done: Callable[[str], bool] = lambda key: False) -> Plan:
    """Expand a suite into units, and check everything that needs no computation."""
    _check_size(suite)
    built = [(configured, _build_and_check(suite, configured)) for configured in suite.datasets]
    _check_ranking(suite, built)
    for metric in suite.metrics:
        with prefix_errors(suite.location(metric)):
            _check_metric(suite, metric, built)
    with prefix_errors(str(suite.path)):
        units = [unit for planned in built for unit in _units(suite, PlannedDataset(*planned))]
        fits = [unit for unit in units if unit.kind == "fit"]
        done = {_pair(unit) for unit in fits} - {_pair(unit) for unit in fits if not is_done(unit.key)}
        pairs = check_pairs(suite, built, done)
    left_out = pairs.undefined | pairs.refused.keys()
    # Fits come first; otherwise, the stable sort keeps the order of units.
    units = sorted((unit for unit in units if _pair(unit) not in left_out), key=lambda unit: unit.kind != "fit")
    for index, unit in enumerate(units):
        if unit.work < float("inf"):
            # Convert forward passes to multiply-adds.
            units[index] = replace(unit, work=unit.work * pairs.dry_runs[_pair(unit)].work)
    facts = tuple(
        dataset_row(configured, dataset, scored_images(suite.scoring, dataset, "test"), suite.scoring)
        for configured, dataset in built
    )
    return Plan(suite, tuple(units), facts, pairs)


def _pair(unit: Unit) -> Pair:
    return unit.dataset, base_label(unit.entrant)


def _build_and_check(suite: Suite, configured: Configured) -> Dataset:
    """Build a dataset, and check that it has enough images."""
    with prefix_errors(suite.location(configured)):
        dataset = _build(suite, configured)
        _check_counts(suite, configured, dataset)
    for note in dataset.notes:
        warnings.warn(f"{suite.path}: {configured.label}: {note}", stacklevel=4)
    return dataset


def _check_size(suite: Suite) -> None:
    """Raise if rows, seeds, splits and metrics give too many units, before any unit is built."""
    training, scores = suite.training, len(suite.scoring.splits) * len(suite.metrics)
    learners = sum(entrant.kind == "architecture" for entrant in suite.entrants)
    fit_count = learners * len(suite.seeds) * (1 + training.halves)
    score_count = (learners * len(suite.seeds) + len(suite.entrants) - learners) * scores
    set_count = len(training.train_images) if isinstance(training.train_images, tuple) else 1
    count = len(suite.datasets) * set_count * (fit_count + score_count)
    if count > MAX_UNITS:
        raise SuiteError(f"{suite.path}: gives {count} units; accepted: at most {MAX_UNITS}")


def _units(suite: Suite, planned: PlannedDataset) -> Iterator[Unit]:
    """Yield the units of a dataset; ``work`` of fits is in forward passes."""
    metrics = [(metric, suite.build(metric)) for metric in suite.metrics]
    levels = noise_levels(suite.scoring, planned.dataset)
    for row in rows(suite):
        for seed in suite.seeds if row.entrant.kind == "architecture" else (None,):
            fits = [] if seed is None else [_fit_unit(planned, row, training, seed) for training in row.trainings]
            yield from fits
            fit, partner = fits[0].key if fits else None, fits[1].key if len(fits) > 1 else None
            for split in suite.scoring.splits:
                images = scored_images(suite.scoring, planned.dataset, split)
                request = _request(suite, row, split, images, levels)
                for metric, measure in metrics:
                    if row.is_measured_by(measure, split, images):
                        yield score_unit(planned, row.entrant, row.label, metric, measure, request, seed, fit, partner)


def _fit_unit(planned: PlannedDataset, row: Row, training: Training, seed: int) -> Unit:
    from gahbench.training.batches import training_count

    # The weights of a network do not depend on its partner.
    without_partner = training.model_copy(update={"halves": False})
    try:
        steps = training.total_steps(training_count(planned.dataset, training))
    except ValueError as error:
        raise ParameterError(f"{row.entrant.where} on {planned.configured.label}: {error}") from error
    # A backward pass costs about twice a forward pass.
    passes = 3.0 * training.batch_size * steps if steps is not None else float("inf")
    return fit_unit(
        planned, row.entrant, row.label, without_partner, seed, training.split if training.halves else None, passes
    )


def _request(suite: Suite, row: Row, split: Split, images: int, levels: list[float]) -> Request:
    scoring = suite.scoring
    image_split, images = row.scored_on(split, images)
    return Request(
        split,
        image_split,
        images,
        levels,
        scoring.noise_seed,
        scoring.sampling.model_dump(mode="json"),
        scoring.jacobian_precision,
        row.learned_from(),
        row.learned_from(partner=True),
        not scoring.sigmas,
    )


def _build(suite: Suite, configured: Configured) -> Dataset:
    """Build a dataset and read the attributes that a plan needs; a plugin may raise any error."""
    try:
        dataset: Dataset = suite.build(configured)
        _ = dataset.shape, dataset.optimum.slope, dataset.fingerprint(), [dataset.available(split) for split in SPLITS]
    except GahbenchError:
        raise
    except Exception as error:
        raise PluginError(f"{configured.where} cannot be used: {type(error).__name__}: {error}") from error
    return dataset


def _check_counts(suite: Suite, configured: Configured, dataset: Dataset) -> None:
    required: dict[Split, tuple[str, int]] = {}

    def require(split: Split, parameter: str, count: int) -> None:
        if count > required.get(split, ("", 0))[1]:
            required[split] = (parameter, count)

    for split in suite.scoring.splits:
        # In a sweep, rows are scored on the images that they learned from.
        if split != "train" or not (suite.training.is_sweep or suite.training.halves):
            with prefix_errors(configured.where):
                require(split, "images", scored_images(suite.scoring, dataset, split))
    learns = any(entrant.kind == "architecture" for entrant in suite.entrants)
    for training in suite.training.sweep if learns or suite.training.is_sweep or suite.training.halves else ():
        for member in filter(None, (training, training.partner)):
            require(member.split, "train_images", member.train_images if isinstance(member.train_images, int) else 1)
    for row in rows(suite):
        if row.published is not None and suite.build(row.entrant).supports(dataset):
            for half in (row.published.half, row.published.partner):
                if half is not None:
                    require(half, "train_images", *row.published.train_images)
    for split, (parameter, count) in required.items():
        available = dataset.available(split)
        if available is not None and count > available:
            raise DataError(
                f"{configured.where}: {parameter}={count} requested from the {split} split, which holds {available} "
                "images"
            )
    try:
        noise_levels(suite.scoring, dataset)
    except DataError as error:
        raise DataError(f"{configured.where}: {error}") from error


def _check_noise(suite: Suite, metric: Configured, measure: Metric, configured: Configured, dataset: Dataset) -> None:
    """Raise if a metric needs recorded noise that the suite does not have, or cannot measure the recorded noise."""
    if suite.scoring.sigmas and "captured" in measure.needs:
        raise ParameterError(
            f"{metric.where}: the metric compares recorded with drawn noise: set 'sigmas: {MEASURED}' under 'scoring'"
        )
    if dataset.noise_kind is not None:
        if (reason := refusal_without_clean(measure, dataset.noise_kind)) is not None:
            raise ParameterError(f"{metric.where} on {configured.label}: {reason}")
    elif not suite.scoring.sigmas and not measure.any_noise:
        raise ParameterError(
            f"{metric.where}: not defined under recorded noise; accepted with sigmas={MEASURED}: metrics that compare "
            "images, such as psnr, ssim and transfer-gap"
        )


def _check_ranking(suite: Suite, built: Sequence[Built]) -> None:
    """Raise if there are clean images, but no PSNR, by which boards rank."""
    has_psnr = any(metric.plugin.name == "psnr" for metric in suite.metrics)
    if not has_psnr and any(dataset.noise_kind is None for _, dataset in built):
        raise SuiteError(
            f"{suite.location(suite.metrics[0])}: scoring.metrics must include psnr, by which the board ranks; only "
            "noisy images without clean references have no psnr"
        )


def _check_metric(suite: Suite, metric: Configured, built: Sequence[Built]) -> None:
    measure: Metric = suite.build(metric)
    for configured, dataset in built:
        _check_noise(suite, metric, measure, configured, dataset)
        if (images := scored_images(suite.scoring, dataset, "test")) < measure.min_images:
            raise ParameterError(
                f"{metric.where}: images={images}; accepted: {measure.min_images} or more, as it compares images"
            )
        if images < measure.advised_images:
            warnings.warn(
                f"{metric.where}: images={images}: the metric may leave out images, and has no value for an entrant "
                f"with fewer than {measure.min_images} others; {measure.advised_images} or more are advised",
                stacklevel=4,
            )
        if dataset.shapes(1) is not None:
            continue  # The metric may accept some of the shapes; refused images have no value.
        try:
            measure.check(dataset.shape, noise_levels(suite.scoring, dataset))
        except ValueError as error:
            raise ParameterError(f"{metric.where} on {configured.label}: {error}") from error
    check_training(suite, metric, measure)
