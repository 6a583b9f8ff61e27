"""The command line as a user meets it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gahbench.cli import main
from gahbench.cli.app import app
from gahbench.cli.plugins import reflowed
from gahbench.registry.plugin import KINDS
from gahbench.site.described import description


def gahbench(*arguments, monkeypatch, capsys):
    """Run the command line in this process; return its exit status, output and errors."""
    monkeypatch.setattr(sys, "argv", ["gahbench", *map(str, arguments)])
    try:
        main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def call(monkeypatch, capsys):
    return lambda *arguments: gahbench(*arguments, monkeypatch=monkeypatch, capsys=capsys)


@pytest.mark.parametrize("command", ["run", "plan", "prepare", "list", "describe", "leaderboard", "check", "new"])
def test_every_command_has_help(command):
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_run_prints_a_board_that_leaderboard_prints_again(call, write_suite, tmp_path):
    out = tmp_path / "out"
    status, printed, stderr = call("run", write_suite(), "--out", out, "--engine", "inline", "--report")
    assert status == 0
    assert "oracle-threshold[haar]" in printed
    # With the images that the run keeps.
    assert 'alt="denoised by unet[width=2,levels=1]"' in (out / "report.html").read_text(encoding="utf-8")
    assert "fit unet[width=2,levels=1] on discs[size=16] (seed 0): done" in stderr
    status, again, _ = call("leaderboard", out)
    assert (status, again) == (0, printed)


def test_plan_shows_units_and_runs_nothing(call, write_suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, printed, _ = call("plan", write_suite())
    assert status == 0
    assert "to do: 7 of 7 units" in printed
    assert "0 of 1" in printed
    assert not (tmp_path / "runs").exists()
    call("run", write_suite(), "--engine", "inline")
    assert "to do: 0 of 7 units" in call("plan", write_suite())[1]


def test_plan_looks_into_the_folder_it_is_given(call, write_suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call("run", write_suite(), "--out", "elsewhere", "--engine", "inline")
    monkeypatch.setattr(
        "gahbench.planning.pairs.dry_runs", lambda networks, registry: networks and pytest.fail("tried")
    )
    assert "to do: 0 of 7 units" in call("plan", write_suite(), "--out", "elsewhere")[1]


def test_plan_writes_the_folder_that_work_finishes(call, write_suite, tmp_path):
    out = tmp_path / "out"
    assert "gahbench work" in call("plan", write_suite(), "--out", out, "--threads", 1)[1]
    assert "0 of 7 units done" in call("status", out)[1]
    status, _, stderr = call("work", out, "--workers", 1)
    assert (status, "7 done, 0 failed, 0 left" in stderr) == (0, True)
    assert "7 of 7 units done" in call("status", out)[1]
    status, printed, _ = call("collect", out)
    assert (status, "oracle-threshold[haar]" in printed) == (0, True)
    assert call("leaderboard", out)[1] == printed


def test_run_without_a_home_that_can_be_written_to_says_nothing_of_it(write_suite, monkeypatch):
    Path("file").touch()
    monkeypatch.setenv("HOME", "file/home")
    command = [sys.executable, "-m", "gahbench", "run", str(write_suite()), "--out", "out", "--engine", "inline"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path("out/figures/discs_size=16.png").is_file()
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith("[")] == ["board, scores and figures: out"]


@pytest.mark.parametrize("command", ["work", "status", "collect"])
def test_commands_of_folders_refuse_others(call, tmp_path, command):
    status, _, stderr = call(command, tmp_path / "none")
    assert status == 2
    assert "expected a results folder" in stderr


@pytest.mark.parametrize("command", ["work", "run"])
def test_devices_that_are_not_there_are_refused_before_anything_is_written(call, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    status, _, stderr = call(command, "quick", "--device", "gpu")
    assert (status, list(tmp_path.iterdir())) == (2, [])
    assert "device 'gpu' is not accepted; accepted are auto, cpu, cuda" in stderr


def test_plan_estimates_references_and_what_a_run_takes_beside_its_units(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "oracles.yaml"
    file.write_text(
        "name: oracles\ndatasets: ['discs[size=16]']\nentrants: [identity]\nscoring: {sigmas: [0.1], images: 2}\n"
    )
    code, out, _ = call("plan", str(file))
    assert code == 0
    assert "to do: 1 of 1 units; about 6.5 s with " in out
    assert ", 6 s of them to start and to write the board; 1 score of a kind that was not timed here" in out
    assert call("run", str(file), "--engine", "inline", "--out", str(tmp_path / "out"))[0] == 0
    assert "to do: 0 of 1 units; nothing is left to do" in call("plan", str(file), "--out", str(tmp_path / "out"))[1]


def test_plan_says_how_long_a_gpu_takes_for_long_training(call, tmp_path):
    file = tmp_path / "trained.yaml"
    file.write_text(
        "name: trained\ndatasets: ['discs[size=16]']\nentrants: [identity, {bf-cnn: {width: 2, layers: 3}}]\n"
        "baseline: identity\nscoring: {sigmas: [0.1], images: 2}\n"
    )
    for steps, is_long in ((5, False), (10**10, True)):
        status, out, _ = call("plan", str(file), "--set", f"training.steps={steps}", "--out", str(tmp_path / "out"))
        assert status == 0
        said = "on one GPU, at a nominal 20 T a second" in " ".join(out.split())
        assert said == (is_long and not torch.cuda.is_available())


def test_plan_estimates_by_budgets_of_seconds_and_by_what_has_run(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "timed.yaml"
    file.write_text(
        "name: timed\ndatasets: ['discs[size=16]']\n"
        "entrants: [identity, {bf-cnn: {width: 2, layers: 3, training: {seconds: 600, allow_time_budget: true}}}]\n"
        "baseline: identity\ntraining: {steps: 1}\nscoring: {sigmas: [0.1], images: 2}\n"
    )
    code, out, _ = call("plan", str(file))
    assert code == 0
    said = " ".join(out.split())
    assert "about 10 min 07 s with 1 worker, 6 s of them to start" in said
    assert "2 scores of a kind that was not timed here, at an assumed 0.5 s each" in said
    other = tmp_path / "other.yaml"
    other.write_text(
        "name: other\ndatasets: ['discs[size=16]']\nentrants: [identity]\nscoring: {sigmas: [0.1], images: 2}\n"
    )
    assert call("run", str(other), "--engine", "inline")[0] == 0
    _, out, _ = call("plan", str(file))
    assert "about 10 min 0" in out
    assert "without" not in out


def test_a_failed_unit_makes_the_exit_status_1(call, write_suite, write_plugin, tmp_path):
    plugin = write_plugin("unlucky", "raise RuntimeError('no luck')")
    arguments = (
        "--out",
        tmp_path / "out",
        "--engine",
        "inline[trusted=true]",
        "--plugins-dir",
        plugin,
        "--entrant",
        "unlucky",
    )
    status, printed, stderr = call("run", write_suite(), *arguments)
    assert status == 1
    assert "RuntimeError: no luck" in printed
    why = f"gahbench why {tmp_path / 'out'}"
    assert f"1 fit failed; 2 scores not started for lack of a network; '{why}' prints the tracebacks" in stderr


def test_one_unit_that_failed_is_one_unit(call, tmp_path):
    plugin, suite = tmp_path / "unlucky.py", tmp_path / "one.yaml"
    plugin.write_text(
        "import gahbench\n@gahbench.hookimpl\ndef register_references(register): register('unlucky', Unlucky)\n"
        "class Unlucky(gahbench.Reference):\n    def denoise(self, noisy, sigma, truth): raise RuntimeError\n"
    )
    suite.write_text(
        "name: one\ndatasets: ['discs[size=16]']\nentrants: [unlucky]\nscoring: {sigmas: [0.1], images: 2}\n"
    )
    status, _, stderr = call(
        "run", suite, "--out", tmp_path / "out", "--engine", "inline[trusted=true]", "--plugins-dir", plugin
    )
    assert (status, "1 score failed; 'gahbench why" in stderr) == (1, True)


def bad_image(folder: Path) -> Path:
    folder.mkdir()
    (folder / "face.png").write_bytes(b"not an image")
    return folder


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def small_set(file: Path) -> Path:
    np.savez(file, images=np.zeros((10, 16, 16), dtype=np.uint8))
    return file


BAD = {
    "unknown suite": (lambda tmp: ["run", "quikc"], "did you mean 'quick'"),
    "unknown plugin": (lambda tmp: [("- discs:", "- disks:")], "did you mean 'discs'"),
    "unknown parameter": (lambda tmp: [("width: 2", "widht: 2")], "did you mean 'width'"),
    "wrong type": (lambda tmp: [("width: 2", "width: wide")], "accepted: int"),
    "bad yaml": (lambda tmp: [("name: tiny", "name: [tiny")], "tiny.yaml:3: not valid YAML"),
    "missing path": (lambda tmp: [("discs: {size: 16}", f"faces: {{path: {tmp}/none}}")], "none"),
    "empty folder": (lambda tmp: [("discs: {size: 16}", f"faces: {{path: {empty(tmp / 'e')}}}")], "no image"),
    "unreadable image": (lambda tmp: [("discs: {size: 16}", f"faces: {{path: {bad_image(tmp / 'f')}}}")], "face.png"),
    "undivided size": (lambda tmp: [("size: 16", "size: 18"), ("levels: 1", "levels: 2")], "multiples of 4"),
    "sigma of zero": (lambda tmp: [("[0.1, 0.3]", "[0.0, 0.3]")], "greater than 0"),
    "too many images": (
        lambda tmp: [("discs: {size: 16}", f"faces: {{path: {small_set(tmp / 's.npz')}}}"), ("images: 3", "images: 9")],
        "images=9 asked of the test split",
    ),
    "missing plugins": (lambda tmp: ["run", "quick", "--plugins-dir", str(tmp / "none")], "no such plugin file"),
    "unknown entrant": (lambda tmp: ["run", "quick", "--entrant", "unett"], "did you mean 'unet'"),
    "unclosed entrant": (lambda tmp: ["run", "quick", "--entrant", "unet[width=16"], "not closed"),
    "unknown engine": (lambda tmp: ["run", "quick", "--out", str(tmp / "o"), "--engine", "slrum"], "unknown engine"),
    "unknown kind": (lambda tmp: ["list", "archtecture"], "did you mean 'architecture'"),
    "unknown plural": (lambda tmp: ["list", "metrcs"], "did you mean 'metrics'"),
    "unknown name": (lambda tmp: ["describe", "unett"], "did you mean 'unet'"),
    "unknown name, and how all are listed": (lambda tmp: ["describe", "x"], "'x'; 'gahbench list' prints all names"),
    "unreadable shape": (lambda tmp: ["describe", "unet", "--shape", "64x64"], "such as 3,80,80"),
    "no results": (lambda tmp: ["leaderboard", str(tmp)], "results"),
    "no file": (lambda tmp: ["check", str(tmp / "none.py")], "no such plugin file"),
    "bad name": (lambda tmp: ["new", "architecture", "My Denoiser"], "lower-case words"),
    "taken name": (lambda tmp: ["new", "architecture", "unet"], "already"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_status_2_and_a_message_that_helps(call, write_suite, tmp_path, case):
    make, says = BAD[case]
    arguments = make(tmp_path)
    if isinstance(arguments[0], tuple):
        arguments = ["run", write_suite(*arguments), "--out", tmp_path / "out", "--engine", "inline"]
    status, _, stderr = call(*arguments)
    assert status == 2, stderr
    assert says in stderr
    assert "Traceback" not in stderr


def test_a_folder_of_another_suite_ends_in_status_2(call, write_suite, tmp_path):
    call("run", write_suite(), "--out", tmp_path / "out", "--engine", "inline")
    other = write_suite(("name: tiny", "name: other"))
    status, _, stderr = call("run", other, "--out", tmp_path / "out", "--engine", "inline")
    assert status == 2
    assert "holds results of the suite 'tiny'" in stderr


def test_list_shows_plugins_suites_and_what_failed_to_load(call, tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    status, printed, _ = call("list", "--plugins-dir", tmp_path)
    assert status == 0
    words = printed.split()
    assert {"unet", "c-alpha", "oracle-threshold", "wavelet", "psnr", "processes", "quick"} <= set(words)
    assert "ZeroDivisionError" in printed
    assert "broken.py" in printed.replace("\n", "")


@pytest.mark.parametrize(
    ("plural", "singular", "holds", "holds_not"),
    [
        ("architectures", "architecture", "unet", "discs"),
        ("datasets", "dataset", "discs", "unet"),
        ("references", "reference", "oracle-threshold", "wavelet"),
        ("bases", "basis", "wavelet", "psnr"),
        ("metrics", "metric", "psnr", "processes"),
        ("engines", "engine", "processes", "psnr"),
        ("trackers", "tracker", "tensorboard", "processes"),
        ("suites", "suite", "quick", "processes"),
    ],
)
def test_list_takes_plurals_and_singulars(call, plural, singular, holds, holds_not):
    status, printed, _ = call("list", plural)
    assert status == 0
    names = [line.split()[0] for line in printed.splitlines() if line.startswith("  ") and line[2] != " "]
    assert holds in names
    assert holds_not not in names
    assert printed.startswith(plural)
    assert call("list", singular)[1] == printed


def test_list_of_an_unknown_kind_names_what_is_accepted(call):
    _, _, stderr = call("list", "networks")
    for name in ("architectures", "datasets", "references", "bases", "metrics", "engines", "trackers", "suites"):
        assert name in stderr


def test_describe_shows_parameters_and_what_is_measured(call):
    status, printed, _ = call("describe", "unet[width=8,levels=1]", "--shape", "3,32,32")
    assert status == 0
    assert "ICLR 2024" in printed
    assert "convolutions" in printed
    assert "to train, on images of 3x32x32" in printed.replace("\n", " ")
    assert "receptive field: 18 pixels" in printed
    assert "blind: yes" in printed
    assert call("describe", "quick")[1].startswith("#")


def test_describe_shows_defaults_that_name_plugins(call):
    (row,) = [line for line in call("describe", "oracle-best-basis")[1].splitlines() if line.startswith("bases  ")]
    assert row.split()[-2:] == ["[sym4,dct]"] * 2
    (row,) = [line for line in call("describe", "heat-kernel")[1].splitlines() if line.startswith("basis  ")]
    assert row.split()[-4:] == ["a", "basis", "graph-laplacian", "graph-laplacian"]


def test_describe_does_not_crash_on_a_third_party_plugin(call, write_plugin):
    status, printed, _ = call("describe", "unlucky", "-p", write_plugin("unlucky", "raise RuntimeError('[no] luck')"))
    assert status == 0
    assert "unknown, and all about it: RuntimeError: [no] luck" in printed.replace("\n", " ")


def test_describe_shows_no_docstring_but_the_plugins_own(call, write_plugin):
    file = write_plugin("silent", "return noisy - self.noise(noisy)")
    text = file.read_text(encoding="utf-8")
    own = re.search(r'class \w+\(nn\.Module\):\n( +""".*?"""\n)', text, re.DOTALL)
    file.write_text(text.replace(own[1], "") if own else text, encoding="utf-8")
    status, printed, _ = call("describe", "silent", "-p", file)
    assert status == 0
    assert "It has no docstring" in printed
    assert "Base class" not in printed
    assert "Base class" not in call("list", "architectures", "-p", file)[1]


def test_parameters_of_plugins_are_described_on_their_own(builtin):
    plugins = [plugin for kind in KINDS if kind != "claim" for plugin in builtin.plugins(kind)]
    described = [(plugin.name, description(plugin.factory).parameters) for plugin in plugins]
    leaning = [(name, text) for name, texts in described for text in texts.values() if text.startswith("As of")]
    assert len(described) > 100
    assert leaning == []


def test_describe_shows_a_plugin_that_needs_a_parameter(call, tmp_path):
    file = tmp_path / "needs.py"
    file.write_text(
        "import gahbench\n@gahbench.hookimpl\ndef register_references(register):\n    register('needs', Needs)\n"
        "class Needs(gahbench.Reference):\n"
        "    def __init__(self, strength: float): ...\n    def denoise(self, noisy, sigma, truth): return noisy\n"
    )
    status, printed, _ = call("describe", "needs", "--plugins-dir", file)
    assert status == 0
    assert "required" in printed
    assert "to measure it, give it strength" in printed


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("shape = property(lambda self: 1 / 0)", "ZeroDivisionError"),
        ("def __init__(self): open('/no/file')", "No such file"),
    ],
)
def test_a_dataset_that_raises_ends_in_status_2(call, write_suite, tmp_path, fault, says):
    file = tmp_path / "faulty.py"
    file.write_text(
        "import gahbench\n@gahbench.hookimpl\ndef register_datasets(register):\n    register('faulty', Faulty)\n"
        "class Faulty(gahbench.Dataset):\n    shape = (1, 8, 8)\n"
        f"    {fault}\n    def images(self, split, count, start=0): ...\n"
    )
    status, _, stderr = call("run", write_suite(("discs: {size: 16}", "faulty")), "-o", tmp_path / "out", "-p", file)
    assert status == 2
    assert "dataset 'faulty' cannot be used" in stderr
    assert says in stderr


def test_check_of_a_broken_plugin_ends_in_status_1(call, write_plugin):
    status, printed, _ = call("check", write_plugin("broken", "return noisy[:, :, 1:]"))
    assert status == 1
    assert "FAIL returns the shape it got" in printed


@pytest.mark.parametrize("arguments", [["list"], ["describe", "--help"], ["--help"]])
def test_torch_is_not_imported_where_nothing_is_computed(arguments):
    program = (
        "import sys\nfrom gahbench.cli import main\n"
        f"sys.argv = ['gahbench', *{arguments!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "False"


def test_the_module_runs_as_the_command():
    done = subprocess.run([sys.executable, "-m", "gahbench", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("gahbench ")


def test_a_described_docstring_fits_the_terminal():
    doc = (
        "A first line.\n\nA paragraph whose lines\nwere broken for another\nwidth.\n\nParameters\n----------\n"
        "width\n    How wide it is, in\n    columns.\n\n- one\n- two\n\n>>> 1 + 1\n2"
    )
    assert reflowed(doc, 200).splitlines() == [
        "A first line.",
        "",
        "A paragraph whose lines were broken for another width.",
        "",
        "Parameters",
        "----------",
        "width",
        "    How wide it is, in columns.",
        "",
        "- one",
        "- two",
        "",
        ">>> 1 + 1",
        "2",
    ]
    assert max(map(len, reflowed(doc, 24).splitlines())) <= 24
    assert reflowed(doc, 24).split() == doc.split()


def test_a_file_system_that_fails_is_no_failure_of_units(call, write_suite, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("gahbench.runs.status.status", refuse)
    status, _, stderr = call("status", tmp_path)
    assert (status, stderr.strip()) == (74, "error: [Errno 5] Input/output error")
