"""Everything that is to be tested and measured on a machine with a GPU, in one command.

Not a test: run it as ``python tests/bench/gpu.py --published DIR``, DIR being a folder with the code of Kadkhodaie et
al. 2024; without it our side is measured alone. It runs the tests in ``tests/gpu`` and then the benches, each in a
process of its own that may fail alone, and ends with a table of what was run. ``--only training`` runs one section. To
try it without a GPU: ``--device cpu --small``.

A machine with torch but without an index of packages gets the others as wheels, made on another machine with::

    pip wheel --no-deps --wheel-dir wheels .
    pip freeze --exclude-editable --exclude gahbench --exclude torch --exclude torchvision > all.txt
    grep -viE "^(nvidia|triton|cuda)" all.txt > needed.txt
    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
        --platform manylinux2014_x86_64 --dest wheels -r needed.txt

in an environment with ``.[test]`` installed, and ``--wheels wheels`` there. Nothing is installed on the machine itself:
they go to a temporary folder. This file needs nothing but Python.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import smoke

BENCHES = Path(__file__).resolve().parent
TESTS = BENCHES.parent / "gpu"

#: Fits that do not fill a GPU, for one worker and several.
WORKERS = """
name: workers
datasets:
  - discs: {{size: {size}}}
entrants:
  - unet: {{width: {width}, levels: 2}}
  - oracle-threshold: {{basis: haar}}
baseline: oracle-threshold[haar]
training: {{steps: {steps}, batch_size: {batch}, compile: never, validations: 1}}
seeds: {seeds}
scoring: {{sigmas: [0.1, 0.3], images: 4, metrics: [psnr]}}
"""


@dataclass
class Part:
    """One command of a section.

    Parameters
    ----------
    section, name
        What it measures.
    command
        Arguments of Python.
    """

    section: str
    name: str
    command: list[str]
    seconds: float = 0.0
    status: int = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all parts and print what became of them."""
    parser = argparse.ArgumentParser(description="Tests and benches on a GPU.")
    parser.add_argument("--published", type=Path, metavar="DIR", help="folder of the published code")
    parser.add_argument(
        "--wheels", type=Path, metavar="DIR", help="folder with wheels of the packages that are missing"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes of seconds, to try the command itself")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION", help=str(SECTIONS))
    options = smoke.parse(parser, "--device cpu --small --only overhead", arguments)
    with tempfile.TemporaryDirectory() as scratch:
        environment = environment_of(options, Path(scratch))
        print_machine(options, environment)
        parts = [part for part in all_parts(options, Path(scratch)) if part.section in options.only]
        for part in parts:
            print(f"\n== {part.section}: {part.name}", flush=True)
            started = time.monotonic()
            # Elsewhere than in the repository: what is installed is to be imported, not what lies here.
            out = subprocess.DEVNULL if part.section == "workers" else None
            command = [sys.executable, *part.command]
            part.status = subprocess.run(command, env=environment, cwd=scratch, stdout=out).returncode
            part.seconds = time.monotonic() - started
    print_summary(parts)
    sys.exit(any(part.status for part in parts))


