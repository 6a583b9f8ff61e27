"""One unit in this process: train a network, or score a denoiser."""

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
from gahbench._util.error_text import bounded, error_text
from gahbench._util.errors import ResultsError
from gahbench._util.files import StorageError
from gahbench._util.keys import key_of
from gahbench._util.resources import processor_name, trim_heap
from gahbench._util.shapes import Shape
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.denoisers import SEES_DATASET
from gahbench.contracts.metrics import Metric
from gahbench.contracts.references import Reference
from gahbench.contracts.unit import Unit
from gahbench.devices.batches import take_memory_notes
from gahbench.devices.hardware import Hardware, is_out_of_memory, release_memory
from gahbench.evaluation.audit import DIVERGED_NOTE, audit, audit_repetition, check_claimed_risk
from gahbench.evaluation.evaluation import Evaluation
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.networks.precision import Choices
from gahbench.planning.units import AUDITED, CHECKS, CHECKS_VERSION, FIT, SCORE, configured_as
from gahbench.registry.behaviour import function_digest
from gahbench.registry.plugin import Kind, watch
from gahbench.registry.registry import Registry
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


def build(registry: Registry, kind: Kind, described: Mapping[str, Any], shape: Shape | None = None) -> Any:
    """Build the plugin of a payload, an architecture for images of a shape (C, H, W), and check that it is the same."""
    # A built-in plugin may run code that its parameters name.
    with watch(f"{kind} '{described['name']}'", is_external=bool(described.get("origins"))):
        configured = configured_as(registry, kind, described)
        if key_of(configured.identity) != described["identity"]:
            raise CodeChangedError(f"{configured.where}: its code has changed since this run was planned; run again")
        return configured.build(shape)


#: Notes are listed for this number of shapes, those of the most images first.
LISTED_NOTES = 3
#: The number of datasets that are kept for later units.
DATASETS = 4
_REQUEST = ("split", "images", "sigmas", "noise_seed", "sampling", "jacobian_precision")


class _Measurements:
    """Builds the measurements of score units from their payloads and the networks in the store.

    Datasets, and the measurement of the last entrant, are kept for the next unit.
    """

    def __init__(self, registry: Registry, store: Store, device: torch.device, choices: Choices) -> None:
        self._registry, self._store, self._device, self._choices = registry, store, device, choices
        self._last: tuple[Any, Measurement] | None = None
        self._dataset = functools.lru_cache(maxsize=DATASETS)(
            lambda described: build(registry, "dataset", json.loads(described))
        )

    def dataset(self, described: Mapping[str, Any]) -> Dataset:
        """Return the dataset of a payload."""
        dataset: Dataset = self._dataset(json.dumps(described, sort_keys=True))
        return dataset

    def of(self, unit: Unit, networks: Mapping[str, str | None]) -> Measurement:
        """Return the measurement of a score unit; all metrics of an entrant share it."""
        payload = unit.payload
        dataset = self.dataset(payload["dataset"])
        network = networks.get(unit.requires or "")
        same = (unit.requires, network, {name: value for name, value in payload.items() if name != "metric"})
        if self._last is None or self._last[0] != same:
            measurement = Measurement(
                dataset,
                self._subject(unit, dataset, unit.requires, payload["learned_from"]),
                {name: payload[name] for name in _REQUEST if name in payload},
                self._device,
                self._choices,
            )
            self._last = (same, measurement)
        measurement = self._last[1]
        if unit.partner is not None or payload["partner_learned_from"] is not None:
            # Only units of metrics that need a partner have its key.
            measurement.partner = functools.partial(
                self._subject, unit, dataset, unit.partner, payload["partner_learned_from"]
            )
        return measurement

    def _subject(
        self, unit: Unit, dataset: Dataset, fit: str | None, learned_from: Mapping[str, Any] | None
    ) -> Subject:
        entrant = unit.payload["entrant"]
        if fit is None:
            return Subject(functools.partial(build, self._registry, "reference", entrant), learned_from)
        finished = open_finished(self._store.fit_folder(fit))

        network = functools.partial(functools.partial, self._network, entrant, dataset, finished)
        snapshots = [(step, network(file)) for step, file in finished.snapshots.items()]
        return Subject(network(WEIGHTS), learned_from, snapshots)

    def _network(self, entrant: Mapping[str, Any], dataset: Dataset, fit: FinishedUnit, file: str) -> nn.Module:
        from safetensors.torch import load

        try:
            # The bytes that are hashed are the bytes that are loaded.
            weights = load(fit.read(file))
        except DamagedError as error:
            raise ResultsError(f"{error}; run again: its network is fitted anew") from error
        network: nn.Module = build(self._registry, "architecture", entrant, dataset.shape)
        network.load_state_dict(weights)
        return network


