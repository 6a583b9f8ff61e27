"""The engine ``inline``, which runs external plugins only if they are trusted."""

import pytest
from sample_files import REFERENCES

import gahbench
from gahbench._util.errors import PluginError
from gahbench.registry.registry import open_registry
from gahbench.runs import running
from gahbench.runs.opening import open_run

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


def test_external_plugins_are_refused_unless_they_are_trusted(write_suite, write_plugin, tmp_path, monkeypatch):
    suite = write_suite(text=REFERENCES)
    plugin = write_plugin("mine", "return noisy - self.noise(noisy)")
    options = {"entrants": ["mine"], "plugins": [plugin]}
    with pytest.raises(PluginError, match=r"mine\.py would run in this process.*inline\[trusted=true\].*processes"):
        gahbench.run(suite, tmp_path / "out", engine="inline", **options)
    assert not list(tmp_path.glob("out/units/*"))
    # A file of plugins that no unit uses is allowed. To save time, the run is not planned in another process.
    monkeypatch.setattr(running, "open_in_process", lambda request: open_run(request, open_registry(request.sources)))
    assert gahbench.run(suite, tmp_path / "others", engine="inline", plugins=[plugin]).done == 4
    assert gahbench.run(suite, tmp_path / "out", engine="inline[trusted=true]", **options).done == 7
