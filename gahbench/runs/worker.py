"""One unit in this process: train a network, or score a denoiser."""

from __future__ import annotations

import csv
import functools
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gahbench.contracts.datasets import Dataset
from gahbench.contracts.denoisers import Denoiser
from gahbench.contracts.metrics import Metric
from gahbench.contracts.references import Reference
from gahbench._util.errors import PluginError
from gahbench.evaluation.evaluation import Evaluation
from gahbench.contracts.training_data import TrainingData
from gahbench._util.keys import key_of
from gahbench.registry.registry import Kind, Registry
from gahbench._util.resources import release_memory
from gahbench.sampling.settings import Sampling
from gahbench.contracts.scoring import checked
from gahbench.registry.spec import Spec
from gahbench.store.store import ARRAYS, SCORES, Store
from gahbench.networks.trained import Trained
from gahbench.training.hardware import choose, multiply_adds
from gahbench.training.recipe import Training
from gahbench.training.trainer import Progress, Stopped, Trainer
from gahbench.networks.initialisation import build_network
from gahbench.contracts.unit import Unit

WEIGHTS = "weights.safetensors"
HISTORY = "history.csv"
CHECKPOINT = "checkpoint.pt"


class Worker:
    """Does units one after the other, keeping what the next one may need.

    Parameters
    ----------
    registry
        Where plugins are looked up.
    store
        Where finished units are, and go.
    device
        Where networks compute.
    progress, note
        Called with the progress of a fit, and with what is worth telling.
    should_stop
        Asked after every step of a fit.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        device: torch.device | None = None,
        progress: Callable[[Progress], None] = lambda progress: None,
        note: Callable[[str], None] = lambda text: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.registry = registry
        self.store = store
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.progress = progress
        self.note = note
        self.should_stop = should_stop
        if self.device.type == "cuda":
            # By default convolutions round to ten bits there, and scores are in float32.
            torch.backends.cudnn.allow_tf32 = False
        # The units of one entrant come together: its evaluation serves all of its metrics.
        self._evaluation: tuple[Any, Evaluation] | None = None
        self._dataset = functools.lru_cache(maxsize=4)(self._build_dataset)

    def do(self, unit: Unit) -> float:
        """Do a unit and finish it in the store; return the seconds it took.

        Raises
        ------
        Stopped
            If asked to stop meanwhile.
        Exception
            Whatever goes wrong; the caller records it.
        """
        started = time.monotonic()
        self.store.begin(unit)
        if unit.kind == "fit":
            self._fit(unit)
        else:
            self._score(unit)
        release_memory()
        return time.monotonic() - started

    def _fit(self, unit: Unit) -> None:
        payload = unit.payload
        dataset = self.dataset(payload)
        training = Training.model_validate(payload["training"])
        build = functools.partial(self._build, "architecture", payload["entrant"], dataset.shape)
        network = build_network(build, payload["seed"], training.initialisation, training.weights_stream)
        acceleration = choose(
            training, self._planned_work(build, dataset, training), self.device, torch.get_num_threads()
        )
        partial = self.store.partial(unit)

        def keep_snapshot(step: int, network: torch.nn.Module) -> None:
            _save(partial / snapshot_file(step), network)

        trainer = Trainer(
            network,
            dataset,
            training,
            payload["seed"],
            acceleration,
            validation_sigmas(training),
            self.device,
            partial / CHECKPOINT,
            keep_snapshot,
            self.progress,
            self.should_stop,
        )
        fitted = trainer.fit()
        for text in fitted.acceleration.notes:
            self.note(text)
        _save(partial / WEIGHTS, fitted.network)
        _write_history(partial / HISTORY, fitted.history)
        facts = {
            "steps": fitted.steps,
            "train_seconds": fitted.seconds,
            "budget": training.budget,
            "parameters": sum(parameter.numel() for parameter in fitted.network.parameters()),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "precision": fitted.acceleration.precision,
            "compiled": fitted.acceleration.compiled,
            "notes": list(fitted.acceleration.notes),
        }
        snapshots = training.snapshot_steps(fitted.steps)
        self.store.finish(unit, facts, keep=(WEIGHTS, HISTORY, *map(snapshot_file, snapshots)))

    def _planned_work(self, build: Callable[[], Any], dataset: Dataset, training: Training) -> float:
        from gahbench.training.batches import training_count

        steps = training.total_steps(training_count(dataset, training))
        if steps is None:
            # A time budget: what matters is how long it runs, whatever it gets done.
            from gahbench.training.hardware import has_bfloat16, nominal_rate

            return (training.seconds or 0.0) * nominal_rate(
                self.device, has_bfloat16(self.device), torch.get_num_threads()
            )
        try:
            with torch.device("meta"):
                network = build()
            return 3 * multiply_adds(network.eval(), dataset.shape) * training.batch_size * steps
        except Exception:
            # Not every operation can be counted on the meta device; then nothing is known to be gained by compiling.
            return 0.0

    def _score(self, unit: Unit) -> None:
        started = time.monotonic()
        metric: Metric = self._build("metric", unit.payload["metric"])
        evaluation = self._evaluate(unit)
        if "partner" in metric.needs and evaluation.partner is None:
            evaluation.partner = self._other(unit, evaluation)
        if "snapshots" in metric.needs:
            self._follow(unit, evaluation)
        count = evaluation.sampling.count if "samples" in metric.needs else len(evaluation.clean)
        scores = checked(metric.score(evaluation), evaluation.sigmas, count)
        self.store.write_scores(unit, scores)
        denoiser = evaluation.denoiser
        facts: dict[str, Any] = {"kind": denoiser.kind, "seconds": time.monotonic() - started, "notes": []}
        if isinstance(denoiser, Reference):
            facts |= {"notes": list(denoiser.notes), "parameters": denoiser.parameters}
        self.store.finish(unit, facts, keep=(SCORES, ARRAYS))

    def _evaluate(self, unit: Unit) -> Evaluation:
        payload = unit.payload
        same = (unit.requires, *(repr(payload[name]) for name in payload if name != "metric"))
        if self._evaluation is not None and self._evaluation[0] == same:
            return self._evaluation[1]
        dataset = self.dataset(payload)
        learned = payload.get("learned_from")
        evaluation = Evaluation(
            self._denoiser(unit, dataset, unit.requires, learned),
            dataset.images(payload["split"], payload["images"]),
            payload["sigmas"],
            payload["noise_seed"],
            payload["split"],
            dataset,
            _learned(dataset, learned, unit.requires),
            sampling=Sampling.model_validate(payload.get("sampling", {})),
            device=self.device,
        )
        self._evaluation = (same, evaluation)
        return evaluation

    def _other(self, unit: Unit, evaluation: Evaluation) -> Evaluation:
        """Return the partner of a unit's denoiser on the same noisy images."""
        dataset, learned = self.dataset(unit.payload), unit.payload["partner_learned_from"]
        other = evaluation.along(self._denoiser(unit, dataset, unit.partner, learned))
        other.learned_from = _learned(dataset, learned, unit.partner)
        other.sampling, other.device = evaluation.sampling, evaluation.device
        return other

    def _follow(self, unit: Unit, evaluation: Evaluation) -> None:
        """Let an evaluation, and that of the partner, load the networks along the training."""
        dataset = self.dataset(unit.payload)
        for one, key in ((evaluation, unit.requires), (evaluation.partner, unit.partner)):
            if one is not None and key is not None and not one.snapshots:
                folder = self.store.fit_folder(key)
                steps = sorted(int(file.stem.partition("-")[2]) for file in folder.glob(snapshot_file("*")))
                load = functools.partial(self._network, unit, dataset, key)
                one.snapshots = [(step, functools.partial(load, snapshot_file(step))) for step in steps]

    def _denoiser(self, unit: Unit, dataset: Dataset, fit: str | None, learned: dict[str, Any] | None) -> Denoiser:
        if fit is None:
            reference: Reference = self._build("reference", unit.payload["entrant"])
            reference.move(self.device)
            # Others learn from all training images, whatever the networks learn from.
            reference.fit(_examples(dataset, learned if reference.fits_training_subset else None))
            return reference
        return self._network(unit, dataset, fit, WEIGHTS)

    def _network(self, unit: Unit, dataset: Dataset, fit: str, file: str) -> Denoiser:
        from safetensors.torch import load_file

        folder = self.store.fit_folder(fit)
        self.store.verify(folder)
        network = self._build("architecture", unit.payload["entrant"], dataset.shape)
        network.load_state_dict(load_file(folder / file))
        return Trained(network, self.device)

    def dataset(self, payload: dict[str, Any]) -> Dataset:
        """Return the dataset of a unit, kept for the next."""
        return self._dataset(repr(payload["dataset"]))

    def _build_dataset(self, described: str) -> Dataset:
        import ast

        dataset: Dataset = self._build("dataset", ast.literal_eval(described))
        return dataset

    def _build(self, kind: Kind, described: dict[str, Any], shape: tuple[int, int, int] | None = None) -> Any:
        configured = self.registry.configure(kind, Spec(described["name"], (), described["parameters"]))
        if key_of(configured.identity) != described["identity"]:
            raise PluginError(f"{configured.where}: its source has changed since this run was planned; run again")
        return configured.build(shape)


