"""Run CI on a copy of the last commit, or some of its steps: ``.ci/run [STEP]...``; ``.ci/run --help`` lists them.

README's two commands run first, in one clone; then two steps run at a time, in the environment that these commands
made, first a step that mostly waits beside one that computes. Each line of output begins with the name of its step. A
table of the steps comes last, then the closing line of README's second command. GAHBENCH_DATA is the folder of real
images and weights, without which their tests skip; REPORTS is a folder that keeps the site.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
#: Debian's packages: a Slurm cluster, file systems with caches, and a browser. Their tests skip without root and apt.
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge", "bindfs", "fuse3", "chromium")
#: Extras whose tests run in one environment.
EXTRAS = ("bm3d", "dask", "deepinv", "docs", "report-test", "slurm", "torchvision")
#: Extras that move each other's dependencies, and have environments of their own.
APART = ("diffusers", "tensorboard", "wandb", "pyiqa", "hf-dataset")
#: Tests of processes and clusters mostly wait, so more can run at once.
MORE = (os.cpu_count() or 1) + 1
BIN = ".venv/bin"
#: Lanes of steps: those that run first and alone, those that mostly wait, and those that run beside them.
LANES = (("first",), ("waiting",), ("working", "release"))


class Step:
    """A step: what it runs, how it ended, and how many tests passed and were skipped."""

    def __init__(self, function: Callable[[Step], str | None], lane: str) -> None:
        self.function, self.name = function, function.__name__
        self.lane, self.result, self.note, self.closing, self.seconds = lane, "not run", "", list[str](), 0.0

    def __call__(self, *words: str | Path, cwd: Path | None = None, **environment: str) -> str:
        """Run a command, by default in the clone; print and return its output, and raise an error if it fails."""
        command = [str(word) for word in words]
        self.say("+ " + " ".join(command))
        settings = {"cwd": cwd or CLONE, "env": os.environ | environment, "text": True, "errors": "replace"}
        lines = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **settings) as process:
            for line in process.stdout:
                lines.append(line.rstrip())
                self.say(lines[-1])
        self.closing += [line for line in lines if re.search(r"\d+ (passed|failed|skipped).* in [\d.]+s", line)]
        if process.returncode:
            raise RuntimeError(f"exit status {process.returncode}: {' '.join(command)}"[:100])
        return "\n".join(lines)

    def pytest(self, *options: str) -> str:
        """Run tests in the environment of developers, by default in one process."""
        developed(self)
        return self(f"{BIN}/pytest", "-n", "0", *options)

    def say(self, line: str) -> None:
        print(f"{self.name:<8} | {line}", flush=True)

    def run(self) -> None:
        start = time.perf_counter()
        try:
            self.note, self.result = self.function(self) or "", "passed"
        except Exception as error:
            self.note, self.result = str(error), "FAILED"
        self.seconds = time.perf_counter() - start
        self.say(f"{self.result} in {self.seconds:.0f} s {self.note}")

    def count(self, outcome: str) -> str:
        return str(sum(int(number) for line in self.closing for number in re.findall(rf"(\d+) {outcome}", line)) or "-")


STEPS: dict[str, Step] = {}
SCRATCH = Path(tempfile.gettempdir(), f"ci-{os.getpid()}")
CLONE = SCRATCH / "clone"
LOCK = threading.Lock()


def step(lane: str) -> Callable[[Callable[[Step], str | None]], Step]:
    """Register a function as a step of a lane."""

    def register(function: Callable[[Step], str | None]) -> Step:
        new = Step(function, lane)
        return STEPS.setdefault(new.name, new)

    return register


def once(function: Callable[[Step], str]) -> Callable[[Step], str]:
    """Let the first step that needs something make it, while others wait."""
    results: list[str] = []

    @functools.wraps(function)
    def call(run: Step) -> str:
        with LOCK:
            if not results:
                results.append(function(run))
        return results[0]

    return call


@once
def debian(run: Step) -> str:
    """Install Debian's packages; return what is missing."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        apt = ["apt-get", "-qq", "-y", "--no-install-recommends"]
        with contextlib.suppress(RuntimeError):
            run(*apt, "update", DEBIAN_FRONTEND="noninteractive")
            run(*apt, "install", *PACKAGES, DEBIAN_FRONTEND="noninteractive")
    programs = {"Slurm": "slurmctld", "bindfs": "bindfs", "Chromium": "chromium"}
    absent = [name for name, program in programs.items() if not shutil.which(program)]
    return f"skipped tests of {', '.join(absent)}, which root installs with apt" if absent else ""


