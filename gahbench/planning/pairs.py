"""Pairs of datasets and entrants, which are tried out before a run without computing anything."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gahbench._util.errors import ParameterError, SuiteError, listing
from gahbench._util.resources import detach, kill_group, start_process
from gahbench._util.shapes import Shape
from gahbench.contracts.denoisers import SEES_DATASET
from gahbench.contracts.references import Reference
from gahbench.planning.suite import Suite
from gahbench.planning.units import PlannedDataset
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec

#: Seconds for which an external network may be tried out, which usually takes milliseconds.
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Pair:
    """An entrant on a dataset, as far as it is known before a run."""

    is_defined: bool = True
    #: Why the entrant refuses the images of the dataset.
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
        reference = _build_reference(suite, entrant)
        # Datasets share most shapes, and an external network takes a process for each.
        network = functools.cache(functools.partial(_try_apart if entrant.origins else _try_network, entrant))
        tried = {planned.configured.label: _try_pair(entrant, reference, network, planned) for planned in datasets}
        pairs |= {(label, entrant.label): pair for label, pair in tried.items()}
        where = f"{suite.location(entrant)}: {entrant.where}"
        defined = [(label, pair.refusal) for label, pair in tried.items() if pair.is_defined]
        # A run that selects some datasets of the suite may have no row of a reference.
        if not defined and not any(option.startswith("--dataset ") for option in suite.changes):
            optima = listing(f"{planned.configured.label}: {planned.dataset.optimum.kind}" for planned in datasets)
            raise SuiteError(f"{where}: not defined on any dataset of the suite; the kinds of optima are {optima}")
        if defined and all(refusal is not None for _, refusal in defined):
            raise SuiteError(f"{where} on {defined[0][0]}: {defined[0][1]}")
    return pairs


def _build_reference(suite: Suite, entrant: Configured) -> Reference | None:
    """Return the reference, or ``None`` for an architecture and for a reference that cannot be built."""
    try:
        return suite.build(entrant) if entrant.kind == "reference" else None
    except SuiteError:
        raise
    except Exception:
        return None  # The row of a broken plugin reports the error.


def _try_pair(
    entrant: Configured, reference: Reference | None, network: Callable[[Shape], Pair], planned: PlannedDataset
) -> Pair:
    """Count the operations of a network on torch's meta device, or ask a reference whether it accepts the images."""
    try:
        if entrant.kind == "architecture":
            tried = list(map(network, planned.shapes))
            return next((pair for pair in tried if pair.refusal is not None), tried[0])
        if reference is None:
            return Pair()
        if not reference.supports(planned.dataset):
            return Pair(is_defined=False)
        if planned.dataset.noise_kind is not None and reference.kind in SEES_DATASET:
            return Pair(refusal="needs clean images; accepted on noisy images: classical references and networks")
        for shape in planned.shapes:
            reference.check_shape(shape)
    except (ValueError, ParameterError) as error:
        return Pair(refusal=str(error))
    except Exception:
        pass  # The row of a broken plugin reports the error.
    return Pair()


def _try_apart(configured: Configured, shape: Shape) -> Pair:
    """Try out an external network in a process of its own, which it may end; its row then reports the error."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    sources = tuple(configured.registry.sources)
    process = start_process(_send_pair, (sender, sources, configured.plugin.name, configured.parameters, shape))
    sender.close()
    try:
        if receiver.poll(TIMEOUT_SECONDS):
            return receiver.recv()  # type: ignore[no-any-return]
    except EOFError:
        pass  # The process has ended.
    finally:
        kill_group(process.pid)
        process.join()
        receiver.close()
    return Pair()


def _send_pair(sender: Connection, sources: tuple[Path, ...], name: str, values: dict[str, Any], shape: Shape) -> None:
    """Send the outcome of trying a network from this new process, without the output of plugins."""
    detach(os.devnull)
    try:
        pair = _try_network(Registry(sources).configure("architecture", Spec(name, (), values)), shape)
    except ValueError as error:
        pair = Pair(refusal=str(error))
    sender.send(pair)
    os._exit(0)


def _try_network(configured: Configured, shape: Shape) -> Pair:
    import torch

    from gahbench.training.hardware import multiply_adds

    with torch.device("meta"):
        network = configured.build(shape).eval()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    try:
        return Pair(parameters=parameters, work=multiply_adds(network, shape))
    except ValueError:
        raise
    except Exception:
        return Pair(parameters=parameters)  # Some operations do not support the meta device.
