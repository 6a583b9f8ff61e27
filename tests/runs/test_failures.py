"""Why units failed: tracebacks that end at the user's own line."""

import pytest

import gahbench
from gahbench._util.error_text import without_library_frames
from gahbench.runs.status import failures

#: A traceback of a worker on another machine.
REMOTE = """Traceback (most recent call last):
  File "/home/ann/gahbench/gahbench/runs/worker.py", line 97, in do
    self._fit(unit, attempt)
  File "/home/ann/mine.py", line 20, in forward
    return self.block(noisy)
           ^^^^^^^^^^^^^^^^^
  File "/opt/python/lib/python3.12/site-packages/torch/nn/modules/module.py", line 1778, in _call_impl
    return forward_call(*args, **kwargs)
  [Previous line repeated 2 more times]
RuntimeError: shapes differ:
  File "of the message", line 3, in it

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/opt/python/lib/python3.12/contextlib.py", line 9, in __exit__
    raise
  File "/home/ann/mine.py", line 21, in forward
    raise ValueError
ValueError
"""
TRIMMED = """Traceback (most recent call last):
  File "/home/ann/mine.py", line 20, in forward
    return self.block(noisy)
           ^^^^^^^^^^^^^^^^^
RuntimeError: shapes differ:
  File "of the message", line 3, in it

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/home/ann/mine.py", line 21, in forward
    raise ValueError
ValueError"""


def test_a_traceback_loses_the_frames_of_libraries_on_any_machine():
    assert without_library_frames(REMOTE) == TRIMMED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Fatal Python error: Segmentation fault\n",
        'Traceback (most recent call last):\n  File "/usr/lib/python3.11/json/decoder.py", line 1, in f\nValueError',
    ],
)
def test_a_text_without_a_line_of_the_users_stays_whole(text):
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
        "4 scores not started for lack of a network",
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
