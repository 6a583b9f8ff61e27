"""The precision of a network's computation, chosen by timing the network itself.

Whether bfloat16 pays cannot be told from the instructions that a processor lists: with AVX512-BF16 but without matrix
units (AMX) it is slower than float32, and with AMX the gain depends on the widths of the layers. So a few passes are
timed in both precisions, once for each network and shape on each kind of machine, and the choice is kept beside the
results, so that all seeds share it.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from gahbench._util.error_text import error_text
from gahbench._util.files import names_in, read_regular, temporary_name, write_json
from gahbench._util.keys import key_of
from gahbench._util.resources import processor_name
from gahbench._util.sealed import parse_json
from gahbench.devices.hardware import hardware, is_out_of_memory

Precision = Literal["float32", "bfloat16"]

#: bfloat16 is chosen where it is at least this much faster, so that near ties do not flip from run to run.
MIN_GAIN = 1.15
#: Work that float32 does in fewer seconds is not worth a measurement.
MIN_SECONDS = 60.0
#: The share of the planned work that a measurement may take.
MAX_SHARE = 0.01
#: The most passes that are timed in each precision.
MAX_PASSES = 5
#: Size of the file of a choice at most.
MAX_BYTES = 10_000


@dataclass(frozen=True)
class Choice:
    """A precision, and why it was chosen."""

    precision: Precision = "float32"
    reason: str = "set"
    seconds: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None


class Choices:
    """The choices of a results folder, or of one process where there is no folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, Choice] = {}

    def make(
        self,
        work: str,
        network: nn.Module,
        shape: tuple[int, ...],
        device: torch.device,
        passes: float,
        run: Callable[[Precision], object],
    ) -> Choice:
        """Return the precision for a network on this machine: as it was chosen before, or else measured."""
        if not hardware(device).has_bfloat16:
            return Choice(reason="the hardware has no bfloat16 instructions")
        # Work of another amount is another question: short work is not measured.
        question = {"work": work, "network": _identity(network), "shape": list(shape), "passes": f"{passes:.3g}"}
        fields = {**question, **_machine(device)}
        key = key_of(fields)
        choice = self._known.get(key)
        if choice is None and (written := self._content(f"{key}.json")) is not None:
            choice = written[1]
        if choice is None:
            choice = self._keep(key, fields, measure(run, passes, device))
        self._known[key] = choice
        earlier = self._elsewhere(key, question, choice)
        return choice if earlier is None else replace(choice, note=earlier)

    def _content(self, name: str) -> tuple[dict[str, Any], Choice] | None:
        """Return what a file says, and its choice; ``None`` where it is missing or damaged."""
        if self._folder is None:
            return None
        try:
            content = parse_json(read_regular(self._folder / name, MAX_BYTES, follow=False))
            precision = content["precision"]
            if precision not in ("float32", "bfloat16"):
                return None
            seconds = {str(which): float(value) for which, value in content["seconds"].items()}
            return content, Choice(precision, str(content["reason"]), seconds)
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return None

    def _keep(self, key: str, fields: Mapping[str, Any], choice: Choice) -> Choice:
        """Write a choice, and return the one that is kept: of workers that measure at once the first decides."""
        if self._folder is None:
            return choice
        record = {**fields, **{name: value for name, value in asdict(choice).items() if name != "note"}}
        file = self._folder / f"{key}.json"
        own = temporary_name(file)
        # A choice that cannot be written is made again by the next process: no reason to fail a unit.
        with contextlib.suppress(OSError):
            write_json(own, record)
            try:
                os.link(own, file)
            except FileExistsError:
                if (first := self._content(file.name)) is not None:
                    choice = first[1]
                else:
                    own.replace(file)  # a damaged file
            finally:
                own.unlink(missing_ok=True)
        return choice

    def _elsewhere(self, key: str, question: Mapping[str, Any], choice: Choice) -> str | None:
        """Return a sentence if other machines compute the same network of this folder in the other precision."""
        if self._folder is None:
            return None
        for name in sorted(names_in(self._folder)):
            if name.startswith((".", key)) or (found := self._content(name)) is None:
                continue
            content, other = found
            if other.precision != choice.precision and all(content.get(part) == question[part] for part in question):
                return (
                    f"{question['work']} in {choice.precision} here ({choice.reason}), where this folder has "
                    f"{other.precision} from another machine ({content.get('processor')}, {content.get('device')}, "
                    f"{content.get('threads')} threads)"
                )
        return None


def pass_seconds(
    run: Callable[[Precision], object], precision: Precision, passes: float, device: torch.device
) -> float | None:
    """Return the seconds of one pass, after another that warms up; ``None`` where they are too much of the work."""
    if passes * MAX_SHARE < 2:
        return None
    _seconds(run, precision, device)
    return _seconds(run, precision, device)


def measure(run: Callable[[Precision], object], passes: float, device: torch.device) -> Choice:
    """Time passes in float32 and bfloat16, one after the other in turn, and return the precision to use."""
    if passes * MAX_SHARE < 2:
        return Choice(reason="too few passes to measure one")
    first = _seconds(run, "float32", device)
    timed: dict[Precision, list[float]] = {"float32": [_seconds(run, "float32", device)], "bfloat16": []}
    planned = passes * timed["float32"][0]
    spent = first + timed["float32"][0]
    if planned < MIN_SECONDS:
        return Choice(reason=f"less than {MIN_SECONDS:.0f} s of work", seconds=_medians(timed))
    if spent + 3 * timed["float32"][0] > MAX_SHARE * planned:
        return Choice(reason="too few passes to measure both precisions", seconds=_medians(timed))
    try:
        spent += _seconds(run, "bfloat16", device)
        for place in range(MAX_PASSES):
            # The first pair always: the warm-up has been paid for.
            if place and spent + sum(each[-1] for each in timed.values()) > MAX_SHARE * planned:
                break
            for precision in ("bfloat16", "float32") if place else ("bfloat16",):
                timed[precision].append(_seconds(run, precision, device))
                spent += timed[precision][-1]
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return Choice(reason=f"bfloat16 fails: {error_text(error)}", seconds=_medians(timed))
    medians = _medians(timed)
    gain = medians["float32"] / medians["bfloat16"]
    return Choice("bfloat16" if gain >= MIN_GAIN else "float32", f"bfloat16 is {gain:.2f} times as fast", medians)


def _medians(timed: Mapping[Precision, list[float]]) -> dict[str, float]:
    return {name: float(f"{statistics.median(each):.4g}") for name, each in timed.items() if each}


def _seconds(run: Callable[[Precision], object], precision: Precision, device: torch.device) -> float:
    there = hardware(device)
    there.synchronise()
    started = time.perf_counter()
    run(precision)
    there.synchronise()
    return time.perf_counter() - started


def _identity(network: nn.Module) -> str:
    """Return a digest of the class of a network and the shapes of its parameters."""
    shapes = [(name, list(value.shape)) for name, value in network.named_parameters()]
    return key_of([type(network).__qualname__, shapes])


def _machine(device: torch.device) -> dict[str, Any]:
    """Return what the speed of a precision depends on beside the network."""
    return {
        "processor": processor_name(),
        "device": hardware(device).name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
