"""Tutorials: execution of their commands, and agreement of the code that they show with the library."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from gahbench.evaluation import adaptation, align, remove_strength
from gahbench.jacobian import Sketch

DOCS = Path(__file__).parents[1] / ".docs"
PAGE = """# Title

```yaml
# suite.yaml
name: mine
```

```console
cat suite.yaml | tail -n 1
echo warning >&2
pwd
```

```sh
exit 1
```
"""


def load(file):
    """Return a module that is not part of a package."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tutorials():
    return load(DOCS / "tutorials.py")


def test_blocks_write_files_and_pages_show_the_output_of_commands(tutorials, tmp_path):
    text = tutorials.execute(PAGE, tmp_path)
    assert (tmp_path / "suite.yaml").read_text() == "# suite.yaml\nname: mine\n"
    assert "\n```{code-block} text\n:class: output\n\nname: mine\nwarning\n~/tutorial\n```\n" in text
    # Only blocks of the language `console` are executed.
    assert text.endswith("```sh\nexit 1\n```\n")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```console\necho reason; (exit 3)\necho never\n```\n", r"exit status 3 .*\n.*\n.*\n.*\nreason"),
        ("```{figure} figure.png\nA figure.\n```\n", r"has written the figure figure\.png"),
    ],
)
def test_a_failing_command_and_a_missing_figure_end_the_build(tutorials, tmp_path, page, message):
    with pytest.raises(RuntimeError, match=message):
        tutorials.execute(page, tmp_path, DOCS / "build" / "none")


def test_the_functions_of_the_tutorial_on_direction_agree_with_the_library(tmp_path):
    page = (DOCS / "tutorials" / "direction.md").read_text(encoding="utf-8")
    file = tmp_path / "one_dimension.py"
    file.write_text(re.search(r"```python\n(# one_dimension\.py\n.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    previous = torch.get_default_dtype()
    try:
        tutorial = load(file)
        draw = torch.Generator().manual_seed(1)
        links = torch.rand(32, 6, 6, generator=draw)
        links = links + links.mT
        strength = torch.linspace(2, 5, 32)
        graph = tutorial.smoother(links, strength)
        assert tutorial.trace(graph).tolist() == pytest.approx(strength.tolist(), rel=1e-9)
        # (1 + mu L) S = 1, so S^-1 - 1 is proportional to L.
        laplacian = torch.diag_embed(links.sum(2)) - links
        excess = torch.linalg.inv(graph) - torch.eye(6)
        assert tutorial.cosine(excess, laplacian) == pytest.approx(1)
        other = graph + 0.1 * torch.diag_embed(torch.rand(32, 6, generator=draw))
        remove = remove_strength(tutorial.trace(other))
        assert len(remove) == 32
        remainders = [tutorial.without_strength(filters, tutorial.trace(other)) for filters in (other, graph)]
        expected = align(*(adaptation(Sketch(filters, exact=True), remove) for filters in (other, graph))).own.mean()
        assert tutorial.cosine(*remainders) == pytest.approx(float(expected), abs=1e-9)
    finally:
        torch.set_default_dtype(previous)
