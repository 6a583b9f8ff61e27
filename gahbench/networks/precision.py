"""Choice between float32 and bfloat16 for a network, by timing it.

The instruction set of a processor does not tell whether bfloat16 is faster: with AVX512-BF16 but without matrix units
(AMX) it is slower than float32, and with AMX the gain depends on the widths of the layers. Therefore a few passes are
timed in both precisions, once for each network, shape and kind of machine. The choice is stored in the results folder,
so that all seeds share it.
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
from pydantic_core import from_json
from torch import nn

from gahbench._util.errors import error_text
from gahbench._util.files import names_in, read_regular, temporary_name, write_json
from gahbench._util.records import key_of
from gahbench._util.resources import processor_name
from gahbench.devices.hardware import hardware, is_out_of_memory

Precision = Literal["float32", "bfloat16"]

#: Minimum speedup for which bfloat16 is chosen, so that small differences do not change the choice between runs.
MIN_GAIN = 1.15
#: Minimum seconds of work in float32 for which both precisions are timed.
MIN_SECONDS = 60.0
#: Maximum share of the planned work that timing may take.
MAX_SHARE = 0.01
#: Maximum number of passes that are timed in each precision.
MAX_PASSES = 5
#: Maximum size in bytes of a file with a choice.
MAX_BYTES = 10_000


@dataclass(frozen=True)
class Choice:
    """A precision and the reason for its choice.

    Parameters
    ----------
    precision
        The chosen precision.
    reason
        Why the precision was chosen; ``set`` if it was requested.
    seconds
        Median seconds of the timed passes, by precision.
    note
        A note for records if another machine chose another precision for the same network; otherwise ``None``.
    """

    precision: Precision = "float32"
    reason: str = "set"
    seconds: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None


class Choices:
    """Choices of precisions, stored in a results folder if there is one, else only in memory."""

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
        """Return the stored choice for a network on this machine, or measure and store it.

        Parameters
        ----------
        work
            Kind of work, such as ``training`` or ``sampling``.
        network
            The network; only its class and the shapes of its parameters matter.
        shape
            Shape of the images of a pass.
        device
            Device on which the network computes.
        passes
            Planned number of passes.
        run
            Function that computes a pass in a precision.
        """
        if not hardware(device).has_bfloat16:
            return Choice(reason="the hardware has no bfloat16 instructions")
        # The amount of work is part of the key, because short work is not timed.
        task = {"work": work, "network": _identity(network), "shape": list(shape), "passes": f"{passes:.3g}"}
        fields = {**task, **_machine(device)}
        key = key_of(fields)
        choice = self._known.get(key)
        if choice is None and (stored := self._read(f"{key}.json")) is not None:
            choice = stored[1]
        if choice is None:
            choice = self._store(key, fields, measure(run, passes, device))
        self._known[key] = choice
        note = self._difference_note(key, task, choice)
        return choice if note is None else replace(choice, note=note)

    def _read(self, file_name: str) -> tuple[dict[str, Any], Choice] | None:
        """Return the fields and the choice in a file, or ``None`` if the file is missing or damaged."""
        if self._folder is None:
            return None
        try:
            content = from_json(read_regular(self._folder / file_name, MAX_BYTES, follow=False))
            precision = content["precision"]
            if precision not in ("float32", "bfloat16"):
                return None
            seconds = {str(name): float(value) for name, value in content["seconds"].items()}
            return content, Choice(precision, str(content["reason"]), seconds)
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return None

    def _store(self, key: str, fields: Mapping[str, Any], choice: Choice) -> Choice:
        """Store a choice and return it, or return the choice that another worker stored first."""
        if self._folder is None:
            return choice
        record = {**fields, **{name: value for name, value in asdict(choice).items() if name != "note"}}
        file = self._folder / f"{key}.json"
        temporary = temporary_name(file)
        # A unit does not fail if the choice cannot be written; the next process measures again.
        with contextlib.suppress(OSError):
            write_json(temporary, record)
            try:
                os.link(temporary, file)
            except FileExistsError:
                if (first := self._read(file.name)) is not None:
                    choice = first[1]
                else:
                    temporary.replace(file)  # The existing file is damaged.
            finally:
                temporary.unlink(missing_ok=True)
        return choice

    def _difference_note(self, key: str, task: Mapping[str, Any], choice: Choice) -> str | None:
        """Return a note if another machine stored a different precision for the same network in this folder."""
        if self._folder is None:
            return None
        for name in sorted(names_in(self._folder)):
            if name.startswith((".", key)) or (stored := self._read(name)) is None:
                continue
            content, other = stored
            if other.precision != choice.precision and all(content.get(name) == value for name, value in task.items()):
                return (
                    f"{task['work']} in {choice.precision} here ({choice.reason}), while this folder has "
                    f"{other.precision} from another machine ({content.get('processor')}, {content.get('device')}, "
                    f"{content.get('threads')} threads)"
                )
        return None


def pass_seconds(
    run: Callable[[Precision], object], precision: Precision, passes: float, device: torch.device
) -> float | None:
    """Return the seconds of a pass, timed after a warm-up pass; ``None`` if too few passes are planned."""
    if passes * MAX_SHARE < 2:
        return None
    _time_pass(run, precision, device)
    return _time_pass(run, precision, device)


def measure(run: Callable[[Precision], object], passes: float, device: torch.device) -> Choice:
    """Time alternating passes in float32 and bfloat16, and return the precision to use."""
    if passes * MAX_SHARE < 2:
        return Choice(reason="too few passes to time one")
    first = _time_pass(run, "float32", device)
    timed: dict[Precision, list[float]] = {"float32": [_time_pass(run, "float32", device)], "bfloat16": []}
    planned = passes * timed["float32"][0]
    spent = first + timed["float32"][0]
    if planned < MIN_SECONDS:
        return Choice(reason=f"less than {MIN_SECONDS:.0f} s of work", seconds=_medians(timed))
    if spent + 3 * timed["float32"][0] > MAX_SHARE * planned:
        return Choice(reason="too few passes to time both precisions", seconds=_medians(timed))
    try:
        spent += _time_pass(run, "bfloat16", device)
        for index in range(MAX_PASSES):
            # Always time the first pair, since the warm-up is done.
            if index and spent + sum(seconds[-1] for seconds in timed.values()) > MAX_SHARE * planned:
                break
            for precision in ("bfloat16", "float32") if index else ("bfloat16",):
                timed[precision].append(_time_pass(run, precision, device))
                spent += timed[precision][-1]
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return Choice(reason=f"bfloat16 fails: {error_text(error)}", seconds=_medians(timed))
    medians = _medians(timed)
    gain = medians["float32"] / medians["bfloat16"]
    return Choice("bfloat16" if gain >= MIN_GAIN else "float32", f"bfloat16 is {gain:.2f} times as fast", medians)


def _medians(timed: Mapping[Precision, list[float]]) -> dict[str, float]:
    return {name: float(f"{statistics.median(seconds):.4g}") for name, seconds in timed.items() if seconds}


def _time_pass(run: Callable[[Precision], object], precision: Precision, device: torch.device) -> float:
    device_hardware = hardware(device)
    device_hardware.synchronise()
    started = time.perf_counter()
    run(precision)
    device_hardware.synchronise()
    return time.perf_counter() - started


def _identity(network: nn.Module) -> str:
    """Return a digest of the class of a network and of the shapes of its parameters."""
    shapes = [(name, list(value.shape)) for name, value in network.named_parameters()]
    return key_of([type(network).__qualname__, shapes])


def _machine(device: torch.device) -> dict[str, Any]:
    """Return the facts about this machine on which the speed of a precision depends."""
    return {
        "processor": processor_name(),
        "device": hardware(device).name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
