"""Pages of a folder whose plan was changed after its board was written."""

import pytest

import gahbench
from gahbench.registry.registry import Registry
from gahbench.report.page.report import html_report
from gahbench.runs.collect import collect
from gahbench.runs.opening import plan_with
from gahbench.runs.running import write_plan
from gahbench.site.pages import write_site

pytestmark = [
    pytest.mark.usefixtures("dry_runs_here"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
]

NAMED = (
    ("unet: {width: 2, levels: 1}", "unet: {width: 2, levels: 1, label: Mine}"),
    ("discs: {size: 16}", "discs: {size: 16, label: Discs}"),
)


def test_pages_show_the_board_as_it_was_written_and_say_so(write_suite, tmp_path):
    out = tmp_path / "runs" / "out"
    gahbench.run(write_suite(), out, engine="inline")
    registry = Registry()
    write_plan(plan_with(registry, write_suite(*NAMED), out), out, registry)
    with pytest.warns(UserWarning, match=rf"plan was changed after .*'gahbench collect {out}' writes the board anew"):
        assert "unet[width=2,levels=1]" in html_report(out, registry)
    with pytest.warns(UserWarning, match="plan was changed"):
        write_site(tmp_path / "runs", tmp_path / "site", registry)
    collect(out)
    assert "Mine" in html_report(out, registry)
