"""Units in a worker process: which code is loaded for them, and what they leave behind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gahbench._util.errors import listing
from gahbench.contracts.unit import Unit
from gahbench.registry.registry import Registry
from gahbench.runs.process_state import moved, process_state, seed_generators
from gahbench.runs.worker import Worker, do_unit, progress_message
from gahbench.store.store import Store


class UnitProcess:
    """Does units in this process, which is for nothing else.

    Parameters
    ----------
    store
        Where finished units are, and go.
    device
        Where networks compute.
    send
        Reports a message.
    should_stop
        Whether the process was asked to stop.
    """

    def __init__(
        self,
        store: Store,
        device: torch.device,
        send: Callable[[dict[str, Any]], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._store, self._device, self._send, self._should_stop = store, device, send, should_stop
        self._loaded: tuple[tuple[Path, ...], tuple[str, ...] | None] | None = None
        self._worker: Worker | None = None
        self._before = process_state()

    def do(self, unit: Unit, files: tuple[Path, ...], packages: list[str] | None) -> dict[str, Any]:
        """Do a unit, and return the message of its end.

        Parameters
        ----------
        files, packages
            The code from outside gahbench that is loaded for it: plugin files, and installed packages; ``None`` for all
            of these.
        """
        code = (files, None if packages is None else tuple(packages))
        seed_generators()
        end = do_unit(lambda one: self._with(code).do(one), unit, self._store, self._should_stop, interruptible=False)
        try:
            names = moved(self._before, process_state())
        except BaseException:
            names = ["what keeps it from being compared"]
        return {**end, "moved": names}

    def _with(self, code: tuple[tuple[Path, ...], tuple[str, ...] | None]) -> Worker:
        """Return the worker that has this code loaded."""
        if self._worker is None or self._loaded != code:
            files, packages = code
            named = [*(file.name for file in files), *(packages if packages is not None else ("installed packages",))]
            if named:
                self._constructing(f"importing {listing(named)}")
            try:
                registry = Registry(files, packages)
            finally:
                if named:
                    self._constructing(None)
            # The folders of plugin files are on it now.
            self._before["sys.path"] = list(sys.path)
            self._loaded, self._worker = code, self._made(registry)
        return self._worker

    def _made(self, registry: Registry) -> Worker:
        return Worker(
            registry,
            self._store,
            self._device,
            progress=lambda progress: self._send({"event": "progress", **progress_message(progress)}),
            note=lambda text: self._send({"event": "note", "text": text}),
            should_stop=self._should_stop,
            constructing=self._constructing,
        )

    def _constructing(self, what: str | None) -> None:
        self._send({"event": "constructing", "what": what})