class Worker:
    """Does units one after the other, keeping objects that the next unit may need."""

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
        #: What rounding may depend on beside the key of a unit.
        self._environment = {
            "threads": torch.get_num_threads(),
            "device": device.name,
            "processor": processor_name(),
            "python": platform.python_version(),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy")},
        }
        self._choices = Choices(store.precision)
        #: The last measurement whose claimed risks were verified.
        self._verified: Measurement | None = None

    @functools.cached_property
    def _registry(self) -> Registry:
        # Plugins are imported with the first unit, so that an error of theirs is a failure of that unit.
        return self._open_registry()

    @functools.cached_property
    def _measurements(self) -> _Measurements:
        return _Measurements(self._registry, self.store, self.device, self._choices)

    def run(self, unit: Unit, interruptible: bool = True) -> dict[str, Any]:
        """Do a unit; return what to report: its seconds, that it stopped, or why it failed or its device was lost."""
        try:
            end = {"event": "finished", "seconds": self.do(unit)}
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and interruptible:
                raise
            end = self._end_by(error, unit)
        # The error, which holds the tensors of a failed unit, is gone only now.
        trim_heap()
        if end["event"] != "lost":
            release_memory()
        return end

    def _end_by(self, error: BaseException, unit: Unit) -> dict[str, Any]:
        """Return how an error has ended a unit; raise the error of a results folder that cannot be used."""
        if isinstance(error, Stopped) and self.should_stop():
            return {"event": "stopped"}
        if unit.folder in self.store.finished():
            # Another process was faster, and has removed this attempt.
            return {"event": "finished", "seconds": 0.0}
        if isinstance(error, StorageError):
            raise error
        cause = error.__cause__
        if isinstance(error, ResultsError) and not isinstance(error, DamagedError) and isinstance(cause, OSError):
            raise StorageError(cause.errno, str(error)) from error
        details = {"error": explain(error), "traceback": bounded(_traceback(error), MAX_TRACEBACK)}
        if self.hardware.is_lost:
            return {"event": "lost", **details, "error": f"its device was lost: {details['error']}"}
        return {"event": "failed", "code_changed": isinstance(error, CodeChangedError), **details}

    def do(self, unit: Unit) -> float:
        """Do a unit and finish it in the store; return the seconds it took."""
        started = time.monotonic()
        attempt = self.store.begin(unit)
        # Discard the notes of an earlier unit that failed.
        take_memory_notes()
        try:
            (self._fit if unit.kind == "fit" else self._score)(unit, attempt)
        except BaseException:
            # The next attempt at a fit goes on from its checkpoint.
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
            "marks": watched.marks(dataset.shape, self.device),
            "resumed": checkpoints.resumed,
        }
        # The time of training is of training alone: this has the images, the network and its validation too.
        facts |= {"seconds": time.monotonic() - started, "environment": self._environment}
        # Raise the error of a lost device, which the code of the unit may have caught.
        self.hardware.synchronise()
        attempt.finish(facts, keep=done.files)

    def _score(self, unit: Unit, attempt: Attempt) -> None:
        started = time.monotonic()
        metric: Metric = build(self._registry, "metric", unit.payload["metric"])
        _check_code(unit, SCORE, frozenset(metric.needs))
        networks = self._checksums(unit)
        measurement = self._measurements.of(unit, networks)
        if (earlier := self.store.find_unchecked(unit)) is not None and earlier.done.get("networks", {}) == networks:
            self._check_again(earlier, measurement, attempt)
            return
        files = write_scores(attempt.folder, measurement.score(metric))
        if self._verified is not measurement:
            claimed = [check_claimed_risk(one) for one in measurement.evaluations]
            self._verified = measurement if any(claimed) else self._verified
        denoiser = measurement.evaluation.denoiser
        facts: dict[str, Any] = {"kind": denoiser.kind, "notes": []}
        if isinstance(denoiser, Reference):
            # As a plugin has it, and as the store accepts it.
            count = denoiser.num_parameters
            notes = notes_of(denoiser, measurement.evaluations)
            facts |= {"notes": list(map(as_text, notes)), "parameters": None if count is None else int(count)}
        checks = _checks(unit, measurement)
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
            raise ResultsError(f"{unit.label}: its network was replaced meanwhile; run again")
        self.hardware.synchronise()
        attempt.finish({**facts, "seconds": time.monotonic() - started}, keep=files)

    def _check_again(self, earlier: FinishedUnit, measurement: Measurement, attempt: Attempt) -> None:
        """Finish a score unit with the files that it had, and new checks."""
        for name in earlier.names:
            (attempt.folder / name).write_bytes(earlier.read(name))
        checks = _checks(earlier.unit, measurement)
        kept = [note for note in earlier.done.get("notes", ()) if not note.startswith(DIVERGED_NOTE)]
        checks["notes"] = [*kept, *checks.get("notes", ())]
        facts = {name: value for name, value in earlier.done.items() if name not in ("files", "marks", "checks")}
        attempt.finish({**facts, **checks}, keep=[name for name in earlier.names if name != UNIT])

    def _checksums(self, unit: Unit) -> dict[str, str | None]:
        """Return the checksums of the networks that a unit needs: networks of one key may differ by rounding."""
        return {key: self.store.weights_checksum(key) for key in unit.needs}


