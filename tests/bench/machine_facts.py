"""What a machine computes with: card, driver, versions. The first table of the page of ``gpu.py``."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
from collections.abc import Sequence

import smoke
import torch
from training_common import add_options, print_table

import gahbench
from gahbench._util.resources import processor_name
from gahbench.devices.hardware import hardware


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What a machine computes with.")
    add_options(parser)
    options = smoke.parse(parser, "", arguments)
    there = hardware(options.device)
    memory = "" if there.memory is None else f", {there.memory / 2**30:.1f} GiB"
    lines = [["device", f"{there.name}{memory}"]]
    if options.device.type == "cuda":
        lines.append(["driver", driver()])
    versions = [torch.__version__]
    if torch.version.cuda:
        versions.append(f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    lines.append(["torch", ", ".join(versions)])
    lines.append(["Python", platform.python_version()])
    lines.append(["gahbench", gahbench.__version__])
    lines.append(["processor", f"{processor_name()}, {options.threads} of {os.cpu_count()} cores"])
    lines.append(["compiler", there.compiler_missing or "torch.compile can be used"])
    print_table(lines, options)


def driver() -> str:
    """Return the version of NVIDIA's driver."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown: {error}"


if __name__ == "__main__":
    main()
