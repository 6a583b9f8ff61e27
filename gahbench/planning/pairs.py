"""Pairs of datasets and entrants, which are tried out before a run without computing anything."""

from __future__ import annotations

import copy
import functools
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from gahbench._util.errors import DataError, ParameterError, SuiteError
from gahbench._util.resources import detach, kill_group, start_process
from gahbench._util.shapes import Shape
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import SEES_DATASET, TrainingData, Truth
from gahbench.planning.suite import Suite
from gahbench.planning.units import PlannedDataset
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry

#: Seconds for which an external network may be tried out, which usually takes milliseconds.
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Pair:
    """An entrant on a dataset, as far as it is known before a run."""

    is_defined: bool = True
    #: Why the entrant refuses the images of the dataset, or is not defined on it.
    refusal: str | None = None
    #: Number of parameters of a network, and multiply-adds for an image of the first shape.
    parameters: int = 0
    work: float = 0.0


#: The pairs of a suite, by the labels of dataset and entrant.
Pairs = dict[tuple[str, str], Pair]


def try_pairs(suite: Suite, datasets: Sequence[PlannedDataset]) -> Pairs:
    """Try out all pairs; raise if an entrant is undefined or refused on all datasets."""
    pairs: Pairs = {}
    for entrant in suite.entrants:
        try_out = _trial(suite, entrant)
        tried = {planned.configured.label: try_out(planned) for planned in datasets}
        pairs |= {(label, entrant.label): pair for label, pair in tried.items()}
        # A run that selects some datasets of the suite may have no row of a reference.
        is_selected = any(option.startswith("--dataset ") for option in suite.changes)
        is_refused = any(pair.is_defined for pair in tried.values()) or not is_selected
        if is_refused and all(pair.refusal is not None for pair in tried.values()):
            label, first = next(iter(tried.items()))
            raise SuiteError(f"{suite.location(entrant)}: {entrant.where} on {label}: {first.refusal}")
    return pairs


def _trial(suite: Suite, entrant: Configured) -> Callable[[PlannedDataset], Pair]:
    """Return a function that tries out an entrant on a dataset."""
    if entrant.kind == "architecture":
        # Datasets share most shapes, and an external network takes a process for each.
        network = functools.cache(functools.partial(_try_apart if entrant.origins else _try_network, entrant))
        # The outcome of the first shape that the network refuses, or else of the first shape.
        return lambda planned: min(map(network, planned.shapes), key=lambda pair: pair.refusal is None)
    try:
        return functools.partial(_try_reference, suite.build(entrant))
    except SuiteError:
        raise
    except Exception:
        return lambda planned: Pair()  # The row of a broken plugin reports the error.


def _try_reference(reference: Reference, planned: PlannedDataset) -> Pair:
    try:
        if not reference.supports(planned.dataset):
            return Pair(False, f"not defined on this dataset: the optimum is '{planned.dataset.optimum.kind}'")
        if planned.dataset.noise_kind is not None and reference.kind in SEES_DATASET:
            return Pair(refusal="needs clean images; accepted on noisy images: classical references and networks")
        for shape in planned.shapes:
            reference.check_shape(shape)
        if planned.dataset.available("train") == 0 and type(reference).fit is not Reference.fit:
            _try_untrained(copy.deepcopy(reference), planned)
    except (ValueError, ParameterError, DataError) as error:
        return Pair(refusal=str(error))
    except Exception:
        pass  # The row of a broken plugin reports the error.
    return Pair()


def _try_untrained(reference: Reference, planned: PlannedDataset) -> None:
    """Denoise a small image, so that ``DataError`` is raised if a reference needs training images and has none."""
    import torch

    reference.fit(TrainingData(planned.dataset))
    image = torch.full((1, planned.shapes[0][0], 32, 32), 0.5)
    reference.denoise(image, 0.1, Truth(image, planned.dataset))


def _try_network(network: Configured, shape: Shape) -> Pair:
    """Count the parameters and operations of a network on torch's meta device."""
    import torch

    from gahbench.training.hardware import multiply_adds

    parameters, outputs = 0, list[tuple[int, ...]]()
    try:
        with torch.device("meta"):
            built = network.build(shape).eval()
        parameters = sum(parameter.numel() for parameter in built.parameters())
        built.register_forward_hook(lambda module, arguments, output: outputs.append(tuple(output.shape)))
        work = multiply_adds(built, shape)
        fault = None if outputs == [(1, *shape)] else f"forward returned shape {outputs[0]} for images of {(1, *shape)}"
        return Pair(refusal=fault, parameters=parameters, work=work)
    except (ValueError, ParameterError) as error:
        return Pair(refusal=str(error))
    except Exception:
        return Pair(parameters=parameters)  # The network is broken, or its operations do not support the device.


def _try_apart(network: Configured, shape: Shape) -> Pair:
    """Try out an external network in a process of its own, which it may end; its row then reports the error."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    sources = tuple(network.registry.sources)
    process = start_process(_send_pair, (sender, sources, network.text, shape))
    sender.close()
    try:
        return Pair(**receiver.recv()) if receiver.poll(TIMEOUT_SECONDS) else Pair()
    except EOFError:
        return Pair()  # The process has ended.
    finally:
        kill_group(process.pid)
        process.join()
        receiver.close()


def _send_pair(sender: Connection, sources: tuple[Path, ...], network: str, shape: Shape) -> None:
    """Send the outcome of trying a network from this new process, without the output of plugins."""
    detach(os.devnull)
    sender.send(vars(_try_network(Registry(sources).configure("architecture", network), shape)))
    os._exit(0)
