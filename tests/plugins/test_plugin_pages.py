"""The examples on the pages about plugins keep their contracts and run."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from gahbench import Registry, load_results
from gahbench.cli.app import app
from gahbench.registry.configured import KINDS
from gahbench.testing import check_configured, check_file

ROOT = Path(__file__).parents[2]
PLUGIN_KINDS = ("architecture", "dataset", "reference", "basis", "metric", "engine", "tracker")
PAGES = {
    name: (ROOT / ".docs" / "plugins" / f"{name}.md").read_text(encoding="utf-8") for name in (*PLUGIN_KINDS, "rules")
}
GUIDE = "\n".join(PAGES.values())


#: The files of the pages by name, which is in their first line.
EXAMPLES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", GUIDE, flags=re.DOTALL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with all examples, saved under their names."""
    folder = tmp_path_factory.mktemp("pages") / "from_guide"
    folder.mkdir()
    for name, code in EXAMPLES.items():
        (folder / name).write_text(code, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def reports(folder):
    """The reports on all examples, which are checked together, since each check starts a process."""
    return check_file(folder)


@pytest.mark.parametrize("kind", PLUGIN_KINDS)
def test_the_example_of_each_kind_keeps_its_contract(folder, reports, kind):
    (name,) = re.findall(r"```python\n# (\w+\.py)\n", PAGES[kind])
    # The file can be loaded without the other examples.
    registry = Registry((folder / name,))
    assert not registry.problems
    (plugin,) = [plugin for each in KINDS for plugin in registry.plugins(each) if plugin.origin == str(folder / name)]
    assert plugin.kind == kind
    (report,) = [report for report in reports if report.origin == str(folder / name)]
    assert (report.kind, report.label) == (kind, registry.configure(kind, plugin.name).label)
    assert report.passed, str(report)
    if kind == "dataset":
        # The reference ``optimal`` has a Jacobian on this family.
        assert "traces of optimal filters agree with the posterior" in {finding.check for finding in report.findings}


def test_every_python_block_of_the_pages_is_an_example():
    assert len(EXAMPLES) == GUIDE.count("```python") == len(PLUGIN_KINDS)


@pytest.mark.usefixtures("figures_not_rendered")
def test_all_examples_run_in_the_suite_of_the_page(folder, command, tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
    suite = tmp_path / "mine.yaml"
    assert "steps: 200" in text
    suite.write_text(text.replace("steps: 200", "steps: 2"), encoding="utf-8")
    (line,) = re.findall(r"`gahbench run (mine\.yaml [^`]*)`", GUIDE)
    out = tmp_path / "out"
    arguments = line.replace("mine.yaml", str(suite)).replace("FOLDER", str(folder)).split()
    status, printed, stderr = command("run")(*arguments, "--out", out)
    assert status == 0, stderr
    results = load_results(out)
    assert results.failures.empty
    content = yaml.safe_load(text)
    assert len(set(results.scores["entrant"])) == len(content["entrants"])
    assert {"psnr", "noise-left[edges=0.2]", "noise-left[edges=0.2].edges"} <= set(results.scores["metric"])
    bases = ("diagonal-wiener[walsh,images=128]", "diagonal-wiener[wavelet[db4,levels=2]]", "oracle-threshold[walsh]")
    board = (out / "leaderboard.md").read_text(encoding="utf-8")
    for part in ("ramps", "two-layer", *bases):
        assert part in board
    assert "two layer" in printed.lower().replace("-", " ")
    # The tracker received the last validation of the network.
    assert "two-layer[width=8] on ramps[size=16] (seed 0) step 2 validation_psnr " in (out / "curves.txt").read_text()
    # The optimal denoiser of this family is known, and has the highest PSNR.
    board = results.leaderboard(full=True).set_index("entrant")
    assert board["psnr"].idxmax() == "optimal"


@pytest.mark.parametrize("basis", ["walsh", "pca", "graph-laplacian"])
def test_the_snippet_for_fitting_a_basis_works(tmp_path, folder, basis):
    (snippet,) = re.findall(r"\n((?: {4}.*\n)*.*gahbench\.TrainingData\(evaluation.*\n(?: {4}.*\n)*)", GUIDE)
    body = re.sub("^    ", "        ", snippet, flags=re.MULTILINE).replace("threshold", "0.1")
    file = tmp_path / "mine.py"
    file.write_text(
        "import copy\nfrom typing import Annotated\nimport gahbench\n\n\n@gahbench.hookimpl\n"
        "def register_metrics(register):\n    register('energy', Energy)\n\n\nclass Energy(gahbench.Metric):\n"
        f"    def __init__(self, basis: Annotated[gahbench.Basis, gahbench.Names('basis', default='{basis}')]):\n"
        "        self.basis = basis\n\n    def score(self, evaluation):\n"
        f"{body}        coefficients = adapted.analysis(evaluation.clean).flatten(1)\n"
        "        return gahbench.Scores.parts({'': coefficients.square().sum(1)})\n"
    )
    registry = Registry((file, folder))
    report = check_configured(registry.configure("metric", "energy"))
    assert report.passed, str(report)
    assert "is deterministic" in {finding.check for finding in report.findings}, str(report)


ENGINES = (ROOT / "plugins" / "engines" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("spec", re.findall(r'--engine "([^"]*)"', ENGINES))
def test_the_engines_of_their_page_can_be_created(builtin, spec):
    pytest.importorskip({"slurm": "submitit", "dask": "distributed"}[spec.partition("[")[0]])
    assert builtin.create("engine", spec)


def test_the_job_for_kubernetes_runs_a_shard():
    (text,) = re.findall(r"```yaml\n(.*?)```", ENGINES, flags=re.DOTALL)
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
