"""A stand-in for ``gahbench work`` that starts quickly, and a folder of units for it."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

#: The program moves files from todo/ through running/ to done/. Each file contains how many seconds it stays in
#: running/. A termination signal returns the current file to todo/. Files in running/ that were not touched for two
#: seconds return to todo/.
STAND_IN = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
limit = int(sys.argv[2]) if sys.argv[2:] and sys.argv[2].isdecimal() else 1000
ending = False
def end(number, frame):
    # A cancelled job gets one signal from Slurm, and one from its shell.
    global ending
    ending = True
for number in (signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, end)
print("up", os.environ.get("SLURM_CPUS_PER_TASK"), os.environ.get("FROM_SETUP"), flush=True)
def take():
    for file in sorted((folder / "running").iterdir()):
        try:
            if time.time() - file.stat().st_mtime > 2:
                file.rename(folder / "todo" / file.name)
        except FileNotFoundError:
            continue
    for file in sorted((folder / "todo").iterdir()):
        try:
            os.utime(file)  # unlike touch, it does not create the file if another process took it
            return file.rename(folder / "running" / file.name)
        except FileNotFoundError:
            continue
while limit and not ending and len(list((folder / "done").iterdir())) < TOTAL:
    mine = take()
    if mine is None:
        time.sleep(0.2)
        continue
    limit -= 1
    try:
        until = time.time() + float(mine.read_text())
        while time.time() < until and not ending:
            time.sleep(0.05)
            os.utime(mine)
        mine.rename(folder / ("todo" if ending else "done") / mine.name)
    except FileNotFoundError:  # another process took it over
        continue
    print("put back" if ending else "done", mine.name, flush=True)
sys.exit(130 if ending else 0)
"""


class Folder:
    """A folder of units, which are files, and a job with these units."""

    def __init__(self, home, module, monkeypatch, seconds, *arguments):
        self.path = home
        for name in ("todo", "running", "done"):
            (home / name).mkdir(parents=True)
        for index, duration in enumerate(seconds):
            (home / "todo" / str(index)).write_text(str(duration))
        self.total = len(seconds)
        self.script = home / "stand_in.py"
        self.script.write_text(STAND_IN.replace("TOTAL", str(self.total)))
        self.events: list[Any] = []
        units = [SimpleNamespace(kind="fit", key=str(index)) for index in range(self.total)]
        self.job = SimpleNamespace(
            units=units,
            store=SimpleNamespace(folder=home),
            report=self.events.append,
            stop=threading.Event(),
            workers=None,
            threads=1,
        )
        self.command = [sys.executable, "-u", str(self.script), str(home), *arguments]
        monkeypatch.setattr(module, "work_command", lambda job: self.command)
        monkeypatch.setattr(module, "Watch", lambda job: SimpleNamespace(update=self.left))
        monkeypatch.setattr(module, "POLL_SECONDS", 0.3)
        monkeypatch.setattr(module, "FIRST_WAIT_SECONDS", 0.5)
        self.error = None

    def left(self):
        return self.total - len(self.names("done"))

    def names(self, state):
        return sorted(file.name for file in (self.path / state).iterdir())

    def notes(self):
        return "\n".join(event.details["text"] for event in self.events)

    def logs(self):
        return "\n".join(file.read_text() for file in sorted(self.path.glob("logs/*.log")))

    def start(self, engine):
        """Run an engine in a thread."""

        def run():
            try:
                engine.run(self.job)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def join(self, seconds=60):
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"{self.notes()}\n{self.logs()}"
        if self.error is not None:
            raise self.error
