"""Suites that take long run with small images and few steps, and their metrics have values for networks."""

import pytest
import yaml
from tiny_runs import run

import gahbench
from gahbench.planning.suite_files import suite_files

#: Fields of a suite that leave seconds of work: entrants are networks only.
SMALL = {
    "attention": {
        "datasets": [{"c-alpha": {"alpha": 2, "size": 8}}],
        "training": {"train_images": [30], "steps": 2},
        "scoring": {"sigmas": [0.2], "images": 28, "metrics": ["psnr", "generalization-gap", "direction"]},
    },
    "flows": {
        "datasets": [{"sinusoids": {"size": 8}}],
        "training": {"train_images": [4], "steps": 2},
        "scoring": {
            "sigmas": [0.2],
            "images": 3,
            "sampling": {"count": 3, "sampler": "flow", "sigma_end": 0.1, "levels": 4},
        },
    },
}
VALUES = {
    "attention": ["psnr", "generalization-gap", "direction[graph-laplacian]"],
    "flows": ["flow-distance[optimal]", "local-dimension.excess", "selective-underfitting.supervision"],
}


@pytest.mark.usefixtures("figures_not_rendered", "rows_not_audited")
@pytest.mark.parametrize("name", SMALL)
def test_a_small_version_of_a_suite_runs(tmp_path, name):
    content, small = yaml.safe_load(suite_files()[name].read_text(encoding="utf-8")), SMALL[name]
    networks = [entry for entry in content["entrants"] if isinstance(entry, dict) and {"dit", "unet"} & set(entry)]
    content |= {"seeds": [0], "datasets": small["datasets"], "entrants": networks}
    content["training"] |= small["training"]
    content["scoring"] |= {"splits": ["test"], **small["scoring"]}
    suite = tmp_path / f"{name}.yaml"
    suite.write_text(yaml.safe_dump(content), encoding="utf-8")
    run(suite, tmp_path / "out")
    scores = gahbench.load_results(tmp_path / "out").scores
    assert len(scores.entrant.unique()) == len(networks)
    for metric in VALUES[name]:
        assert set(scores[scores.metric == metric].entrant) == set(scores.entrant), metric