def environment_of(options: argparse.Namespace, scratch: Path) -> dict[str, str]:
    """Return the environment of all commands, with the wheels unpacked to where they find them."""
    environment = {**os.environ, "GAHBENCH_TEST_DEVICE": "cpu" if options.device == "cpu" else "cuda:0"}
    if options.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if options.wheels is not None:
        wheels = sorted(map(str, options.wheels.resolve().glob("*.whl")))
        if not wheels:
            sys.exit(f"error: {options.wheels} has no wheels")
        target = scratch / "packages"
        install = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--target",
            str(target),
        ]
        subprocess.run([*install, *wheels], check=True)
        paths = [str(target), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


def print_machine(options: argparse.Namespace, environment: dict[str, str]) -> None:
    """Print what computes; end with an error if there is no GPU, or a package is missing."""
    code = (
        "import gahbench, platform, pytest, torch; "
        f"device = torch.device({options.device!r}); "
        "name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'; "
        "print(f'{name}; Python {platform.python_version()}, torch {torch.__version__}')"
    )
    if subprocess.run([sys.executable, "-c", code], env=environment, cwd=tempfile.gettempdir()).returncode:
        sys.exit("error: this Python needs torch with a GPU, gahbench and pytest; see --wheels, and --device cpu")


def all_parts(options: argparse.Namespace, scratch: Path) -> list[Part]:
    """Return the commands of every section."""
    device, small = ["--device", options.device], options.small
    published = [] if options.published is None else ["--published", str(options.published.resolve())]

    def bench(section: str, name: str, script: str, given: str) -> Part:
        return Part(section, name, [str(BENCHES / script), *given.split()])

    parts = [Part("tests", "tests/gpu", ["-m", "pytest", "-n", "0", "-rs", str(TESTS)])]
    for width, size, batch in [(4, 8, 4)] if small else [
        (width, size, batch) for size in (40, 80) for batch in (128, 512) for width in (16, 32, 64)
    ]:  # fmt: skip
        given = f"--widths {width} --size {size} --batch {batch} --rounds {1 if small else 3} --only throughput"
        given += " --leg-seconds 0.05" if small else " --compile"
        part = bench("training", f"width {width}, {size}x{size}, batch {batch}", "training_throughput.py", given)
        parts.append(part)
    given = "--overhead-width 4 --overhead-steps 5 --rounds 1" if small else ""
    parts.append(bench("overhead", "of the runner", "training_throughput.py", f"--only overhead {given}"))
    given = "--width 4 --batch 8 --steps 5 --rounds 1 --datasets discs[size=16]" if small else "--steps 300"
    parts.append(bench("ahead", "images made in a thread", "images_ahead.py", given))
    given = "--width 8 --levels 1 --size 16 --training 60 --count 2 --alone 1 --rounds 1" if small else "--count 256"
    parts.append(bench("sampling", "against the published routine", "sampling_speed.py", given))
    given = "--width 8 --levels 1 --size 16 --steps 20 --pairs 4 --large 0" if small else ""
    parts.append(bench("jacobian", "against the published routine", "jacobian_speed.py", given))
    for part in parts[1:]:
        part.command += device
    given = "--size 16 --images 64 --rounds 1 --stream 640" if small else ""
    parts.append(bench("c-alpha", "drawn on the CPU", "c_alpha_generation.py", given))
    for part in parts[1:]:
        if "images_ahead" not in part.command[0]:
            part.command += published
    return [*parts, *suites(options, scratch)]


def suites(options: argparse.Namespace, scratch: Path) -> list[Part]:
    """Return the runs of suites: small fits by one worker and by several on the GPU, and the suite ``quick``."""
    suite = scratch / "workers.yaml"
    sizes = {"size": 16, "width": 4, "steps": 5, "batch": 4, "seeds": [0, 1]}
    if not options.small:
        sizes = {"size": 40, "width": 16, "steps": 2000, "batch": 128, "seeds": list(range(8))}
    suite.write_text(WORKERS.format(**sizes), encoding="utf-8")
    run = ["-m", "gahbench", "run"]
    parts = []
    for workers in (1, 2) if options.small else (1, 2, 4):
        given = [str(suite), "--out", str(scratch / f"workers-{workers}"), "--workers", str(workers)]
        parts.append(Part("workers", f"{workers} on one {options.device}", [*run, *given]))
    quick = [str(suite) if options.small else "quick", "--out", str(scratch / "quick")]
    return [*parts, Part("quick", "a suite, start to board", [*run, *quick])]


def print_summary(parts: Sequence[Part]) -> None:
    """Print what was run, how long it took and how it ended."""
    print("\nsection   part                               seconds  status")
    first = next((part.seconds for part in parts if part.section == "workers"), 0.0)
    for part in parts:
        status = "failed" if part.status else "ok"
        if part.section == "workers" and not part.status:
            status += f", {first / part.seconds:.1f} times as fast as the first"
        print(f"{part.section:9} {part.name:33} {part.seconds:8.1f}  {status}")


SECTIONS = ("tests", "training", "overhead", "ahead", "sampling", "jacobian", "c-alpha", "workers", "quick")

if __name__ == "__main__":
    main()
