"""Running a row: its units one after the other in this process, each a network that is trained or a score."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import importlib.metadata
import json
import math
import platform
import random
import threading
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gahbench._util.errors import GahbenchError, PluginError, ResultsError, error_text
from gahbench._util.files import StorageError, packages_of, storing
from gahbench._util.noise import generator
from gahbench._util.readable import printable, shorten
from gahbench._util.records import key_of
from gahbench._util.resources import keep_freed_blocks, processor_name, trim_heap
from gahbench._util.shapes import Shape
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.engines import Row
from gahbench.contracts.metrics import Metric
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import SEES_DATASET, Truth, visible_truth
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import hardware, release_memory, take_memory_notes
from gahbench.evaluation.audit import Audit, audit, audit_repetition, check_claimed_risk
from gahbench.evaluation.evaluation import Evaluation
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.planning.units import AUDITED, CHECKS_VERSION, FIT, SCORE, configure_recorded
from gahbench.registry.behaviour import function_digest
from gahbench.registry.configured import Kind
from gahbench.registry.registry import Registry
from gahbench.store.store import Store
from gahbench.store.units import Attempt, DamagedError, FinishedUnit, open_finished, write_scores
from gahbench.training.checkpoint import Checkpoints
from gahbench.training.file_names import WEIGHTS
from gahbench.training.fit_checks import WatchedFit
from gahbench.training.fitting import fit
from gahbench.training.recipe import Training
from gahbench.training.trainer import Stopped

#: The maximum number of characters of a traceback that is recorded.
MAX_TRACEBACK = 20_000
#: The maximum number of notes of a reference that are listed.
MAX_NOTES = 4
#: The maximum number of datasets that are kept in memory for later units.
MAX_DATASETS = 4
#: The number of images that are timed together, as far as there are so many and they fit into memory.
TIMED_IMAGES = 16
#: Batches are timed until this number is reached, or until they have taken this many seconds together.
REPETITIONS, MAX_SECONDS = 20, 0.5


def run_row(row: Row, stop: threading.Event | None = None) -> None:
    """Run the units of a row in this process, one after the other, until ``stop`` is set.

    Finished units and failures are written into the results folder. A unit that is finished, or whose fit failed, is
    skipped, so a row may be run again after any end.
    """
    store, stop = Store(row.folder), stop or threading.Event()
    keep_freed_blocks()
    with _process_state(row.threads):
        runner = _Runner(row, store, stop)
        for unit in row.units:
            finished, failed = store.ended()
            is_ready = all(f"fit-{key}" in finished for key in unit.needs)
            if is_ready and unit.folder not in finished | failed and not stop.is_set():
                _seed_generators()
                with _time_limit(row, unit):
                    runner.run(unit)


@contextlib.contextmanager
def _process_state(threads: int) -> Iterator[None]:
    """Set the number of threads, and restore it and the default random generators at the end."""
    before, states = torch.get_num_threads(), (random.getstate(), np.random.get_state())  # noqa: NPY002
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def _seed_generators() -> None:
    """Seed the default generators of torch, numpy and Python, so that a unit does not depend on earlier units."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002, plugins may use the global generator
    random.seed(0)


@contextlib.contextmanager
def _time_limit(row: Row, unit: Unit) -> Iterator[None]:
    """End this process if a unit takes longer than its limit, even in native code; write its stacks to a file."""
    if row.limits.unit is None:
        yield
        return
    file = row.folder / "logs" / f"limit-{unit.folder}-{uuid.uuid4().hex[:8]}.txt"
    with storing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        stacks = file.open("w")
    with stacks:
        faulthandler.dump_traceback_later(row.limits.unit, exit=True, file=stacks)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            file.unlink(missing_ok=True)


