"""Run all tests and benchmarks for a machine with a GPU, with one command.

Run ``python tests/bench/gpu.py --all --published DIR > page.md``, where DIR is a folder with the code of Kadkhodaie et
al. 2024; without it, only gahbench is measured. The tests in ``tests/gpu`` and the benchmarks run in separate
processes, which may fail independently. The command prints a report in Markdown for ``.docs/guide/hardware.md``; the
output of the processes goes to standard error. ``--only training`` runs one section. Without a GPU, ``--smoke`` runs
everything on the CPU, on sizes too small to measure anything.

If the machine has torch but no access to a package index, build wheels of the other packages on another machine with::

    pip wheel --no-deps --wheel-dir wheels .
    pip freeze --exclude-editable --exclude gahbench --exclude torch --exclude torchvision > all.txt
    grep -viE "^(nvidia|triton|cuda)" all.txt > needed.txt
    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
        --platform manylinux2014_x86_64 --dest wheels -r needed.txt

in an environment with ``.[test]`` installed, and pass ``--wheels wheels``. The wheels are installed to a temporary
folder, not into the Python of the machine. This script only needs the standard library.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gpu_page import TITLES, Part, page

BENCHES = Path(__file__).resolve().parent
TESTS = BENCHES.parent / "gpu"

#: A suite of fits that do not fill a GPU, run by one worker and by several.
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
#: Options with which the suite ``quick`` takes seconds.
SMALL_QUICK = "--set training.steps=2 --set training.warmup=0 --set scoring.images=2 --dataset discs --seed 0"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="run all sections")
    parser.add_argument("--only", nargs="+", choices=TITLES, default=[], metavar="SECTION", help=", ".join(TITLES))
    parser.add_argument("--published", type=Path, metavar="DIR", help="folder of the published code")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="folder with wheels of missing packages")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda; cpu with --smoke")
    parser.add_argument(
        "--smoke", action="store_true", help="run everything in a minute, on sizes too small to measure anything"
    )
    options = parser.parse_args()
    options.device = options.device or ("cpu" if options.smoke else "cuda")
    options.all |= options.smoke and not options.only
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if not (options.all or options.only):
        parser.error("either --all or --only is required")
    remarks = ["This is a trial of the command, on sizes too small to measure anything."] if options.smoke else []
    with tempfile.TemporaryDirectory() as scratch:
        environment = environment_of(options, Path(scratch))
        environment["GAHBENCH_TEST_DEVICE"] = {"cuda": "cuda:0"}.get(options.device, options.device)
        first, *parts = all_parts(options, Path(scratch))
        run(first, environment, scratch)
        if first.status:
            sys.exit("error: this Python needs torch with a GPU, and gahbench; see --wheels, and --smoke")
        parts = [part for part in parts if not options.only or part.section in options.only]
        try:
            with ThreadPoolExecutor(2) as pool:
                # Timings need an otherwise idle machine; with --smoke there are no timings, so parts run concurrently.
                list((pool.map if options.smoke else map)(lambda part: run(part, environment, scratch), parts))
        finally:
            # Print the report also after an interruption.
            print(page([first, *parts], options.device, remarks))
    sys.exit(any(part.status for part in parts))


def environment_of(options, scratch):
    """Install the wheels, and return the environment variables for all commands."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if options.device != "cuda":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if options.wheels is not None:
        wheels = sorted(map(str, options.wheels.resolve().glob("*.whl")))
        if not wheels:
            sys.exit(f"error: {options.wheels} has no wheels")
        target = str(scratch / "packages")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", target]
        subprocess.run([*install, *wheels], check=True, stdout=sys.stderr)
        environment["PYTHONPATH"] = os.pathsep.join([target, *filter(None, [os.environ.get("PYTHONPATH")])])
    return environment


def run(part, environment, folder):
    """Run a part, and copy its output to standard error."""
    started = time.monotonic()
    # Run outside the repository, so that the installed package is imported.
    with subprocess.Popen(
        [sys.executable, *part.command],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                print(f"{part.section}, {part.name}: {line}", end="", file=sys.stderr, flush=True)
                part.output.append(line.strip())
        except BaseException:
            process.terminate()
            raise
    part.status, part.seconds = process.returncode, time.monotonic() - started


def all_parts(options, scratch):
    """Return the commands of all sections; the first describes the machine."""
    published = [] if options.published is None else ["--published", str(options.published.resolve())]
    parts = []

    def bench(section, name, script, settings=""):
        tables = scratch / f"{len(parts)}.jsonl"
        command = [str(BENCHES / script), *settings.split(), *(["--smoke"] if options.smoke else [])]
        parts.append(Part(section, name, [*command, "--device", options.device, "--json", str(tables)], tables))
        return parts[-1]

    bench("machine", "versions", "machine_facts.py")
    parts.append(Part("tests", "tests/gpu", ["-m", "pytest", "-n", "0", "-rsfE", str(TESTS)]))
    settings = "--size 40 --batch 512 --rounds 2 --leg-seconds 1 --only throughput"
    # Compiling on a CPU would take minutes.
    settings += " --compile" if options.device != "cpu" else ""
    for width in (16,) if options.smoke else (16, 32, 64, 128):
        part = bench("training", f"{width} channels", "training_throughput.py", f"--widths {width} {settings}")
        part.command += published
    bench("runner", "one fit", "training_throughput.py", "--only overhead")
    bench("ahead", "two datasets", "prefetching.py", "--steps 300")
    bench("sampling", "of a UNet", "sampling_speed.py", "--count 256").command += published
    bench("jacobian", "of a UNet", "jacobian_speed.py", "--width 64 --levels 2 --size 40").command += published
    bench("scoring", "of denoised images", "scoring_speed.py", "--metrics psnr ssim slope --images 1024")
    bench("scoring", "of Jacobians", "scoring_speed.py", "--metrics alignment direction --images 8")
    return [*parts, *suites(options, scratch)]


def suites(options, scratch):
    """Return the runs of suites: small fits by one and several workers, and the suite ``quick``."""
    suite = scratch / "workers.yaml"
    sizes = {"size": 16, "width": 4, "steps": 5, "batch": 4, "seeds": [0, 1]}
    if not options.smoke:
        sizes = {"size": 40, "width": 16, "steps": 2000, "batch": 128, "seeds": list(range(8))}
    suite.write_text(WORKERS.format(**sizes), encoding="utf-8")
    command = ["-m", "gahbench", "run", "--device", options.device]
    parts = []
    for workers in (1, 2) if options.smoke else (1, 2, 3, 4):
        settings = [str(suite), "--out", str(scratch / f"workers-{workers}"), "--workers", str(workers)]
        parts.append(Part("workers", str(workers), [*command, *settings]))
    settings = ["quick", "--out", str(scratch / "quick"), *(SMALL_QUICK.split() if options.smoke else [])]
    return [*parts, Part("quick", "from start to board", [*command, *settings])]


if __name__ == "__main__":
    main()
