"""Execution of units in this process: training a network, or scoring a denoiser."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from gahbench._util.checks import as_text
from gahbench._util.error_text import error_text, shorten
from gahbench._util.errors import ResultsError
from gahbench._util.files import StorageError
from gahbench._util.keys import key_of
from gahbench._util.resources import processor_name, trim_heap
from gahbench._util.shapes import Shape
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.denoisers import SEES_DATASET
from gahbench.contracts.metrics import Metric
from gahbench.contracts.published import Published
from gahbench.contracts.references import Reference
from gahbench.contracts.unit import Unit
from gahbench.devices.batches import take_memory_notes
from gahbench.devices.hardware import Hardware, is_out_of_memory, release_memory
from gahbench.evaluation.audit import DIVERGED_NOTE, audit, audit_repetition, check_claimed_risk
from gahbench.evaluation.evaluation import Evaluation
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.networks.precision import Choices
from gahbench.planning.units import AUDITED, CHECKS, CHECKS_VERSION, FIT, SCORE, configure_recorded
from gahbench.registry.behaviour import function_digest
from gahbench.registry.plugin import Kind, watch
from gahbench.registry.registry import Registry
from gahbench.runs.cost import measure_cost
from gahbench.runs.protocol import MAX_TRACEBACK, CodeChangedError
from gahbench.store.attempts import Attempt
from gahbench.store.finished import UNIT, DamagedError, FinishedUnit, open_finished, write_scores
from gahbench.store.store import DAMAGED, Store
from gahbench.training.checkpoint import Checkpoints
from gahbench.training.file_names import WEIGHTS
from gahbench.training.fit_checks import WatchedFit
from gahbench.training.fitting import fit
from gahbench.training.recipe import Training
from gahbench.training.trainer import Progress, Stopped


def build(registry: Registry, kind: Kind, recorded: Mapping[str, Any], shape: Shape | None = None) -> Any:
    """Build the plugin that a payload describes, after checking that its code has not changed.

    ``shape`` is the shape (C, H, W) of images, for architectures.
    """
    # The parameters of a built-in plugin may name external code.
    with watch(f"{kind} '{recorded['name']}'", is_external=bool(recorded.get("origins"))):
        configured = configure_recorded(registry, kind, recorded)
        if key_of(configured.identity) != recorded["identity"]:
            raise CodeChangedError(f"{configured.where}: its code has changed since this run was planned; run again")
        return configured.build(shape)


#: The maximum number of distinct notes of a basis that are listed; the most common ones come first.
MAX_LISTED_NOTES = 3
#: The maximum number of datasets that are kept in memory for later units.
MAX_DATASETS = 4
_REQUEST = ("split", "images", "sigmas", "noise_seed", "captured", "sampling", "jacobian_precision")


class _Measurements:
    """Builds the measurements of score units from their payloads and the networks in the store.

    Datasets and the last measurement are kept in memory for the next unit.
    """

    def __init__(self, registry: Registry, store: Store, device: torch.device, choices: Choices) -> None:
        self._registry, self._store, self._device, self._choices = registry, store, device, choices
        self._last: tuple[Any, Measurement] | None = None
        self._dataset = functools.lru_cache(maxsize=MAX_DATASETS)(
            lambda described: build(registry, "dataset", json.loads(described))
        )

    def dataset(self, recorded: Mapping[str, Any]) -> Dataset:
        """Return the dataset that a payload describes."""
        dataset: Dataset = self._dataset(json.dumps(recorded, sort_keys=True))
        return dataset

    def get(self, unit: Unit, networks: Mapping[str, str | None]) -> Measurement:
        """Return the measurement of a score unit, which all metrics of an entrant share."""
        payload = unit.payload
        dataset = self.dataset(payload["dataset"])
        network = networks.get(unit.requires or "")
        key = (unit.requires, network, {name: value for name, value in payload.items() if name != "metric"})
        if self._last is None or self._last[0] != key:
            measurement = Measurement(
                dataset,
                self._subject(unit, dataset, unit.requires, payload["learned_from"]),
                {name: payload[name] for name in _REQUEST if name in payload},
                self._device,
                self._choices,
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
        finished = open_finished(self._store.fit_folder(fit))

        network = functools.partial(functools.partial, self._network, entrant, dataset, finished)
        snapshots = [(step, network(file)) for step, file in finished.snapshots.items()]
        return Subject(network(WEIGHTS), learned_from, snapshots)

    def _reference(self, entrant: Mapping[str, Any], learned_from: Mapping[str, Any] | None) -> Reference:
        reference: Reference = build(self._registry, "reference", entrant)
        if isinstance(reference, Published) and reference.published_training is not None and learned_from is not None:
            reference.select_weights(learned_from["split"], learned_from["count"])
        return reference

    def _network(self, entrant: Mapping[str, Any], dataset: Dataset, fit: FinishedUnit, file: str) -> nn.Module:
        from safetensors.torch import load

        try:
            # The bytes that are hashed are the bytes that are loaded.
            weights = load(fit.read(file))
        except DamagedError as error:
            raise ResultsError(f"{error}; run again, which trains the network again") from error
        network: nn.Module = build(self._registry, "architecture", entrant, dataset.shape)
        network.load_state_dict(weights)
        return network


class Worker:
    """Runs units one after the other, and keeps objects in memory that the next unit may need."""

    def __init__(
        self,
        open_registry: Callable[[], Registry],
        store: Store,
        device: Hardware,
        progress: Callable[[Progress], None] = lambda progress: None,
        note: Callable[[str], None] = lambda text: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._open_registry, self.store, self.hardware = open_registry, store, device
        self.device = device.device
        self.progress = progress
        self.note = note
        self.should_stop = should_stop
        #: Everything on which rounding may depend, in addition to the key of a unit.
        self._environment = {
            "threads": torch.get_num_threads(),
            "device": device.name,
            "processor": processor_name(),
            "python": platform.python_version(),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy")},
        }
        self._choices = Choices(store.precision)
        #: The last measurement whose claimed risks were verified.
        self._verified_measurement: Measurement | None = None

    @functools.cached_property
    def _registry(self) -> Registry:
        # Plugins are imported with the first unit, so that an error of an import is a failure of that unit.
        return self._open_registry()

    @functools.cached_property
    def _measurements(self) -> _Measurements:
        return _Measurements(self._registry, self.store, self.device, self._choices)

    def run(self, unit: Unit, interruptible: bool = True) -> dict[str, Any]:
        """Run a unit; return the event to report: ``finished``, ``stopped``, ``failed``, or device ``lost``."""
        try:
            end = {"event": "finished", "seconds": self.compute(unit)}
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and interruptible:
                raise
            end = self._describe_end(error, unit)
        # The error has been deleted by now, and with it the references of its traceback to tensors of a failed unit.
        trim_heap()
        if end["event"] != "lost":
            release_memory()
        return end

    def _describe_end(self, error: BaseException, unit: Unit) -> dict[str, Any]:
        """Return the event for a unit that an error has ended; raise the error if the results folder cannot be used."""
        if isinstance(error, Stopped) and self.should_stop():
            return {"event": "stopped"}
        if unit.folder in self.store.finished():
            # Another process has finished the unit, and removed this attempt.
            return {"event": "finished", "seconds": 0.0}
        if isinstance(error, StorageError):
            raise error
        cause = error.__cause__
        if isinstance(error, ResultsError) and not isinstance(error, DamagedError) and isinstance(cause, OSError):
            raise StorageError(cause.errno, str(error)) from error
        details = {"error": explain(error), "traceback": shorten(_traceback(error), MAX_TRACEBACK)}
        if self.hardware.is_lost:
            return {"event": "lost", **details, "error": f"its device was lost: {details['error']}"}
        return {"event": "failed", "code_changed": isinstance(error, CodeChangedError), **details}

    def compute(self, unit: Unit) -> float:
        """Compute a unit and finish it in the store; return the duration in seconds."""
        started = time.monotonic()
        attempt = self.store.begin(unit)
        # Discard the notes of an earlier unit that failed.
        take_memory_notes()
        try:
            (self._fit if unit.kind == "fit" else self._score)(unit, attempt)
        except BaseException:
            # The attempt at a fit is kept, since the next attempt resumes from its checkpoint.
            if unit.kind == "score":
                attempt.drop()
            raise
        return time.monotonic() - started

    def _fit(self, unit: Unit, attempt: Attempt) -> None:
        started, payload = time.monotonic(), unit.payload
        _check_code(unit, FIT)
        dataset = self._measurements.dataset(payload["dataset"])
        training = Training.model_validate(payload["training"])
        network = functools.partial(build, self._registry, "architecture", payload["entrant"], dataset.shape)
        watched = WatchedFit(network, training, payload["seed"])
        checkpoints = Checkpoints(attempt.folder, unit.key, self.store.folder / DAMAGED, self.note)
        done = fit(
            watched.build,
            dataset,
            training,
            payload["seed"],
            attempt.folder,
            self.device,
            self.progress,
            self.should_stop,
            self._choices,
            checkpoints,
        )
        notes = [*done.facts["notes"], *take_memory_notes()]
        for text in notes:
            self.note(text)
        facts = {
            **done.facts,
            "notes": notes,
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
        metric: Metric = build(self._registry, "metric", unit.payload["metric"])
        _check_code(unit, SCORE, frozenset(metric.needs))
        networks = self._checksums(unit)
        measurement = self._measurements.get(unit, networks)
        if (earlier := self.store.find_unchecked(unit)) is not None and earlier.done.get("networks", {}) == networks:
            self._repeat_checks(earlier, measurement, attempt)
            return
        files = write_scores(attempt.folder, measurement.score(metric))
        if self._verified_measurement is not measurement:
            claimed = [check_claimed_risk(evaluation) for evaluation in measurement.evaluations]
            self._verified_measurement = measurement if any(claimed) else self._verified_measurement
        denoiser = measurement.evaluation.denoiser
        facts: dict[str, Any] = {"kind": denoiser.kind, "notes": []}
        if isinstance(denoiser, Reference):
            # Convert values of the plugin to types that the store accepts.
            count = denoiser.num_parameters
            notes = collect_notes(denoiser, measurement.evaluations)
            facts |= {"notes": list(map(as_text, notes)), "parameters": None if count is None else int(count)}
        checks = _run_checks(unit, measurement)
        facts["notes"] += checks.pop("notes", [])
        facts |= checks
        facts["precision"] = "float32"
        if "jacobian" in metric.needs:
            facts |= _jacobian_facts(measurement)
            if (choice := measurement.evaluation.jacobian_choice) is not None and choice.note is not None:
                self.note(choice.note)
        facts["notes"] += take_memory_notes()
        facts |= {"networks": networks, "environment": self._environment}
        if self._checksums(unit) != networks:
            raise ResultsError(f"{unit.label}: its network was replaced while it was scored; run again")
        self.hardware.synchronise()
        attempt.finish({**facts, "seconds": time.monotonic() - started}, keep=files)

    def _repeat_checks(self, earlier: FinishedUnit, measurement: Measurement, attempt: Attempt) -> None:
        """Finish a score unit with its earlier files and new checks."""
        for name in earlier.names:
            (attempt.folder / name).write_bytes(earlier.read(name))
        checks = _run_checks(earlier.unit, measurement)
        kept = [note for note in earlier.done.get("notes", ()) if not note.startswith(DIVERGED_NOTE)]
        checks["notes"] = [*kept, *checks.get("notes", ())]
        facts = {name: value for name, value in earlier.done.items() if name not in ("files", "flags", "checks")}
        attempt.finish({**facts, **checks}, keep=[name for name in earlier.names if name != UNIT])

    def _checksums(self, unit: Unit) -> dict[str, str | None]:
        """Return the checksums of the networks that a unit needs; networks with equal keys may differ by rounding."""
        return {key: self.store.weights_checksum(key) for key in unit.needs}


def collect_notes(reference: Reference, evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the notes of a reference; notes of its basis are counted over the evaluations of all image shapes."""
    notes, basis = list(reference.notes), getattr(reference, "basis", None)
    if len(evaluations) == 1 or not isinstance(basis, Basis):
        return notes
    counts: Counter[str] = Counter()
    for evaluation in evaluations:
        counts.update(dict.fromkeys(basis.notes(evaluation.shape), len(evaluation.clean)))
    images = sum(len(evaluation.clean) for evaluation in evaluations)
    listed = [
        note if count == images else f"{note} ({count} of {images} images)"
        for note, count in counts.most_common(MAX_LISTED_NOTES)
    ]
    if unlisted := len(counts) - len(listed):
        listed.append(f"images of {unlisted} other shapes are treated likewise")
    first = basis.notes(evaluations[0].shape)
    return [*(note for note in notes if note not in first), *listed]