def _build(registry: Registry, kind: Kind, recorded: Mapping[str, Any], shape: Shape | None = None) -> Any:
    """Build the plugin that a payload describes, after checking that its code has not changed.

    ``shape`` is the shape (C, H, W) of images, for architectures.
    """
    configured = configure_recorded(registry, kind, recorded)
    if key_of(configured.identity) != recorded["identity"]:
        raise PluginError(f"{configured.where}: its code has changed since this run was planned; run again")
    return configured.build(shape)


_REQUEST = ("split", "images", "sigmas", "noise_seed", "captured", "sampling", "jacobian_precision")


class _Runner:
    """Runs units one after the other, and keeps objects in memory that the next unit may need."""

    def __init__(self, row: Row, store: Store, stop: threading.Event) -> None:
        self._row, self.store, self._stop = row, store, stop
        self.hardware = hardware(row.device)
        self.device = self.hardware.device
        #: Everything on which rounding may depend, in addition to the key of a unit.
        self._environment = {
            "threads": torch.get_num_threads(),
            "device": self.hardware.name,
            "processor": processor_name(),
            "python": platform.python_version(),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy")},
        }
        self._dataset = functools.lru_cache(maxsize=MAX_DATASETS)(
            lambda described: _build(self._registry, "dataset", json.loads(described))
        )
        self._last: tuple[Any, Measurement] | None = None
        #: The last measurement whose claimed risks were verified.
        self._verified_measurement: Measurement | None = None

    @functools.cached_property
    def _registry(self) -> Registry:
        # Plugins are imported with the first unit, so that an error of an import is a failure of that unit.
        return Registry(self._row.plugins, packages_of(origin for unit in self._row.units for origin in unit.origins))

    def run(self, unit: Unit) -> None:
        """Run a unit, and record its failure."""
        try:
            self._compute(unit)
        except BaseException as error:
            self._on_error(unit, error)
        # The error has been deleted by now, and with it the references of its traceback to tensors of a failed unit.
        trim_heap()
        release_memory()

    def _on_error(self, unit: Unit, error: BaseException) -> None:
        """Record the failure of a unit; raise if the unit has not failed, but the process or the folder."""
        if isinstance(error, Stopped) and self._stop.is_set():
            return
        if isinstance(error, KeyboardInterrupt | StorageError):
            raise error
        cause = error.__cause__
        if isinstance(error, ResultsError) and not isinstance(error, DamagedError) and isinstance(cause, OSError):
            raise StorageError(cause.errno, str(error)) from error
        if self.hardware.is_lost:
            # The unit is still to be done, in another process.
            raise GahbenchError(f"its device was lost: {error_text(error)}")
        details = printable("".join(traceback.format_exception(error)), "\n")
        with storing(self.store.failures):
            self.store.fail(unit, error_text(error), shorten(details, MAX_TRACEBACK))

    def _compute(self, unit: Unit) -> None:
        """Compute a unit and finish it in the store."""
        attempt = self.store.begin(unit)
        attempt.report()
        # Discard the notes of an earlier unit that failed.
        take_memory_notes()
        try:
            (self._fit if unit.kind == "fit" else self._score)(unit, attempt)
        except BaseException:
            # The attempt at a fit is kept, since the next attempt resumes from its checkpoint.
            if unit.kind == "score":
                attempt.drop()
            raise

    def _fit(self, unit: Unit, attempt: Attempt) -> None:
        started, payload = time.monotonic(), unit.payload
        _check_code(unit, FIT)
        dataset = self._dataset(json.dumps(payload["dataset"], sort_keys=True))
        training = Training.model_validate(payload["training"])
        network = functools.partial(_build, self._registry, "architecture", payload["entrant"], dataset.shape)
        watched = WatchedFit(network, training, payload["seed"])
        notes: list[str] = []
        checkpoints = Checkpoints(attempt.folder, unit.key, notes.append)
        done = fit(
            watched.build,
            dataset,
            training,
            payload["seed"],
            attempt.folder,
            self.device,
            attempt.report,
            self._stop.is_set,
            checkpoints,
        )
        facts = {
            **done.facts,
            "notes": [*notes, *done.facts["notes"], *take_memory_notes()],
            "flags": watched.flags(dataset.shape, self.device),
            "resumed": checkpoints.resumed,
        }
        # Unlike the training time, these seconds include loading images, building the network and validation.
        facts |= {"seconds": time.monotonic() - started, "environment": self._environment}
        # Raise the error of a lost device here, since the code of the unit may have caught it.
        self.hardware.synchronise()
        attempt.finish(facts, keep=done.files)

    def _score(self, unit: Unit, attempt: Attempt) -> None:
        started = time.monotonic()
        metric: Metric = _build(self._registry, "metric", unit.payload["metric"])
        _check_code(unit, SCORE, frozenset(metric.needs))
        networks = self._checksums(unit)
        measurement = self._measurement(unit, networks)
        files = write_scores(attempt.folder, measurement.score(metric))
        if self._verified_measurement is not measurement:
            claimed = [check_claimed_risk(evaluation) for evaluation in measurement.evaluations]
            self._verified_measurement = measurement if any(claimed) else self._verified_measurement
        denoiser = measurement.evaluation.denoiser
        facts: dict[str, Any] = {"kind": denoiser.kind, "notes": []}
        if isinstance(denoiser, Reference):
            # Convert values of the plugin to types that the store accepts.
            count = denoiser.num_parameters
            facts["notes"] += map(printable, collect_notes(denoiser, measurement.evaluations))
            facts["parameters"] = None if count is None else int(count)
        checks = run_checks(unit, measurement)
        facts |= checks | {"notes": facts["notes"] + checks.get("notes", [])}
        if "jacobian" in metric.needs and (precision := measurement.evaluation.local_filters.precision):
            facts["jacobian_precision"] = precision
        facts["notes"] += take_memory_notes()
        if self._checksums(unit) != networks:
            raise ResultsError(f"{unit.label}: its network was replaced while it was scored; run again")
        self.hardware.synchronise()
        facts |= {"networks": networks, "environment": self._environment, "seconds": time.monotonic() - started}
        attempt.finish(facts, keep=files)

    def _measurement(self, unit: Unit, networks: Mapping[str, str | None]) -> Measurement:
        """Return the measurement of a score unit, which all metrics of an entrant share."""
        payload = unit.payload
        dataset = self._dataset(json.dumps(payload["dataset"], sort_keys=True))
        network = networks.get(unit.requires or "")
        key = (unit.requires, network, {name: value for name, value in payload.items() if name != "metric"})
        if self._last is None or self._last[0] != key:
            measurement = Measurement(
                dataset,
                self._subject(unit, dataset, unit.requires, payload["learned_from"]),
                {name: payload[name] for name in _REQUEST if name in payload},
                self.device,
            )
            self._last = (key, measurement)
        measurement = self._last[1]
        if unit.partner is not None or payload["partner_learned_from"] is not None:
            # Only units of metrics that need a partner name a partner.
            measurement.partner = functools.partial(
                self._subject, unit, dataset, unit.partner, payload["partner_learned_from"]
            )
        return measurement

    def _subject(
        self, unit: Unit, dataset: Dataset, fit: str | None, learned_from: Mapping[str, Any] | None
    ) -> Subject:
        entrant = unit.payload["entrant"]
        if fit is None:
            return Subject(functools.partial(self._reference, entrant, learned_from), learned_from)
        finished = open_finished(self.store.units / f"fit-{fit}")

        network = functools.partial(functools.partial, self._network, entrant, dataset, finished)
        snapshots = [(step, network(file)) for step, file in finished.snapshots.items()]
        return Subject(network(WEIGHTS), learned_from, snapshots)

    def _reference(self, entrant: Mapping[str, Any], learned_from: Mapping[str, Any] | None) -> Reference:
        reference: Reference = _build(self._registry, "reference", entrant)
        if reference.published_images and learned_from is not None:
            reference.select_weights(learned_from["split"], learned_from["count"])
        return reference

    def _network(self, entrant: Mapping[str, Any], dataset: Dataset, fit: FinishedUnit, file: str) -> nn.Module:
        from safetensors.torch import load

        try:
            # The bytes that are hashed are the bytes that are loaded.
            weights = load(fit.read(file))
        except DamagedError as error:
            raise ResultsError(f"{error}; run again, which trains the network again") from error
        network: nn.Module = _build(self._registry, "architecture", entrant, dataset.shape)
        network.load_state_dict(weights)
        return network

    def _checksums(self, unit: Unit) -> dict[str, str | None]:
        """Return the checksums of the networks that a unit needs; networks with equal keys may differ by rounding."""
        return {key: self.store.weights_checksum(key) for key in unit.needs}


