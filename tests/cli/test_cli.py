"""The command line: help, output, exit statuses and error messages."""

import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
import torch
from sample_files import REFERENCES
from typer.main import get_command
from typer.testing import CliRunner

import gahbench
from gahbench.cli.app import app
from gahbench.cli.plugins import PLURALS, reflow
from gahbench.explore import inspection
from gahbench.explore import preview as previews
from gahbench.explore.bibliography import cite
from gahbench.planning.suite_files import suite_files
from gahbench.sampling import Sampling


@pytest.fixture
def call(command):
    return lambda name, *arguments: command(name)(*arguments)


@pytest.fixture
def write(tmp_path):
    """Write a file, and return its path."""

    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


@pytest.mark.parametrize("command", get_command(app).commands)
def test_every_command_has_help(command):
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_run_and_leaderboard_print_the_same_board(call, write_suite, tmp_path):
    out = tmp_path / "out"
    status, printed, stderr = call("run", write_suite(), "--out", out, "--engine", "inline", "--report")
    assert status == 0
    assert "oracle-threshold[haar]" in printed
    # The report has the images that the run keeps.
    assert 'alt="denoised by U-Net, image 1"' in (out / "report.html").read_text(encoding="utf-8")
    assert "fit unet[width=2,levels=1] on discs[size=16] (seed 0): done" in stderr
    assert call("leaderboard", out)[:2] == (0, printed)
    status, _, stderr = call("run", write_suite(("name: tiny", "name: other")), "--out", out, "--engine", "inline")
    assert (status, "holds results of the suite 'tiny'" in stderr) == (2, True)
    assert "to do: 0 of 7 units" in call("plan", write_suite(), "--out", out)[1]


def test_the_shards_of_a_run_give_a_board(figures_not_rendered, call, write_suite, tmp_path):
    out = tmp_path / "out"
    for shard in ("1/2", "2/2"):
        status, printed, stderr = call("run", write_suite(), "--out", out, "--engine", "inline", "--shard", shard)
        assert (status, printed) == (0, "")
        assert f"shard {shard} has ended; 'gahbench leaderboard {out}' writes the board of all shards" in stderr
    assert "7 of 7 units done" in call("status", out)[1]
    status, printed, _ = call("leaderboard", out)
    assert (status, "oracle-threshold[haar]" in printed) == (0, True)


def test_run_with_an_unwritable_home_prints_no_warning(write_suite, monkeypatch):
    Path("file").touch()
    monkeypatch.setenv("HOME", "file/home")
    suite = write_suite(text=REFERENCES)
    command = [sys.executable, "-m", "gahbench", "run", str(suite), "--out", "out", "--engine", "inline"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path("out/figures/discs_size=16.png").is_file()
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith("[")] == ["board, scores and figures: out"]


def test_invalid_devices_are_refused_before_anything_is_written(call):
    status, _, stderr = call("run", "quick", "--device", "gpu")
    assert (status, list(Path().iterdir())) == (2, [])
    assert "device 'gpu' is not accepted; accepted: auto, cpu, cuda" in stderr


NETWORK = (
    "name: timed\ndatasets: ['discs[size=16]']\nentrants: [identity, {bf-cnn: {width: 2, layers: 3%s}}]\n"
    "baseline: identity\ntraining: {steps: 1}\nscoring: {sigmas: [0.1], images: 2}\n"
)
REFERENCE = "name: references\ndatasets: ['discs[size=16]']\nentrants: [%s]\nscoring: {sigmas: [0.1], images: 2}\n"


def test_plan_estimates_the_time_on_a_gpu_for_long_training(call, write, tmp_path):
    file = write("trained.yaml", NETWORK % "")
    for steps, is_long in ((5, False), (10**10, True)):
        status, out, _ = call("plan", file, "--set", f"training.steps={steps}", "--out", tmp_path / "out")
        assert status == 0
        has_estimate = "on one GPU, at a nominal 20 T a second" in " ".join(out.split())
        assert has_estimate == (is_long and not torch.cuda.is_available())


