"""The state of folders that others publish, or that cannot be written, and why units failed."""

from pathlib import Path

import pytest

import gahbench
from gahbench._util.error_text import without_library_frames
from gahbench.runs.status import failures, status
from gahbench.store.leases import Leases
from gahbench.store.store import Store

PUBLISHED = Path(__file__).parents[2] / "results" / "quick"


def test_a_published_board_says_that_its_units_are_not_there(command):
    found = status(PUBLISHED)
    assert found.is_board_alone
    code, printed, _ = command("status")(PUBLISHED, "--watch")
    assert code == 0
    count = found.done + found.failed + found.blocked + found.waiting
    assert printed.splitlines() == [
        f"suite quick: a board of {count} units, which are not in this folder; 'gahbench leaderboard' prints it"
    ]


def test_a_folder_that_cannot_be_written_shows_its_claims(out, monkeypatch):
    assert not status(out).is_board_alone
    store = Store(out)
    unit = next(one for one in store.recorded_units() if one.kind == "score")
    store.move_away([unit.folder], "replaced")
    leases = Leases(store.leases)
    leases.take(unit.folder)
    opened = Path.open

    def refuse(path, mode="r", *arguments, **options):
        if path.is_relative_to(out) and set(mode) & set("xwa+"):
            raise OSError(30, "Read-only file system", str(path))
        return opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    (running,) = status(out).running
    assert (running.unit.folder, running.is_lost) == (unit.folder, False)
    assert 0 <= running.seconds < 60
    monkeypatch.setattr(Path, "open", opened)
    leases.close()


#: A traceback of a worker on another machine; lines that begin with a minus are those of libraries.
REMOTE = """Traceback (most recent call last):
-  File "/home/ann/gahbench/gahbench/runs/worker.py", line 97, in do
-    self._fit(unit, attempt)
  File "/home/ann/mine.py", line 20, in forward
    return self.block(noisy)
           ^^^^^^^^^^^^^^^^^
-  File "/opt/python/lib/python3.12/site-packages/torch/nn/modules/module.py", line 1778, in _call_impl
-    return forward_call(*args, **kwargs)
-  [Previous line repeated 2 more times]
RuntimeError: shapes differ:
  File "of the message", line 3, in it

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
-  File "/opt/python/lib/python3.12/contextlib.py", line 9, in __exit__
-    raise
  File "/home/ann/mine.py", line 21, in forward
    raise ValueError
ValueError"""


def test_a_traceback_loses_the_frames_of_libraries_unless_no_line_is_the_users():
    trimmed = "\n".join(line for line in REMOTE.splitlines() if not line.startswith("-"))
    assert without_library_frames(REMOTE.replace("\n-", "\n") + "\n") == trimmed
    library = "Traceback (most recent call last):\n  File '/usr/lib/python3.11/json/decoder.py', line 1, in f\nError"
    library = library.replace("'", '"')
    for text in ("", "Fatal Python error: Segmentation fault\n", library):
        assert without_library_frames(text) == text


@pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")
def test_why_prints_a_traceback_to_the_users_line_without_control_characters(
    write_suite, write_plugin, tmp_path, command
):
    out = tmp_path / "out"
    body = "if len(noisy) > 3:\n    raise RuntimeError('no \\x1b[2J luck')\nreturn noisy - self.noise(noisy)"
    plugin, two = write_plugin("unlucky", body), ["unlucky", "unlucky[width=3]"]
    gahbench.run(write_suite(), out, entrants=two, plugins=[plugin], engine="inline[trusted=true]")
    call = command("why")
    status, printed, _ = call(out, "unl*")
    lines = printed.rstrip().splitlines()
    assert status == 0
    assert lines[:3] == [
        "fit unlucky on discs[size=16] (seed 0)",
        "fit unlucky[width=3] on discs[size=16] (seed 0)",
        "4 scores not started, since the network is missing",
    ]
    assert lines[-3:] == [
        f'    File "{plugin}", line 26, in forward',
        "      raise RuntimeError('no \\x1b[2J luck')",
        "  RuntimeError: no \\x1b[2J luck",
    ]
    # No control characters are sent to the terminal.
    assert "\x1b" not in printed
    assert "worker.py" not in printed
    assert "worker.py" in call(out, "unlucky", "--full")[1]
    assert call(out, "identity")[1] == "no unit of identity has failed\n"
    status, _, errors = call(out, "unluky")
    assert (status, "no entrant 'unluky'; did you mean 'unlucky'?" in errors) == (2, True)
    assert [len(one.units) for one in failures(out)] == [2]
    assert f"'gahbench why {out}' prints the tracebacks" in command("status")(out)[1]
