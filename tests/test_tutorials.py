"""How tutorials are executed when the site of documentation is built."""

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
    """The module, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("tutorials", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_written_and_the_output_of_commands_is_shown(tutorials, tmp_path):
    text = tutorials.execute(PAGE, tmp_path)
    assert (tmp_path / "suite.yaml").read_text() == "# suite.yaml\nname: mine\n"
    assert "\n```{code-block} text\n:class: output\n\nname: mine\nwarning\n~/tutorial\n```\n" in text
    # A block that is not of the language `console` is only shown.
    assert text.endswith("```sh\nexit 1\n```\n")


def test_a_command_that_fails_ends_the_build_with_its_output(tutorials, tmp_path):
    with pytest.raises(RuntimeError, match=r"exit status 3 .*\n.*\n.*\n.*\nreason"):
        tutorials.execute("```console\necho reason; (exit 3)\necho never\n```\n", tmp_path)


def test_a_figure_must_have_been_written(tutorials, tmp_path):
    page = "```{figure} figure.png\nA figure.\n```\n"
    with pytest.raises(RuntimeError, match=r"has written the figure figure\.png"):
        tutorials.execute(page, tmp_path, FILE.parents[1] / "build" / "none")
