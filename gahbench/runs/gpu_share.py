"""How many workers share a GPU."""

from __future__ import annotations

from collections.abc import Iterable

from gahbench.contracts.unit import Unit

#: Multiply-adds of a training step below which a large GPU mostly waits for the next one to be started: about a
#: millisecond's worth.
FILLING_WORK = 2e11
#: Memory that a worker of small networks needs: libraries, a data set, activations of a batch.
WORKER_BYTES = 8 << 30
MAX_WORKERS = 4


def workers_per_gpu(units: Iterable[Unit], memory: int, processors: int) -> int:
    """Return how many workers should share a GPU, by the networks that are to be trained.

    Parameters
    ----------
    units
        Those that are left to do.
    memory
        Of the GPU, in bytes.
    processors
        For each GPU, each of which feeds one worker.
    """
    steps = [work for unit in units if unit.kind == "fit" and (work := _step_work(unit)) is not None]
    wanted = int(FILLING_WORK / max(steps)) if steps else 1
    return max(1, min(wanted, MAX_WORKERS, memory // WORKER_BYTES, processors))


def _step_work(unit: Unit) -> float | None:
    """Return the multiply-adds of a training step; ``None`` where they are not known."""
    steps = unit.payload["training"].get("steps")
    return unit.work / steps if isinstance(steps, int) and steps and 0 < unit.work < float("inf") else None
