"""The command line: help, output, exit statuses and error messages."""

import re
import shlex
import shutil
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
from fake_results import dataset, results, rows
from rich.console import Console
from sample_files import REFERENCES
from typer.main import get_command
from typer.testing import CliRunner

import gahbench
from gahbench.cli import progress
from gahbench.cli.app import app
from gahbench.cli.drawing import OF_DATASETS, OF_FOLDERS
from gahbench.cli.plugins import PLURALS, reflow
from gahbench.cli.printing import say_next
from gahbench.cli.progress import Progress
from gahbench.planning.suite_files import suite_files
from gahbench.registry.configured import KINDS
from gahbench.report.figures import FIGURES
from gahbench.report.publish import publish
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store


@pytest.fixture
def call(command):
    return lambda name, *arguments: command(name)(*arguments)


@pytest.mark.parametrize("command", get_command(app).commands)
def test_every_command_has_help_that_fits_80_columns(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "…" not in done.output
    assert all(parameter.help for parameter in get_command(app).commands[command].params), command


def test_options_are_the_parameters_of_the_function(monkeypatch):
    given, defaults = {}, {name: each.default for name, each in signature(gahbench.run).parameters.items()}
    monkeypatch.setattr(gahbench, "run", lambda suite, **arguments: given.update(arguments) or sys.exit(3))
    assert CliRunner().invoke(app, ["run", "--seed", "1", "--seed", "2"]).exit_code == 3
    assert given | {"seeds": ()} == {name: defaults[name] for name in given}
    assert given["seeds"] == [1, 2]
    assert defaults.keys() - given.keys() == {"suite", "quiet"}
    # Commands that print progress, or take a file of output, have the other parameters of their functions.
    for name, own in {"preview": {"out"}, "inspect": {"out"}, "sample": {"out", "settings"}}.items():
        options = {parameter.name: parameter.default for parameter in get_command(app).commands[name].params}
        function = signature(getattr(gahbench, name)).parameters
        assert options.keys() - own == function.keys() - {"progress", *own}
        assert all(function[key].default == options[key] for key in options if isinstance(options[key], int))


@pytest.fixture
def out(kept_run, tmp_path):
    """A copy of the results folder of a small run, which a test may change; the suite file lies next to it."""
    shutil.copy(kept_run.parent / "kept.yaml", tmp_path)
    return shutil.copytree(kept_run, tmp_path / "out")


def test_run_and_leaderboard_print_the_same_board(figures_not_rendered, call, out):
    suite = out.parent / "kept.yaml"
    for unit in (out / "units").glob("score-*"):
        shutil.rmtree(unit)
    status, printed, stderr = call("run", suite, "--out", out, "--engine", "inline", "--report")
    assert status == 0
    assert "Oracle threshold" in printed
    # The report has the images that the run keeps.
    assert 'alt="U-Net: ' in (out / "report.html").read_text(encoding="utf-8")
    assert "score unet[width=2,levels=1] on sinusoids[size=16] (seed 0) psnr on test: " in stderr
    assert call("leaderboard", out)[:2] == (0, printed)
    assert "to do: 0 of 9 units" in call("plan", suite, "--out", out)[1]


def test_the_next_commands_are_accepted(tmp_path, capsys):
    folder = tmp_path / "my run"
    say_next(folder)
    for line in capsys.readouterr().err.splitlines():
        program, name, *arguments = shlex.split(line.removeprefix("next: "))
        given = get_command(app).commands[name].make_context(name, arguments).params
        assert program == "gahbench"
        assert str(folder) in map(str, (given.get("folder"), *given.get("folders", ())))


def test_a_figure_is_drawn_of_a_metric_by_name(call, tmp_path):
    scores = [row for name in ("a", "b") for row in rows("d", name, "oracle", [[20.0, 21.0]], sigmas=(0.1,))]
    publish(results(scores, datasets=[dataset("d")]), tmp_path / "out", "digest")
    assert call("draw", "psnr", tmp_path / "out", "-e", "a", "-d", "d", "-o", "x.svg")[:2] == (0, "wrote x.svg\n")
    assert "<svg" in Path("x.svg").read_text(encoding="utf-8")
    text = get_command(app).commands["draw"].help
    assert all(re.search(rf"\b{name}\b", text) for name in (*OF_DATASETS, *OF_FOLDERS, *FIGURES))


def test_leaderboard_shows_finished_scores_and_the_number_of_unfinished_units(figures_not_rendered, call, out):
    complete = call("leaderboard", out)
    assert "units left" not in complete[2]
    store = Store(out)
    fit, *others = require_plan(out).units
    for unit in (fit, *(unit for unit in others if fit.key in unit.needs)):
        shutil.rmtree(store.path(unit))
    # While a run is at work, the board is not written.
    with store.lock():
        modified_times = {file: file.stat().st_mtime_ns for file in out.glob("[!.]*")}
        printed, errors = call("leaderboard", out)[1:]
        filtered = call("leaderboard", out, "-e", "identity", "--columns", "psnr")
        assert {file: file.stat().st_mtime_ns for file in out.glob("[!.]*")} == modified_times
    assert "3 units left" in errors
    assert "3 units left" in filtered[2]
    assert call("leaderboard", out)[1] == printed


def test_run_with_an_unwritable_home_prints_no_warning(write_suite, monkeypatch):
    Path("file").touch()
    monkeypatch.setenv("HOME", "file/home")
    suite = write_suite(text=REFERENCES)
    command = [sys.executable, "-m", "gahbench", "run", str(suite), "--out", "out", "--engine", "inline"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path("out/figures/gains.svg").is_file()
    assert "warning" not in done.stderr.lower()


def test_plan_prints_the_entrants_and_estimates_the_time(figures_not_rendered, call, write_suite):
    network = "unet: {width: 2, levels: 1", "bf-cnn: {width: 2, layers: 3, training: {steps: 6000, optimizer: adamw}"
    timed = write_suite(network, ("name: tiny", "name: timed"), name="timed.yaml")
    code, out, _ = call("plan", timed)
    assert (code, Path("runs").exists()) == (0, False)
    # The label of the network, which has 74 parameters, is folded.
    assert any(line.split()[4:5] == ["74"] for line in out.splitlines())
    assert out.splitlines()[-1].startswith("to do: 7 of 7 units in runs/timed; about ")
    assert "; 6 scores not timed yet, at 0.05 to 10 s each" in out
    assert call("run", timed, "--only", "identity", "--engine", "inline")[0] == 0
    left = call("plan", timed)[1]
    assert "to do: 3 of 7 units" in left
    assert "not timed" not in left
    assert "nothing is left to do" in call("plan", timed, "--only", "identity")[1]


def test_list_shows_names_by_kind_and_plugins_that_failed_to_load(call, builtin, tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    status, printed, stderr = call("list", "--plugins-dir", tmp_path / "broken.py")
    assert status == 0
    words = [word.strip(",") for word in printed.split()]
    for plural, kind in PLURALS.items():
        names = [*(suite_files() if kind == "suite" else builtin.names(kind))]
        start = words.index(plural) + 1
        assert words[start : start + len(names)] == names
        status, listed, _ = call("list", plural)
        assert (status, "…" in listed) == (0, False)
        assert [line.split()[0] for line in listed.splitlines() if line[:1].strip()] == names
    assert re.search(r"broken\.py: ZeroDivisionError", stderr)


def test_describe_shows_parameters_and_measured_facts(call):
    status, printed, _ = call("describe", "unet[width=8,levels=1]", "--shape", 3, 32, 32)
    assert status == 0
    assert "receptive field: 18 pixels" in printed
    (row,) = [line for line in call("describe", "oracle-best-basis")[1].splitlines() if line.startswith("bases  ")]
    assert row.split()[-2:] == ["[sym4,dct]"] * 2
    # Suites are printed as they are, without wrapping.
    assert call("describe", "standard-1")[1].rstrip() == suite_files()["standard-1"].read_text("utf-8").rstrip()


def test_check_fails_for_a_plugin_that_breaks_its_contract(call, write_plugin):
    status, printed, _ = call("check", write_plugin("broken", "return noisy[:, :, 1:]"))
    assert (status, "FAIL keeps the shape of images" in printed) == (1, True)


def test_list_and_help_and_a_published_board_import_no_large_library():
    commands = [["list"], ["--help"], *([name, "--help"] for name in ("run", "describe", "draw", "preview", "inspect"))]
    quick = str(Path(__file__).parents[2] / "results" / "quick")
    program = (
        "import sys\nfrom gahbench.cli import main\n"
        f"for arguments in {commands}:\n"
        "    sys.argv = ['gahbench', *arguments]\n"
        "    try: main()\n    except SystemExit as end: assert not end.code, arguments\n"
        "    assert not {'torch', 'pandas', 'matplotlib', 'seaborn', 'scipy'} & {*sys.modules}, arguments\n"
        f"import gahbench\nassert len(gahbench.load_results({quick!r}).leaderboard())\n"
        "assert not {'torch', 'matplotlib'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)


def test_reflowed_docstrings_fit_the_terminal():
    doc = "A paragraph whose lines\nwere broken.\n\nwidth\n    How wide it is, in\n    columns.\n\n- one\n- two\n\n>>>"
    assert reflow(doc, 200).startswith("A paragraph whose lines were broken.\n")
    assert max(map(len, reflow(doc, 24).splitlines())) <= 24
    assert reflow(doc, 24).split() == doc.split()


def test_progress_is_a_line_without_a_terminal_and_a_bar_on_one(capsys, monkeypatch):
    monkeypatch.setattr("gahbench.cli.progress.LINE_SECONDS", -1)
    with Progress("working") as show_progress:
        show_progress("3 of 4 [steps] done", 0.75)
    assert capsys.readouterr() == ("", "working: 3 of 4 [steps] done\n")
    terminal = Console(force_terminal=True, width=80, record=True)
    monkeypatch.setattr(progress, "Console", lambda stderr: terminal)
    with Progress("working") as show_progress:
        show_progress("3 of 4 [steps] done", 0.75)
    assert "working: 3 of 4 [steps] done" in terminal.export_text()


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
    message = "gahbench " if "--version" in command else "evilmod:Net: ModuleNotFoundError"
    assert message in completed.stdout + completed.stderr


def test_importing_gahbench_keeps_the_import_path_of_a_program():
    Path("program.py").write_text("import gahbench, beside", encoding="utf-8")
    Path("beside.py").write_text("print('found')", encoding="utf-8")
    command = [sys.executable, "-m", "program"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "found\n"


@pytest.mark.usefixtures("figures_not_rendered")
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_passes_the_suggested_check_and_works_in_the_suggested_command(
    command, write_suite, tmp_path, kind
):
    # The name of the folder has a space.
    folder = tmp_path / "my plugins"
    status, printed, stderr = command("new")(kind, f"my-{kind}", "--folder", folder)
    assert status == 0, stderr
    check, (program, name, *arguments) = (shlex.split(line) for line in printed.splitlines() if line.startswith("  "))
    (file,) = folder.iterdir()
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"PLUGIN_NAME|CLASS_NAME|THIS_FILE|TODO", text)
    assert text.count("\n    # ") >= 4
    # An existing file is never overwritten.
    status, _, stderr = command("new")(kind, f"my-{kind}", "--folder", folder)
    assert (status, "exists" in stderr, file.read_text(encoding="utf-8")) == (2, True, text)

    assert check == ["gahbench", "check", str(file)]
    status, printed, stderr = command("check")(file)
    assert status == 0, printed + stderr
    assert f"{kind} my-{kind} ({file})" in printed
    assert "1 of 1 plugins passed" in printed

    assert program == "gahbench"
    if name == "run":
        # Run a faster suite than the suggested suite.
        assert arguments[0] == "quick"
        arguments = [write_suite(text=REFERENCES), *arguments[1:], "--out", tmp_path / "out"]
        if "--engine" not in arguments:
            arguments += ["--engine", "inline"]
    status, printed, stderr = command(name)(*arguments)
    assert status == 0, printed + stderr
    if kind == "metric":
        # Other metrics than PSNR are columns of the tables of each dataset.
        printed = command("leaderboard")(tmp_path / "out", "-m", "my-metric")[1]
    # Engines and trackers do not appear on the board.
    shown = "oracle threshold" if kind in ("engine", "tracker") else f"my {kind}"
    assert shown in printed.lower().replace("-", " ")
    if kind == "tracker":
        assert (tmp_path / "out" / "my-tracker.csv").read_text().count(",psnr/") == 4
