"""Parts of a site: the order of runs and claims, links to documentation, and pages built by several processes."""

import os
import warnings
from types import SimpleNamespace

import pytest

from gahbench._util.errors import ParameterError
from gahbench.report.claims import JudgedClaim
from gahbench.site import processes
from gahbench.site.index import editorial_order
from gahbench.site.markdown import Links, render_markdown
from gahbench.site.pages import claims_by_paper, write_site
from gahbench.site.processes import map_in_processes


def test_runs_have_the_order_of_the_readme_and_others_come_last():
    runs = [SimpleNamespace(name=name, path=name) for name in ("a", "b", "bb", "c")]
    text = "[c](c/README.md), [bb](./bb) and [b](b#s)"
    assert [run.name for run in editorial_order(runs, text)] == ["c", "bb", "b", "a"]


def claim(paper, name, checked="text", run="run"):
    return JudgedClaim(paper, name, "", checked, "holds" if run else "not measured", "", "", "", "", run, "")


def test_publications_with_most_verdicts_and_verified_claims_come_first():
    claims = [
        claim("One", "unverified", checked="unverified"),
        claim("One", "unmeasured", run=""),
        claim("One", "measured"),
        claim("Two", "first"),
        claim("Two", "second"),
        claim("Three", "unverified", checked="unverified"),
    ]
    papers = claims_by_paper(claims)
    assert [paper for paper, _, _ in papers] == ["Two", "One", "Three"]
    assert [item.name for item in papers[1][1]] == ["measured", "unmeasured", "unverified"]
    assert papers[2][2] == "0 claims; 1 unverified, not counted"


def test_links_to_pages_above_the_folder_lead_to_the_documentation(tmp_path, builtin):
    links = Links(tmp_path, {}, "https://example.org/results/", "docs/")
    text = "[guide](../../.docs/guide/boards.md#ranks) [file](../../setup.py)"
    markup = render_markdown(text, *links.resolvers("run/README.md", "../")).markup
    assert 'href="../docs/.docs/guide/boards.html#ranks"' in markup
    assert 'href="https://example.org/setup.py"' in markup
    with pytest.raises(ParameterError, match=r"--documentation \.\./docs: expected a folder within the site"):
        write_site(tmp_path, tmp_path / "out", builtin, documentation="../docs")


def describe(item):
    if item == 2:
        warnings.warn("two", UserWarning, stacklevel=1)
    return item, os.getpid()


@pytest.mark.parametrize("count", [1, 2])
def test_processes_keep_the_order_and_repeat_warnings(monkeypatch, count):
    monkeypatch.setattr(processes, "cpu_count", lambda: count)
    with pytest.warns(UserWarning, match="two"):
        results = list(map_in_processes(describe, range(5)))
    assert [item for item, _ in results] == [0, 1, 2, 3, 4]
    assert ({pid for _, pid in results} == {os.getpid()}) == (count == 1 or processes.sys.platform != "linux")
    assert processes._functions == []


def test_deprecations_in_processes_are_not_repeated(monkeypatch):
    monkeypatch.setattr(processes, "cpu_count", lambda: 2)

    def deprecated(item):
        if os.getpid() != parent:
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        return item

    parent = os.getpid()
    assert list(map_in_processes(deprecated, range(3))) == [0, 1, 2]


def test_errors_of_processes_are_raised(monkeypatch):
    monkeypatch.setattr(processes, "cpu_count", lambda: 2)

    def fail(item):
        raise ParameterError(f"item {item}")

    with pytest.raises(ParameterError, match="item 0"):
        list(map_in_processes(fail, range(3)))
