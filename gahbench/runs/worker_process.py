"""A worker process: reads units as JSON lines from standard input and reports on standard output.

Started as ``python -m gahbench.runs.worker_process``. Whatever plugins print goes to standard error. It ends when its
standard input does, so that no worker outlives the process that started it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

#: How long a process may go on once the one that started it is gone.
LAST_SECONDS = 20.0


def main() -> None:
    """Run units until a message to stop."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--source", type=Path, action="append", default=[])
    options = arguments.parse_args()
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    for name in ("SIGINT", "SIGTERM", "SIGUSR2"):
        # Schedulers send them to all processes of a job; who started this one gets them, too, and asks it to stop.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: None)
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            try:
                channel.write(json.dumps(message, default=str) + "\n")
                channel.flush()
            except OSError:
                # Nobody listens any more: end as _listen would.
                os._exit(0)

    inbox: queue.Queue[dict[str, Any]] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(inbox, stop), daemon=True).start()

    import torch

    from gahbench._util.resources import keep_freed_blocks
    from gahbench.contracts.unit import Unit
    from gahbench.registry.registry import Registry
    from gahbench.runs.worker import Worker, do_unit, progress_message
    from gahbench.store.store import Store
    from gahbench.training.hardware import chosen_device

    torch.set_num_threads(options.threads)
    keep_freed_blocks()
    worker = Worker(
        Registry(tuple(options.source)),
        Store(options.folder),
        chosen_device(options.device),
        progress=lambda progress: send({"event": "progress", **progress_message(progress)}),
        note=lambda text: send({"event": "note", "text": text}),
        should_stop=stop.is_set,
    )
    send({"event": "ready"})
    while not stop.is_set():
        message = inbox.get()
        if "unit" in message:
            send(do_unit(worker, Unit.of_record(message["unit"])))


def _listen(inbox: queue.Queue[dict[str, Any]], stop: threading.Event) -> None:
    for line in sys.stdin:
        try:
            message = json.loads(line)
        except ValueError:
            continue  # Cut off by the death of whoever wrote it.
        if message.get("stop"):
            stop.set()
        inbox.put(message)
    # Who started this process is gone: a fit writes its checkpoint, and whatever takes longer is cut off.
    stop.set()
    inbox.put({})
    time.sleep(LAST_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main()
