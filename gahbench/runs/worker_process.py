"""A worker process: does the units that it is given, one after the other, and reports.

Started as ``python -m gahbench.runs.worker_process``. Messages go through two pipes (:mod:`gahbench.runs.protocol`);
standard output and error are for what plugins print. It ends when the pipe of commands does, so that no worker outlives
the process that started it.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import json
import os
import queue
import signal
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from gahbench.runs.protocol import BEAT_SECONDS, REPORTS_CLOSED, encode, high_descriptor

#: How long a process may go on once the one that started it is gone.
LAST_SECONDS = 20.0


def main() -> None:
    """Do units until a message to stop."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--commands", type=int, required=True)
    arguments.add_argument("--reports", type=int, required=True)
    options = arguments.parse_args()
    link = Link(high_descriptor(options.commands), high_descriptor(options.reports))
    faulthandler.enable()
    for name in ("SIGINT", "SIGTERM", "SIGUSR2"):
        # Schedulers send them to all processes of a job; who started this one gets them, too, and asks it to stop.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: None)
    link.open()
    try:
        _work(link, options)
    except BaseException:
        # Threads that a plugin has left must not keep the process.
        traceback.print_exc()
        os._exit(1)


def _work(link: Link, options: argparse.Namespace) -> None:
    import torch

    from gahbench._util.resources import keep_freed_blocks
    from gahbench.contracts.unit import Unit
    from gahbench.networks.trained import use_float32
    from gahbench.runs.unit_process import UnitProcess
    from gahbench.store.store import Store
    from gahbench.training.hardware import chosen_device

    torch.set_num_threads(options.threads)
    keep_freed_blocks()
    device = chosen_device(options.device)
    use_float32(device)
    process = UnitProcess(Store(options.folder), device, link.send, link.stop.is_set)
    link.send({"event": "ready"})
    while not link.stop.is_set():
        message = link.inbox.get()
        if "unit" in message:
            unit = Unit.of_record(message["unit"])
            end = process.do(unit, tuple(Path(file) for file in message["files"]), message["packages"])
            link.send({**end, "unit": unit.folder})
            link.ended = unit.folder


class Link:
    """The pipes of a worker process.

    Parameters
    ----------
    commands, reports
        The descriptors of the pipes that it reads from and writes to.
    """

    def __init__(self, commands: int, reports: int) -> None:
        self.inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stop = threading.Event()
        #: Folder name of the last unit whose end was reported.
        self.ended: str | None = None
        self._commands = os.fdopen(commands, encoding="utf-8", errors="replace")
        self._reports = reports
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._secret = ""

    def open(self) -> None:
        """Read the secret, and begin to listen and to give signs of life."""
        self._secret = json.loads(self._commands.readline() or "{}").get("secret", "")
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Report; the process ends if it cannot."""
        if os.getpid() != self._process:
            return  # A fork, made by a plugin.
        line = encode({"secret": self._secret, "process": self._process, **message})
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._reports, line) :]
            except OSError as error:
                # Nobody listens any more, or a plugin has closed the pipe.
                os._exit(0 if error.errno == errno.EPIPE else REPORTS_CLOSED)

    def _listen(self) -> None:
        for line in self._commands:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # Cut off by the death of whoever wrote it.
            if message.get("stop"):
                self.stop.set()
            self.inbox.put(message)
        # Who started this process is gone: a fit writes its checkpoint, and whatever takes longer is cut off.
        self.stop.set()
        self.inbox.put({})
        time.sleep(LAST_SECONDS)
        if os.getpgrp() == os.getpid():
            # With all that plugins have started.
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(0)

    def _beat(self, sleep: Any = time.sleep) -> None:
        while True:
            self.send({"event": "alive", "ended": self.ended})
            sleep(BEAT_SECONDS)


if __name__ == "__main__":
    main()
