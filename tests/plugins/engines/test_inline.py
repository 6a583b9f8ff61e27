"""The engine ``inline``, which runs external plugins only if they are trusted."""

import pytest
from sample_files import REFERENCES

import gahbench
from gahbench._util.errors import PluginError

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


def test_external_plugins_are_refused_unless_they_are_trusted(write_suite, write_plugin, tmp_path):
    suite = write_suite(text=REFERENCES)
    plugin = write_plugin("mine", "return noisy - self.noise(noisy)")
    options = {"entrants": ["mine"], "plugins": [plugin]}
    with pytest.raises(
        PluginError, match=r"plugins of mine on discs.* would run in this process.*inline\[trusted=true\].*local"
    ):
        gahbench.run(suite, tmp_path / "out", engine="inline", **options)
    assert not list(tmp_path.glob("out/units/*"))
    # A file of plugins that no unit uses is allowed.
    assert gahbench.run(suite, tmp_path / "others", engine="inline", plugins=[plugin]).done == 4
    assert gahbench.run(suite, tmp_path / "out", engine="inline[trusted=true]", **options).done == 7