@once
def developed(run: Step) -> str:
    """Make the environment of developers, from that of README's commands if these have run."""
    if not (CLONE / ".venv").exists():
        run("python3", "-m", "venv", ".venv")
    run(f"{BIN}/pip", "install", "--quiet", ".[dev]")
    return ""


def environment(run: Step, *extras: str) -> str:
    """Make an environment with extras that sees the packages of the first; return its Python."""
    developed(run)
    folder = f".venv-{run.name}-{extras[0]}"
    run("python3", "-m", "venv", "--without-pip", folder)
    (first,) = (CLONE / ".venv").glob("lib/python3*/site-packages")
    (CLONE / folder / first.relative_to(CLONE / ".venv") / "first.pth").write_text(f"{first}\n")
    run(f"{folder}/bin/python", "-m", "pip", "install", "--quiet", f"gahbench[{','.join(extras)}]")
    return f"{folder}/bin/python"


def readme_command(end: str) -> list[str]:
    lines = (CLONE / "README.md").read_text().splitlines()
    return ["bash", "-euo", "pipefail", "-c", next(line for line in lines if re.fullmatch(f"python3 .*{end}", line))]


@step("first")
def quick(run: Step) -> None:
    """README's first command"""
    run(*readme_command("gahbench run quick"))


@step("first")
def tests(run: Step) -> None:
    """README's second command; on Python 3.12 or later, where it costs little, with coverage"""
    if sys.version_info < (3, 12):
        run(*readme_command("pytest"))
        return
    run(*readme_command("pytest"), COVERAGE_CORE="sysmon", PYTEST_ADDOPTS="--cov --cov-report=")
    run(f"{BIN}/coverage", "report", "--skip-covered", "--sort=cover")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a") as file:
            file.write(run(f"{BIN}/coverage", "report", "--format=markdown"))


@step("waiting")
def waits(run: Step) -> str:
    """tests that kill processes, and tests on a Slurm cluster"""
    missing = debian(run)
    run.pytest("-n", str(MORE), "-m", "(processes and not slow) or (cluster and not extras)")
    return missing


@step("waiting")
def extras(run: Step) -> str:
    """tests that need extras, among them those in a browser and on a Dask cluster"""
    missing = debian(run)
    test_extras(run, "2", *EXTRAS)
    return missing


def test_extras(run: Step, processes: str, *names: str) -> None:
    python = environment(run, *names)
    output = run(python, "-P", "-m", "pytest", "-n", processes, "-rs", "-m", "extras", "--extras", " ".join(names))
    # Tests in a browser may skip where there is none.
    if "of an extra of gahbench" in output:
        raise RuntimeError(f"tests of {', '.join(names)} were skipped although these extras are installed")


@step("working")
def apart(run: Step) -> None:
    """tests of extras that move each other's dependencies, each in an environment of its own"""
    for name in APART:
        test_extras(run, "0", name)


@step("working")
def slow(run: Step) -> None:
    """tests with full budgets, or on every plugin"""
    run.pytest("-m", "slow and not processes")


@step("working")
def attack(run: Step) -> None:
    """a few attacks of each kind"""
    run.pytest("-m", "attack")


@step("working")
def bench(run: Step) -> None:
    """the scripts of tests/bench, on sizes that measure nothing"""
    run.pytest("-m", "bench")


@step("working")
def site(run: Step) -> None:
    """the site of the published boards and of the documentation, whose tutorials are run"""
    # The tutorials run gahbench, which is in the environment of developers.
    path = f"{CLONE / BIN}{os.pathsep}{os.environ['PATH']}"
    run(".ci/site", f"{os.environ.get('REPORTS', 'reports')}/site", environment(run, "docs"), PATH=path)


@step("working")
def doctests(run: Step) -> None:
    """examples in docstrings"""
    run.pytest("--doctest-modules", "gahbench", "plugins")


