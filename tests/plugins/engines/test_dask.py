"""The engine ``dask`` on a real cluster of two workers with a thread each."""

import pytest

pytestmark = pytest.mark.extras("distributed")


def test_units_are_finished_by_tasks(make, dask_cluster):
    run = make()
    run.start(f"dask[{dask_cluster.address}]", "--workers", "2")
    run.check()


def test_a_stop_lets_rows_write_checkpoints(make, dask_cluster):
    run = make()
    run.start(f"dask[{dask_cluster.address}]")
    run.wait_for_checkpoints(2)
    assert run.stop() == 130
    assert len(run.checkpoints()) == 2


def test_a_worker_that_joins_gets_rows(make, monkeypatch, request):
    # No row may end before the worker is up.
    monkeypatch.setenv("SECONDS_PER_STEP", "20")
    dask_cluster, run = request.getfixturevalue("dask_cluster"), make()
    run.start(f"dask[{dask_cluster.address}]")
    run.wait_for_checkpoints(2)
    dask_cluster.start_worker("w2")
    run.wait_for_checkpoints(3)


def test_a_missing_scheduler_is_an_error(make, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    run = make()
    run.start("dask[tcp://127.0.0.1:9]")
    assert run.end() == 2
    assert "no scheduler of Dask answers at tcp://127.0.0.1:9" in run.printed()
