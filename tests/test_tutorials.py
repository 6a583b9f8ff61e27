"""Execution of tutorials in the build of the documentation."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / ".docs" / "tutorials.py"
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


@pytest.fixture
def tutorials():
    """Return the module, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("tutorials", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_blocks_write_files_and_pages_show_the_output_of_commands(tutorials, tmp_path):
    text = tutorials.execute(PAGE, tmp_path)
    assert (tmp_path / "suite.yaml").read_text() == "# suite.yaml\nname: mine\n"
    assert "\n```{code-block} text\n:class: output\n\nname: mine\nwarning\n~/tutorial\n```\n" in text
    # Only blocks of the language `console` are executed.
    assert text.endswith("```sh\nexit 1\n```\n")


def test_a_failing_command_ends_the_build_with_its_output(tutorials, tmp_path):
    with pytest.raises(RuntimeError, match=r"exit status 3 .*\n.*\n.*\n.*\nreason"):
        tutorials.execute("```console\necho reason; (exit 3)\necho never\n```\n", tmp_path)


def test_a_missing_figure_raises_an_error(tutorials, tmp_path):
    page = "```{figure} figure.png\nA figure.\n```\n"
    with pytest.raises(RuntimeError, match=r"has written the figure figure\.png"):
        tutorials.execute(page, tmp_path, FILE.parents[1] / "build" / "none")
