"""Hardware, driver and versions of a machine: the first table in the report of ``gpu.py``."""

import os
import platform
import subprocess

import harness
import torch

import gahbench
from gahbench._util.resources import processor_name
from gahbench.devices.hardware import hardware


def main():
    options = harness.options(__doc__, on_devices=True)
    device_hardware = hardware(options.device)
    memory = "" if device_hardware.memory is None else f", {device_hardware.memory / 2**30:.1f} GiB"
    lines = [["device", f"{device_hardware.name}{memory}"]]
    if options.device.type == "cuda":
        lines.append(["driver", driver()])
    cuda = f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}" if torch.version.cuda else ""
    lines += [
        ["torch", torch.__version__ + cuda],
        ["Python", platform.python_version()],
        ["gahbench", gahbench.__version__],
        ["processor", f"{processor_name()}, {options.threads} of {os.cpu_count()} cores"],
        ["compiler", device_hardware.compiler_missing or "torch.compile can be used"],
    ]
    harness.print_table(lines, options)


def driver():
    """Return the version of NVIDIA's driver."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown: {error}"


if __name__ == "__main__":
    main()
