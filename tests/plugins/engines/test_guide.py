"""The guide to engines: tables of parameters, and files for other schedulers."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import gahbench
from gahbench.cli.app import app
from gahbench_plugins.engines import dask

GUIDE = (Path(__file__).parents[3] / "plugins" / "engines" / "README.md").read_text(encoding="utf-8")


def block(language):
    (text,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)
    return text


def test_every_engine_has_a_row(builtin):
    rows = re.findall(r"^\| `([a-z]+)` \| (?:in|on) ", GUIDE, flags=re.MULTILINE)
    assert sorted(rows) == sorted(builtin.names("engine"))


def test_every_parameter_of_slurm_has_a_row(builtin):
    section = GUIDE.partition("## Slurm\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    assert rows == [parameter.name for parameter in builtin.get("engine", "slurm").parameters]


@pytest.mark.parametrize("spec", re.findall(r'--engine "([^"]*)"', GUIDE))
def test_the_engines_in_it_can_be_created(builtin, spec):
    if spec.startswith("dask"):
        pytest.importorskip("distributed")
    assert builtin.create("engine", spec)


def test_the_job_for_kubernetes_runs_work():
    job = yaml.safe_load(block("yaml"))
    assert (job["kind"], job["spec"]["completionMode"]) == ("Job", "Indexed")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    program, command, folder = container["command"]
    assert program == "gahbench"
    assert command in get_command(app).commands
    assert folder == container["volumeMounts"][0]["mountPath"]
    # Pod failure policies require this.
    assert pod["restartPolicy"] == "Never"
    assert job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == container["name"]


def test_the_script_for_ray_runs_work():
    strings = [node.value for node in ast.walk(ast.parse(block("py"))) if isinstance(node, ast.Constant)]
    options = {option for parameter in get_command(app).commands["work"].params for option in parameter.opts}
    assert "work" in strings
    assert {text for text in strings if str(text).startswith("--")} <= options


def test_dask_names_its_missing_extra(monkeypatch):
    monkeypatch.setattr(dask.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(gahbench.GahbenchError, match=r"pip install 'gahbench\[dask\]'"):
        dask.Dask("tcp://127.0.0.1:8786")