def snapshot_file(step: int | str) -> str:
    """Return the name of the file of the weights after so many steps."""
    return f"snapshot-{step}.safetensors"


def _examples(dataset: Dataset, learned: dict[str, Any] | None) -> TrainingData:
    """Return the images that a denoiser learns from."""
    return TrainingData(dataset) if learned is None else TrainingData(dataset, learned["split"], learned["count"])


def _learned(dataset: Dataset, learned: dict[str, Any] | None, fit: str | None) -> TrainingData | None:
    """Return the images that a denoiser is compared with; ``None`` for a network that was trained on a stream."""
    examples = _examples(dataset, learned)
    return None if fit is not None and examples.count is None else examples


def _save(path: Path, network: torch.nn.Module) -> None:
    """Write the weights of a network, whole or not at all."""
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()}
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(state, temporary)
    temporary.replace(path)


def do_and_record(worker: Worker, unit: Unit) -> dict[str, Any]:
    """Do a unit; return what to report: its seconds, that it stopped, or why it failed (which is recorded too)."""
    try:
        return {"event": "finished", "seconds": worker.do(unit)}
    except Stopped:
        return {"event": "stopped"}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reason, details = explain(error), traceback.format_exc()
        worker.store.fail(unit, reason, details)
        return {"event": "failed", "error": reason, "traceback": details}


def explain(error: BaseException) -> str:
    """Return an error in one line; running out of memory is called that."""
    text = " ".join(str(error).split())
    allocation = isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)
    if isinstance(error, MemoryError) or allocation:
        return f"out of memory: {text}" if text else "out of memory"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def validation_sigmas(training: Training) -> tuple[float, ...]:
    """Return the noise levels of a fit's history: five over the trained range, equally spaced in decibels."""
    low, high = max(training.sigma_min, 0.01), training.sigma_max
    return tuple(float(f"{low * (high / low) ** (place / 4):.3g}") for place in range(5))


def device_name(device: torch.device) -> str:
    """Return the name of a device: the GPU's own, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    names = list(dict.fromkeys(name for row in history for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        file.flush()
        os.fsync(file.fileno())


def progress_message(progress: Progress) -> dict[str, Any]:
    """Return the progress of a fit as plain JSON."""
    return asdict(progress)