def test_plan_estimates_the_time_from_budgets_and_nominal_times(figures_not_rendered, call, write):
    oracles = write("references.yaml", REFERENCE % "identity")
    timed = write("timed.yaml", NETWORK % ", training: {seconds: 600, allow_time_budget: true}")
    code, out, _ = call("plan", oracles)
    assert code == 0
    assert not Path("runs").exists()
    assert "to do: 1 of 1 units; about 6.5 s with " in out
    assert ", including 6 s to start and to write the board; 1 score by metrics that have not been timed" in out
    printed = " ".join(call("plan", timed)[1].split())
    assert "about 10 min 07 s with 1 worker, including 6 s to start" in printed
    assert "2 scores by metrics that have not been timed, assumed to take 0.5 s each" in printed
    assert call("run", oracles, "--engine", "inline")[0] == 0
    assert "to do: 0 of 1 units; nothing is left to do" in call("plan", oracles)[1]
    out = call("plan", oracles, "--entrant", "visu-shrink")[1]
    assert "to do: 1 of 2 units; about 6." in out
    assert "timed" not in out


def test_a_failed_unit_makes_the_exit_status_1(figures_not_rendered, call, write_suite, write_plugin, tmp_path):
    plugin = write_plugin("unlucky", "raise RuntimeError('no luck')")
    options = ("--engine", "inline", "--plugins-dir", plugin, "--entrant", "unlucky")
    status, printed, stderr = call("run", write_suite(), "--out", tmp_path / "out", *options)
    assert status == 1
    assert "RuntimeError: no luck" in printed
    why = f"gahbench why {tmp_path / 'out'}"
    assert f"1 unit failed; 2 scores not started, since the network is missing; '{why}' prints the tracebacks" in stderr


def test_a_single_failed_score_is_counted_in_the_singular(figures_not_rendered, call, write, write_class, tmp_path):
    plugin = write_class("reference", "def denoise(self, noisy, sigma, truth): raise RuntimeError", "unlucky")
    options = ("--out", tmp_path / "out", "--engine", "inline", "-p", plugin)
    status, _, stderr = call("run", write("one.yaml", REFERENCE % "unlucky"), *options)
    assert (status, "1 unit failed; 'gahbench why" in stderr) == (1, True)


def write_bad_image(folder: Path) -> Path:
    folder.mkdir()
    (folder / "face.png").write_bytes(b"not an image")
    return folder


