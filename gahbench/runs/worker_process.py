"""The worker process, which runs units one after the other and reports to its parent.

The process is started as ``python -m gahbench.runs.worker_process DESCRIPTOR FOLDER THREADS DEVICE``. It loads only the
plugin files and packages that its units name, and ends when its parent ends.
"""

from __future__ import annotations

import faulthandler
import functools
import os
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gahbench.runs.protocol import Link


def main() -> None:
    """Run units until the parent asks to stop."""
    descriptor, folder, threads, device = sys.argv[1:]
    faulthandler.enable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        # Schedulers send signals to all processes of a job. The parent receives them too, and asks its workers to stop.
        signal.signal(number, lambda number, frame: None)
    try:
        run_units(Link(int(descriptor)), Path(folder), int(threads), device)
    except BaseException:
        # Threads that a plugin has left running must not keep the process alive.
        traceback.print_exc()
        os._exit(1)


def run_units(link: Link, folder: Path, threads: int, device_name: str) -> None:
    """Run the units that arrive, until the parent asks to stop or has ended."""
    # These imports take seconds, during which heartbeats are sent.
    import torch

    from gahbench._util.error_text import one_line
    from gahbench._util.files import StorageError
    from gahbench._util.resources import keep_freed_blocks
    from gahbench.contracts.unit import Unit
    from gahbench.devices.hardware import hardware
    from gahbench.registry.plugin import watch
    from gahbench.registry.registry import Registry
    from gahbench.runs.worker import Worker
    from gahbench.store.store import Store

    torch.set_num_threads(threads)
    keep_freed_blocks()
    device, store = hardware(device_name), Store(folder)
    device.use_float32()
    watch.report = lambda name: link.send("constructing", plugin=name)

    @functools.lru_cache(1)
    def worker(files: tuple[str, ...], packages: tuple[str, ...]) -> Worker:
        return Worker(
            lambda: Registry(tuple(map(Path, files)), packages),
            store,
            device,
            progress=lambda progress: link.send("progress", **asdict(progress)),
            note=lambda text: link.send("note", text=text),
            should_stop=link.stop.is_set,
        )

    def run_unit(record: dict[str, Any], files: list[str], packages: list[str]) -> str:
        seed_generators()
        unit = Unit.from_record(record)
        try:
            end = worker(tuple(files), tuple(packages)).run(unit, interruptible=False)
        except StorageError as error:
            file_name = "" if error.filename is None else f": {error.filename}"
            end = {"event": "unstored", "error": one_line(f"{error.strerror}{file_name}"), "number": error.errno}
        link.send(**end, unit=unit.folder)
        return str(end["event"])

    # Check the device before reporting as ready, so that a device lost at the start is not blamed on a unit.
    device.check()
    link.send("ready")
    while not link.stop.is_set():
        message = link.inbox.get()
        if "unit" in message and run_unit(message["unit"], message["files"], message["packages"]) == "lost":
            # From now on, every use of the device fails in this process.
            break


def seed_generators() -> None:
    """Seed the default generators of torch, numpy and Python, so that a unit does not depend on earlier units."""
    import random

    import numpy as np
    import torch

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002, plugins may use the global generator
    random.seed(0)


if __name__ == "__main__":
    main()
