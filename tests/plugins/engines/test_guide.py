"""The guide to engines: tables of engines and parameters, and the job for Kubernetes."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import gahbench
from gahbench.cli.app import app

GUIDE = (Path(__file__).parents[3] / "plugins" / "engines" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("spec", re.findall(r'--engine "([^"]*)"', GUIDE))
def test_the_engines_in_it_can_be_created(builtin, spec):
    pytest.importorskip({"slurm": "submitit", "dask": "distributed"}[spec.partition("[")[0]])
    assert builtin.create("engine", spec)


def test_the_job_for_kubernetes_runs_a_shard():
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
    job = yaml.safe_load(text)
    assert (job["kind"], job["spec"]["completionMode"]) == ("Job", "Indexed")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command = container["command"][-1]
    words = shlex.split(command.replace("$((JOB_COMPLETION_INDEX + 1))", "1"))
    options = {option for parameter in get_command(app).commands["run"].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    assert words[-1] == f"1/{job['spec']['completions']}"
    assert container["volumeMounts"][0]["mountPath"] in words
    # Pod failure policies require this.
    assert pod["restartPolicy"] == "Never"
    assert job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == container["name"]


@pytest.mark.parametrize(("name", "package"), [("slurm", "submitit"), ("dask[tcp://head:8786]", "distributed")])
def test_an_engine_names_its_missing_extra(builtin, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(gahbench.GahbenchError, match=rf"pip install 'gahbench\[{name.partition('[')[0]}\]'"):
        builtin.create("engine", name)
