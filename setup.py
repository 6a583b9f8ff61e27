"""The long description of the package: README.md, whose relative links are replaced by links to the repository."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent

project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
repository = project["project"]["urls"]["Repository"]


def absolute(link: re.Match[str]) -> str:
    """Return a link to the file in the repository, and of an image to its content."""
    image, text, path, place = link.groups(default="")
    return f"{image}[{text}]({repository}/{'raw' if image else 'blob'}/main/{path}{place})"


readme = (HERE / "README.md").read_text(encoding="utf-8")
links = re.compile(project["tool"]["gahbench"]["link"])
setup(long_description=links.sub(absolute, readme), long_description_content_type="text/markdown")
