"""Ranks, orders and signs on the board of the frozen suite bear out the sentences of its page."""

from published_pages import load_results

DIRECTION = "direction[graph-laplacian,controlling_for=wavelet-ti[haar],ceiling_levels=1]"
BLIND = ("nafnet[width=10]", "unet[width=16,levels=2]", "bf-cnn[width=24,layers=12]", "vit[width=64,depth=2]")
GIVEN_SIGMA = ("unet-conditional[width=12]", "dit[width=48,depth=2]")


def frozen_families():
    """Return the boards of C^α images, discs, Gaussian fields and faces of the frozen suite, and ranks on each."""
    names = ("c-alpha[alpha=2,size=24]", "discs[size=24]", "gaussian-field[alpha=2,size=24]", "faces[size=24,test=28]")
    families = [load_results("standard-1").board.for_dataset(name) for name in names]
    ranks = [{entry.entrant: (entry.rank, entry.rank_high) for entry in family.entries} for family in families]
    return families, ranks


def test_ranks_and_gains_on_the_board_of_the_frozen_suite_bear_out_the_sentences_of_its_page():
    (c_alpha, discs, fields, faces), (on_c_alpha, on_discs, _, on_faces) = frozen_families()
    networks = [entry.entrant for entry in c_alpha.entries if entry.entrant in BLIND + GIVEN_SIGMA]
    assert networks[:2] == ["unet-conditional[width=12]", "nafnet[width=10]"]
    assert [on_c_alpha[row] for row in networks] == [(1, 2), (1, 2), (3, 4), (3, 4), (5, 7), (5, 7)]
    places = [on_discs[row] for row in (*networks[:2], "nl-means", "wiener-linear")]
    assert places == [(1, 1), (2, 2), (7, 7), (8, 8)]
    assert max(on_discs[row][1] for row in networks) == 6
    results = load_results("standard-1")
    for first in (results.board.for_dataset("photos[size=24]").entries[0], next(results.over_datasets().itertuples())):
        assert (first.entrant, first.rank, first.rank_high) == (networks[0], 1, 1)
    assert [on_faces[row] for row in networks[:2]] == [(8, 11), (12, 14)]
    assert max(on_faces[row][1] for row in networks[2:]) < 8
    # No entrant is shown to be above one whose best possible rank is 1.
    assert on_faces["guided-filter[eps=4]"] == (1, 6)
    assert all(family.estimate(row, "doubling").high >= 0.1 for family in (c_alpha, discs, fields) for row in networks)
    assert all(discs.estimate(row, "doubling").value > 0.695 for row in networks)
    gains = {row: faces.estimate(row, "doubling") for row in networks}
    assert {row for row, gain in gains.items() if gain.high < 0} == set(networks) - {"bf-cnn[width=24,layers=12]"}
    assert min(gains, key=lambda row: gains[row].value) == "nafnet[width=10]"


def test_directions_on_the_board_of_the_frozen_suite_bear_out_the_sentences_of_its_page():
    (c_alpha, discs, fields, faces), _ = frozen_families()
    for family, sigma in ((c_alpha, 0.05), (discs, 0.05), (discs, 0.2)):
        psnr = {row: family.estimate(row, "psnr", "", sigma).value for row in BLIND + GIVEN_SIGMA}
        truth = {row: family.estimate(row, "truth-direction", "", sigma) for row in psnr}
        known = sorted((row for row in truth if truth[row].is_known), key=lambda row: -truth[row].value)
        assert known == sorted(known, key=lambda row: -psnr[row])
        assert len(known) >= 4
        firsts, others = (known[:2], known[4:]) if family is c_alpha else (known[:1], known[1:])
        assert min(truth[row].low for row in firsts) > max(truth[row].high for row in others)
    graph = [fields.estimate(row, DIRECTION, "", 0.05) for row in BLIND + GIVEN_SIGMA]
    assert all(-0.05 < estimate.low < estimate.high < 0.05 for estimate in graph if estimate.is_known)
    for family in (c_alpha, discs, faces):
        bilateral = family.estimate("bilateral[hr=0.3]", DIRECTION, "", 0.05)
        directions = [family.estimate(row, DIRECTION, "", 0.05) for row in BLIND + GIVEN_SIGMA]
        known = [estimate for estimate in directions if estimate.is_known]
        assert min(estimate.low for estimate in known) > 0
        assert bilateral.low > max(estimate.high for estimate in known)


def test_self_consistency_on_the_board_of_the_frozen_suite_bears_out_the_sentences_of_its_page():
    families, _ = frozen_families()
    *known, on_faces = (
        {row: family.estimate(row, "self-consistency", "ratio") for row in BLIND + GIVEN_SIGMA} for family in families
    )
    assert all(ratios[row].high < 1 for ratios in known[:2] for row in BLIND[1:])
    assert all(ratios[row].low < 1 < ratios[row].high for ratios in known for row in GIVEN_SIGMA)
    assert min(on_faces[row].low for row in ("unet-conditional[width=12]", "nafnet[width=10]")) > 3