def notes_of(reference: Reference, evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the notes of a reference that was evaluated on the images of each shape."""
    notes, basis = list(reference.notes), getattr(reference, "basis", None)
    if len(evaluations) == 1 or not isinstance(basis, Basis):
        return notes
    counts: Counter[str] = Counter()
    for one in evaluations:
        counts.update(dict.fromkeys(basis.notes(one.shape), len(one.clean)))
    images = sum(len(one.clean) for one in evaluations)
    listed = [
        note if count == images else f"{note} ({count} of {images} images)"
        for note, count in counts.most_common(LISTED_NOTES)
    ]
    if others := len(counts) - len(listed):
        listed.append(f"so are images of {others} other shapes, each as it needs")
    first = basis.notes(evaluations[0].shape)
    return [*(note for note in notes if note not in first), *listed]


def _jacobian_facts(measurement: Measurement) -> dict[str, Any]:
    """Return the precision of Jacobians, how it was chosen, and their error relative to float32."""
    facts: dict[str, Any] = {}
    error = max(one.jacobian_error for one in measurement.evaluations)
    choice = measurement.evaluation.jacobian_choice
    if choice is not None:
        facts["jacobian_precision"] = choice.precision
        facts["precision_reason"], facts["precision_seconds"] = choice.reason, dict(choice.seconds)
    return {**facts, "jacobian_error": error} if error else facts


def _checks(unit: Unit, measurement: Measurement) -> dict[str, Any]:
    """Check the denoiser of a score unit: return ``marks``, and beside the ranked score ``notes`` and ``checks``."""
    if (unit.payload["metric"]["name"], unit.split) == AUDITED:
        return _audit_row(measurement)
    # Scores of other metrics are marked if the denoiser does not return the same output again.
    evaluation = measurement.evaluation
    if unit.split != AUDITED[1] or not evaluation._denoised or evaluation.denoiser.kind in SEES_DATASET:
        return {}
    return {"marks": [as_text(mark) for mark in audit_repetition(evaluation).marks]}


def _audit_row(measurement: Measurement) -> dict[str, Any]:
    """Audit a denoiser; if it fails on fresh images it is marked, and keeps its scores."""
    # The evaluation with the most images is audited, if there are several shapes.
    largest = max(measurement.evaluations, key=lambda one: len(one.clean))
    images = sum(len(one.clean) for one in measurement.evaluations)
    checks: dict[str, Any] = {"version": CHECKS_VERSION, "code": function_digest(CHECKS), "images": ""}
    try:
        found = audit(largest)
    except Exception as error:
        mark = as_text(f"could not be denoised again for the checks: {explain(error)}")
        return {"marks": [mark], "checks": checks}
    of = ""
    if len(measurement.evaluations) > 1:
        of = f" (of {len(largest.clean)} of {images} images)"
        checks["checked"] = len(largest.clean)
    return {
        "marks": [as_text(f"{mark}{of}") for mark in found.marks],
        "notes": [as_text(note) for note in found.notes],
        "checks": {**checks, **found.facts, "images": found.images},
    }


def _check_code(unit: Unit, function: str, needs: frozenset[str] = frozenset()) -> None:
    """Refuse a unit that was planned with other code of gahbench: its key would not be that of its outcome."""
    if unit.document is not None and unit.document["code"] != function_digest(function, needs):
        raise CodeChangedError("the code of gahbench has changed since this run was planned; run again")


def explain(error: BaseException) -> str:
    """Return an error in one line, shortened if it is long; running out of memory is named as such."""
    if isinstance(error, Stopped):
        return "Stopped: raised without a request to stop"
    text = error_text(error)
    if is_out_of_memory(error):
        _, _, rest = text.partition(": ")
        return f"out of memory: {rest}" if rest else "out of memory"
    return text


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:
        # An error of a plugin's own, which cannot be printed.
        return "".join(traceback.format_tb(error.__traceback__))