BAD = {
    "unknown suite": (lambda tmp: ["run", "quikc"], "did you mean 'quick'"),
    "unknown plugin": (lambda tmp: [("- discs:", "- disks:")], "did you mean 'discs'"),
    "bad yaml": (lambda tmp: [("name: tiny", "name: [tiny")], "tiny.yaml:3: not valid YAML"),
    "unreadable image": (
        lambda tmp: [("discs: {size: 16}", f"faces: {{path: {write_bad_image(tmp / 'f')}}}")],
        "face.png",
    ),
    "undivided size": (lambda tmp: [("size: 16", "size: 18"), ("levels: 1", "levels: 2")], "multiples of 4"),
    "missing plugins": (lambda tmp: ["run", "quick", "--plugins-dir", str(tmp / "none")], "no such plugin file"),
    "unclosed entrant": (lambda tmp: ["run", "quick", "--entrant", "unet[width=16"], "not closed"),
    "unknown engine": (lambda tmp: ["run", "quick", "--out", str(tmp / "o"), "--engine", "slrum"], "unknown engine"),
    "unknown kind": (lambda tmp: ["list", "archtecture"], "did you mean 'architecture'"),
    "unknown plural": (lambda tmp: ["list", "metrcs"], "did you mean 'metrics'"),
    "unknown kind lists all kinds": (lambda tmp: ["list", "networks"], ", ".join(PLURALS)),
    "unknown name": (lambda tmp: ["describe", "x"], "'x'; 'gahbench list' prints all names"),
    "unreadable shape": (lambda tmp: ["describe", "unet", "--shape", "64x64"], "such as 3,80,80"),
    "no results": (lambda tmp: ["leaderboard", str(tmp)], "results"),
    "no status": (lambda tmp: ["status", str(tmp / "none")], "expected a results folder"),
    "no file": (lambda tmp: ["check", str(tmp / "none.py")], "no such plugin file"),
    "bad name": (lambda tmp: ["new", "architecture", "My Denoiser"], "lower-case words"),
    "taken name": (lambda tmp: ["new", "architecture", "unet"], "already"),
    "unknown kind of a new plugin": (lambda tmp: ["new", "network", "mine"], "'engine'"),
    "nothing to prepare": (lambda tmp: ["prepare", "quikc"], "did you mean 'quick'"),
    "no dataset": (lambda tmp: ["preview", "discz"], "did you mean 'discs'"),
    "levels of a preview": (lambda tmp: ["preview", "discs", "-s", "loud"], "--sigma loud; accepted"),
    "suffix of a preview": (lambda tmp: ["preview", "discs", "-o", "sheet.jpg"], "accepted: .png, .svg, .pdf"),
    "levels of an inspection": (lambda tmp: ["inspect", "low-pass", "-s", "1/0"], "--sigma 1/0; accepted"),
    "levels of samples": (lambda tmp: ["sample", "optimal", "--levels", "1,x"], "--levels 1,x; accepted: an integer"),
    "device of samples": (lambda tmp: ["sample", "optimal", "--device", "gpu"], "accepted: auto, cpu, or cuda"),
    "figure": (lambda tmp: ["draw", "geometry", "discs", "--out", "x.gif"], "accepted: .png"),
    "claim": (
        lambda tmp: ["claims", "-c", "mohan-2002"],
        "no claim matches 'mohan-2002'; there are claims of an-2024",
    ),
    "no claims": (lambda tmp: ["claims", str(tmp)], "holds no results; expected results.json"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_status_2_and_leaves_no_file(call, write_suite, tmp_path, case):
    make_arguments, message = BAD[case]
    arguments = make_arguments(tmp_path)
    if isinstance(arguments[0], tuple):
        arguments = ["run", write_suite(*arguments), "--out", tmp_path / "out", "--engine", "inline"]
    status, _, stderr = call(*arguments)
    assert status == 2, stderr
    assert message in " ".join(stderr.split())
    assert "Traceback" not in stderr
    assert list(Path().iterdir()) == []


def test_list_shows_plugins_suites_and_plugins_that_failed_to_load(call, write):
    status, printed, _ = call("list", "--plugins-dir", write("broken.py", "1 / 0\n"))
    assert status == 0
    words = printed.split()
    assert {"unet", "c-alpha", "oracle-threshold", "wavelet", "psnr", "local", "quick"} <= set(words)
    assert "ZeroDivisionError" in printed
    assert "broken.py" in printed.replace("\n", "")


def test_list_accepts_plurals_and_singulars(call, builtin):
    for plural, singular in PLURALS.items():
        status, printed, _ = call("list", plural)
        assert status == 0
        names = [line.split()[0] for line in printed.splitlines() if line.startswith("  ") and line[2] != " "]
        assert names == (list(suite_files()) if singular == "suite" else list(builtin.names(singular)))
        assert printed.startswith(plural)
    assert call("list", "suite")[1] == printed


def test_describe_shows_parameters_and_measured_facts(call):
    status, printed, _ = call("describe", "unet[width=8,levels=1]", "--shape", "3,32,32")
    assert status == 0
    assert "ICLR 2024" in printed
    assert "convolutions" in printed
    assert "to train, on images of 3x32x32" in printed.replace("\n", " ")
    assert "receptive field: 18 pixels" in printed
    assert "blind: yes" in printed
    assert call("describe", "quick")[1].startswith("#")
    assert call("cite", "unet")[1] == cite("unet")


def test_describe_shows_defaults_that_name_plugins(call):
    (row,) = [line for line in call("describe", "oracle-best-basis")[1].splitlines() if line.startswith("bases  ")]
    assert row.split()[-2:] == ["[sym4,dct]"] * 2
    (row,) = [line for line in call("describe", "heat-kernel")[1].splitlines() if line.startswith("basis  ")]
    assert row.split()[-4:] == ["basis", "name", "graph-laplacian", "graph-laplacian"]


def test_describe_does_not_show_inherited_docstrings(call, write_plugin):
    file = write_plugin("silent", "return noisy - self.noise(noisy)")
    text = file.read_text(encoding="utf-8")
    own = re.search(r'class \w+\(nn\.Module\):\n( +""".*?"""\n)', text, re.DOTALL)
    file.write_text(text.replace(own[1], "") if own else text, encoding="utf-8")
    status, printed, _ = call("describe", "silent", "-p", file)
    assert status == 0
    assert "This plugin has no docstring" in printed
    assert "Base class" not in printed
    assert "Base class" not in call("list", "architectures", "-p", file)[1]


def test_describe_shows_a_plugin_without_its_required_parameter(call, write_class):
    body = "def __init__(self, strength: float): ...\ndef denoise(self, noisy, sigma, truth): return noisy"
    file = write_class("reference", body, "needs")
    status, printed, _ = call("describe", "needs", "--plugins-dir", file)
    assert status == 0
    assert "required" in printed
    assert "to measure it, set strength" in printed


def test_check_of_a_broken_plugin_exits_with_status_1(call, write_plugin):
    status, printed, _ = call("check", write_plugin("broken", "return noisy[:, :, 1:]"))
    assert status == 1
    assert "FAIL keeps the shape of images" in printed


SAMPLED = (
    "count", "seed", "sampler", "mean", "sigma_start", "sigma_end", "step", "beta", "growth", "levels", "solver",
)  # fmt: skip
DEFAULTS = {
    "preview": (previews.SIGMAS,),
    "inspect": (inspection.SIGMAS, inspection.DATASET, inspection.OTHERS),
    "sample": (inspection.DATASET, *(Sampling.model_fields[name].default for name in SAMPLED)),
}


def test_list_and_help_import_no_large_library():
    commands = [["list"], ["--help"], *([name, "--help"] for name in ("run", "describe", *DEFAULTS))]
    program = (
        "import sys\nfrom gahbench.cli import main\n"
        f"for arguments in {commands}:\n"
        "    sys.argv = ['gahbench', *arguments]\n"
        "    try: main()\n    except SystemExit as end: assert not end.code, arguments\n"
        "    assert not {'torch', 'pandas', 'matplotlib', 'scipy'} & {*sys.modules}, arguments"
    )
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize("command", DEFAULTS)
def test_the_help_shows_the_defaults_of_the_python_function(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    # The help is printed in boxes, with lines broken anywhere.
    text = re.sub(r"[\s│]", "", CliRunner().invoke(app, [command, "--help"]).output)
    for value in DEFAULTS[command]:
        assert f"[default:{','.join(map(str, value)) if isinstance(value, tuple) else value}]" in text
    assert command != "preview" or f"[default:{previews.COUNT}," in text
    parameters = signature(getattr(gahbench, command)).parameters
    for name in {"sigmas", "dataset", "others"} & parameters.keys() - ({"dataset"} if command == "preview" else set()):
        assert parameters[name].default in DEFAULTS[command]


def test_reflowed_docstrings_fit_the_terminal():
    doc = (
        "A first line.\n\nA paragraph whose lines\nwere broken for another\nwidth.\n\nParameters\n----------\n"
        "width\n    How wide it is, in\n    columns.\n\n- one\n- two\n\n>>> 1 + 1\n2"
    )
    wide = (
        "A first line.\n\nA paragraph whose lines were broken for another width.\n\nParameters\n----------\n"
        "width\n    How wide it is, in columns.\n\n- one\n- two\n\n>>> 1 + 1\n2"
    )
    assert reflow(doc, 200) == wide
    assert max(map(len, reflow(doc, 24).splitlines())) <= 24
    assert reflow(doc, 24).split() == doc.split()


def test_a_failing_file_system_exits_with_status_74(call, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("gahbench.runs.status.status", refuse)
    status, _, stderr = call("status", tmp_path)
    assert (status, stderr.strip()) == (74, "error: [Errno 5] Input/output error")


@pytest.mark.parametrize(
    "command", [["-m", "gahbench", "--version"], ["-mgahbench", "describe", "module[factory=evilmod:Net]"]]
)
def test_modules_of_the_current_folder_are_not_imported(command, monkeypatch):
    for name in ("pluggy", "pydantic", "torch", "typer", "evilmod"):
        Path(f"{name}.py").write_text(f"open('{name}.imported', 'w').close()", encoding="utf-8")
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        monkeypatch.delenv(name, raising=False)
    completed = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert list(Path().glob("*.imported")) == []
    message = "gahbench " if "--version" in command else "importing 'evilmod' failed: ModuleNotFoundError"
    assert message in completed.stdout + completed.stderr


def test_importing_gahbench_keeps_the_import_path_of_a_program():
    Path("program.py").write_text("import gahbench, beside", encoding="utf-8")
    Path("beside.py").write_text("print('found')", encoding="utf-8")
    command = [sys.executable, "-m", "program"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "found\n"
