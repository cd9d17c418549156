"""What one of many runs says."""

import logging

import pytest

from speechshap.cli import inner_run


def test_a_warning_is_told_once_for_all_folds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inner_run, "_told", set())
    logger = logging.getLogger("speechshap.data")
    caplog.set_level("INFO", logger="speechshap")
    for fold in (1, 2, 3):
        with inner_run.quiet():
            logger.info("split by speaker")
            logger.warning("2 files left out, listed in runs/fold_%d_seed_0/skipped.csv", fold)
    logger.info("after")
    assert [record.getMessage() for record in caplog.records] == [
        "2 files left out, listed in runs/fold_1_seed_0/skipped.csv",
        "after",
    ]
