"""The engine ``inline``, which runs external plugins only if they are trusted."""

import pytest

import gahbench
from gahbench._util.errors import PluginError

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")


def test_external_plugins_are_refused_unless_they_are_trusted(write_suite, write_plugin, tmp_path):
    plugin = write_plugin("mine", "return noisy - self.noise(noisy)")
    options = {"entrants": ["mine"], "plugins": [plugin]}
    with pytest.raises(PluginError, match=r"mine\.py would run in this process.*inline\[trusted=true\].*processes"):
        gahbench.run(write_suite(), tmp_path / "out", engine="inline", **options)
    assert not list(tmp_path.glob("out/units/*"))
    # A file of plugins that no unit uses is allowed.
    assert gahbench.run(write_suite(), tmp_path / "others", engine="inline", plugins=[plugin]).done == 7
    assert gahbench.run(write_suite(), tmp_path / "out", engine="inline[trusted=true]", **options).done == 10