def _jacobian_facts(measurement: Measurement) -> dict[str, Any]:
    """Return the precision of Jacobians, the reason for its choice, and the error relative to float32."""
    facts: dict[str, Any] = {}
    error = max(evaluation.jacobian_error for evaluation in measurement.evaluations)
    choice = measurement.evaluation.jacobian_choice
    if choice is not None:
        facts["jacobian_precision"] = choice.precision
        facts["precision_reason"], facts["precision_seconds"] = choice.reason, dict(choice.seconds)
    return {**facts, "jacobian_error": error} if error else facts


def _run_checks(unit: Unit, measurement: Measurement) -> dict[str, Any]:
    """Check the denoiser of a score unit; return ``flags``, and for the audited score also ``notes`` and ``checks``."""
    if (unit.payload["metric"]["name"], unit.split) == AUDITED:
        return _audit_row(measurement)
    # For other metrics, only check that the denoiser returns the same output again.
    evaluation = measurement.evaluation
    if unit.split != AUDITED[1] or not evaluation._denoised or evaluation.denoiser.kind in SEES_DATASET:
        return {}
    return {"flags": [as_text(flag) for flag in audit_repetition(evaluation).flags]}


def _audit_row(measurement: Measurement) -> dict[str, Any]:
    """Audit a denoiser; if the audit raises an error, the denoiser is flagged and keeps its scores."""
    # If images have several shapes, the evaluation with the most images is audited.
    largest = max(measurement.evaluations, key=lambda evaluation: len(evaluation.clean))
    images = sum(len(evaluation.clean) for evaluation in measurement.evaluations)
    checks: dict[str, Any] = {"version": CHECKS_VERSION, "code": function_digest(CHECKS), "images": ""}
    try:
        audited = audit(largest)
    except Exception as error:
        flag = as_text(f"could not be denoised again for the checks: {explain(error)}")
        return {"flags": [flag], "checks": checks}
    count_text = ""
    if len(measurement.evaluations) > 1:
        count_text = f" (of {len(largest.clean)} of {images} images)"
        checks["checked"] = len(largest.clean)
    return {
        "flags": [as_text(f"{flag}{count_text}") for flag in audited.flags],
        "notes": [as_text(note) for note in audited.notes],
        "checks": {**checks, **audited.facts, "images": audited.images},
        "cost": measure_cost(largest),
    }


def _check_code(unit: Unit, function: str, needs: frozenset[str] = frozenset()) -> None:
    """Raise an error if a unit was planned with other code of gahbench, since its key would not describe the result."""
    if unit.document is not None and unit.document["code"] != function_digest(function, needs):
        raise CodeChangedError("the code of gahbench has changed since this run was planned; run again")


def explain(error: BaseException) -> str:
    """Return an error as one line, shortened if it is long; if memory ran out, it begins with "out of memory"."""
    if isinstance(error, Stopped):
        return "Stopped: raised without a request to stop"
    text = error_text(error)
    if is_out_of_memory(error):
        _, _, message = text.partition(": ")
        return f"out of memory: {message}" if message else "out of memory"
    return text


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:
        # The error of a plugin may raise another error when it is printed.
        return "".join(traceback.format_tb(error.__traceback__))