@step("working")
def user(run: Step) -> None:
    """a run and a test as a user who can write neither to the clone nor to the home, with settings of another kind"""
    developed(run)
    home, locked, work = (SCRATCH / name for name in ("home", "locked", "work"))
    home.mkdir()
    export(locked)
    run("chmod", "-R", "a-w", locked, home)
    # A folder with runs of others.
    shutil.copytree(CLONE / "runs", work / "runs") if (CLONE / "runs").exists() else work.mkdir()
    # Root may write everywhere, unless it gives its rights up.
    limited = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    settings = {"HOME": str(home), "OMP_NUM_THREADS": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C"}
    options = "--out few --workers 1 --only oracle-* --set scoring.images=2"
    errors_alone = ["bash", "-c", '"$@" 2>&1 > /dev/null', "-"]
    gahbench = [*errors_alone, *limited, CLONE / BIN / "gahbench", "run", "quick", *options.split()]
    lines = run(*gahbench, cwd=work, **settings).splitlines()
    if noise := [line for line in lines if not line.startswith(("[", "board, scores and figures", "next: "))]:
        raise RuntimeError(f"'gahbench run' is not quiet for a user without a home: {noise[0]}")
    pytest = [*limited, CLONE / BIN / "pytest", "-n", "0", "tests/test_isolation.py", "tests/planning/test_keys.py"]
    run(*pytest, cwd=locked, GAHBENCH_CHECKPOINT_SECONDS="1", **settings)


@step("working")
def types(run: Step) -> None:
    """mypy"""
    developed(run)
    run(f"{BIN}/mypy")


@step("working")
def lint(run: Step) -> str:
    """ruff, the layers of imports, and the script of reports"""
    developed(run)
    run(f"{BIN}/ruff", "check", ".")
    run(f"{BIN}/ruff", "format", "--check", ".")
    run(f"{BIN}/lint-imports", "--no-cache")
    if not shutil.which("npx"):
        return "skipped tsc, which needs npx"
    options = "--noEmit --allowJs --checkJs --strict --target es2022 --lib es2022,dom,dom.iterable"
    tsc = ["npx", "--yes", "--package", "typescript@7", "tsc", *options.split()]
    run(*tsc, "gahbench/report/templates/script.js")
    return ""


@step("release")
def oldest(run: Step) -> None:
    """for releases: the tests with the oldest packages that pyproject.toml allows"""
    developed(run)
    run(".ci/package", "oldest", f"{BIN}/python", "tests", LEND_TORCH="1")


@step("release")
def attacks(run: Step) -> None:
    """for releases: hundreds of killed processes, and thousands of attacks, which take hours"""
    run.pytest("-m", "slow and processes")
    run(f"{BIN}/python", "-m", "tests.attack")


def export(folder: Path) -> None:
    """Write the files of the last commit into a new folder."""
    folder.mkdir()
    subprocess.run(f'git -C "{REPOSITORY}" archive HEAD | tar -x -C "{folder}"', shell=True, check=True)


def show(chosen: list[Step]) -> None:
    """Print the table of steps, and the closing line of README's second command, or of the last tests."""
    print(f"\n{'step':<9} {'result':<7} {'passed':>7} {'skipped':>7} {'seconds':>7}")
    for item in chosen:
        counts = f"{item.count('passed'):>7} {item.count('skipped'):>7} {item.seconds:>7.0f}"
        print(f"{item.name:<9} {item.result:<7} {counts} {item.note}".rstrip())
    closing = STEPS["tests"].closing or [line for item in chosen for line in item.closing]
    print(closing[-1] if closing else "no step ran tests")


def work(*queues: deque[Step]) -> None:
    """Run the steps of one queue after the other; several threads may share a queue."""
    for queue in queues:
        with contextlib.suppress(IndexError):
            while True:
                queue.popleft().run()


def main() -> int:
    names = {name: f"  {name:<9} {item.function.__doc__}" for name, item in STEPS.items()}
    epilog = "steps, all by default except those for releases:\n" + "\n".join(names.values())
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(".ci/run", description=__doc__, epilog=epilog, formatter_class=form)
    parser.add_argument("steps", nargs="*", metavar="STEP")
    given = parser.parse_args().steps
    if unknown := [name for name in given if name not in STEPS]:
        parser.error(f"unknown step '{unknown[0]}'; accepted: {', '.join(STEPS)}")
    chosen = [item for item in STEPS.values() if (item.name in given if given else item.lane != "release")]
    os.environ.setdefault("GAHBENCH_DATA", str(REPOSITORY.parent / "shared/data"))
    SCRATCH.mkdir()
    try:
        export(CLONE)
        queues = [deque(item for item in chosen if item.lane in lanes) for lanes in LANES]
        work(queues[0])
        beside = threading.Thread(target=work, args=queues[1:])
        beside.start()
        work(queues[2])
        beside.join()
    finally:
        subprocess.run(["chmod", "-R", "u+w", SCRATCH], check=False)
        shutil.rmtree(SCRATCH, ignore_errors=True)
    show(chosen)
    return any(item.result == "FAILED" for item in chosen)


if __name__ == "__main__":
    sys.exit(main())
