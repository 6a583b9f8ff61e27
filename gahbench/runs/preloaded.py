"""What the fork server of rows imports once, so that its processes need not; imported in that server alone.

The server has no threads of torch and no device, and imports no plugin file.
"""

from __future__ import annotations

import os
import signal

# The terminal's signals are for the coordinator, and the server ends with it.
os.setsid()
for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)

import timm  # noqa: E402, F401

import gahbench.runs.row  # noqa: E402, F401