def collect_notes(reference: Reference, evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the notes of a reference; if images have several shapes, also the first notes of its basis on them."""
    notes, basis = list(reference.notes), getattr(reference, "basis", None)
    if len(evaluations) > 1 and isinstance(basis, Basis):
        notes += [note for evaluation in evaluations for note in basis.notes(evaluation.shape)]
    return list(dict.fromkeys(notes))[:MAX_NOTES]


def run_checks(unit: Unit, measurement: Measurement) -> dict[str, Any]:
    """Check the denoiser of a score unit; return facts: flags, and of the audited score also notes, checks and cost."""
    # If images have several shapes, the evaluation with the most images is checked.
    evaluation = max(measurement.evaluations, key=lambda evaluation: len(evaluation.clean))
    if (unit.payload["metric"]["name"], unit.split) != AUDITED:
        # Only check that the denoiser returns the same output again.
        is_checked = unit.split == AUDITED[1] and evaluation._denoised and evaluation.denoiser.kind not in SEES_DATASET
        return {"flags": list(map(printable, audit_repetition(evaluation).flags))} if is_checked else {}
    try:
        audited = audit(evaluation)
    except Exception as error:
        # The denoiser keeps its scores.
        audited = Audit((f"could not be denoised again for the checks: {error_text(error)}",))
    checks = {"version": CHECKS_VERSION, "checked": len(evaluation.clean), **audited.facts, "images": audited.images}
    flags, notes = (list(map(printable, texts)) for texts in (audited.flags, audited.notes))
    return {"flags": flags, "notes": notes, "checks": checks, "cost": measure_cost(evaluation)}


def measure_cost(evaluation: Evaluation) -> dict[str, float]:
    """Return the ``seconds`` per megapixel of a denoiser at the middle noise level: those of the fastest batch.

    Oracles and optimal denoisers, which nobody can use in practice, have no cost.
    """
    kind, durations = evaluation.denoiser.kind, list[float]()
    if kind not in PRACTICAL_KINDS:
        return {}
    sigma = evaluation.sigmas[len(evaluation.sigmas) // 2]
    count = min(len(evaluation.clean), evaluation.batches.size, TIMED_IMAGES)
    truth = Truth(evaluation.clean[:count], evaluation.dataset, evaluation.split, evaluation.start)
    # A denoiser that fails here keeps its scores.
    with contextlib.suppress(Exception), torch.no_grad():
        while len(durations) < REPETITIONS and sum(durations) < MAX_SECONDS:
            fresh = generator("noise", "cost", len(durations))
            noisy, visible = evaluation.add_noise(truth.clean, sigma, fresh), visible_truth(kind, truth)
            started = time.perf_counter()
            evaluation.apply(noisy, sigma, visible)
            durations.append(time.perf_counter() - started)
    pixels = count * math.prod(evaluation.shape[1:])
    return {"seconds": 1e6 * min(durations) / pixels} if durations else {}


def _check_code(unit: Unit, function: str, needs: frozenset[str] = frozenset()) -> None:
    """Raise an error if a unit was planned with other code of gahbench, since its key would not describe the result."""
    if unit.document is not None and unit.document["code"] != function_digest(function, needs):
        raise PluginError("the code of gahbench has changed since this run was planned; run again")
