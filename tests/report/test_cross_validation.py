"""The summary of a cross-validation: text, table, figure and TensorBoard."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG

from speechshap.report.cross_validation import csv_text, markdown, scores_table, write_summary
from speechshap.training.cross_validation import CrossValidation, FoldRun, Results
from speechshap.training.predictions import AboutTest, Predictions

ABOUT = AboutTest("my corpus", "by speaker", None, "speaker-independent: none is heard", True, 0, "best.ckpt")


def predictions(
    *speakers: str, classes: tuple[str, ...] = ("calm", "angry"), seed: int = 0, about: AboutTest = ABOUT
) -> Predictions:
    num = 8 * len(speakers)
    true = np.arange(num) % len(classes)
    chances = np.random.default_rng(seed).random((num, len(classes))).astype(np.float32)
    names = tuple(f"{name}/{place}" for place in range(8) for name in speakers)
    return Predictions(classes, names, names, speakers * 8, true, chances, about)


def results(**options: AboutTest) -> Results:
    tests = {
        FoldRun(fold, seed): predictions(*speakers, seed=10 * fold + seed, **options)  # type: ignore[arg-type]
        for seed in (0, 1)
        for fold, speakers in ((1, ("Anna", "Ben")), (2, ("Carol",)))
    }
    return Results(2, [0, 1], tests)


def test_the_table_for_pandas_has_folds_seeds_and_all() -> None:
    found = results()
    rows = pd.read_csv(io.StringIO(csv_text(found)))
    uar = rows[rows.score == "UAR"]
    for run, each in found.tests.items():
        own = uar[(uar.fold == run.fold) & (uar.seed == run.seed)]
        assert own.value.item() == pytest.approx(balanced_accuracy_score(each.true, each.predicted))
        assert own.speakers.item() == " ".join(sorted(set(each.speakers)))
    of_seeds = uar[uar.fold.isna() & uar.seed.notna()]
    assert list(of_seeds.value) == [found.scores_of_seeds[seed].uar.value for seed in (0, 1)]
    of_all = uar[uar.fold.isna() & uar.seed.isna()]
    assert tuple(of_all[["value", "low", "high"]].to_numpy()[0]) == pytest.approx(found.pooled_scores.uar)
    assert of_all.predictions.item() == 48
    assert set(rows.score) == {"UAR", "WA", "macro F1", "recall of calm", "recall of angry"}


def test_the_text_has_each_fold_and_says_what_is_missing() -> None:
    text = markdown(results(), "speechshap cross-validate --folds 2")
    assert "- folds: 2, each with 2 seeds\n" in text
    assert "- tested: 24 utterances of 3 speakers: Anna, Ben, Carol\n" in text
    assert "- speakers: speaker-independent: in none of the 4 tests is a speaker heard in training\n" in text
    assert "- command: `speechshap cross-validate --folds 2`\n" in text
    assert text.count("| Anna, Ben ") == 2
    assert "missing" not in text
    part = Results(2, [0, 1], {FoldRun(2, 0): predictions("Carol")})
    assert "- missing: fold 1, seed 0; fold 1, seed 1; fold 2, seed 1 (" in markdown(part, "")


def test_a_seed_alone_is_not_spread_over() -> None:
    one = Results(2, [0], {FoldRun(n, 0): predictions(name, seed=n) for n, name in ((1, "Anna"), (2, "Ben"))})
    assert "seeds" not in scores_table(one)
    assert "seeds: mean ± sd" in scores_table(results())


def test_names_of_the_corpus_are_shown_letter_by_letter() -> None:
    """A bar would begin a new cell of a table, and the rest would be taken for markup."""
    odd = predictions("<b>A|B", "_C_", classes=("a|b", "<i>*x*"))
    text = markdown(Results(1, [0], {FoldRun(1, 0): odd}), "")
    assert "| recall of a\\|b " in text
    assert "| recall of &lt;i>\\*x\\* " in text
    assert "&lt;b>A\\|B, \\_C\\_" in text
    for table in (part.splitlines() for part in text.split("\n\n") if part.startswith("|")):
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_voices_that_were_heard_in_training_are_told_with_the_title() -> None:
    heard = ABOUT._replace(is_independent=False, overlap="speaker-dependent: 3 of 3 are heard")
    found = results(about=heard)
    text = markdown(found, "")
    assert text.startswith("# Cross-validation (speaker-dependent)\n")
    assert "speaker-dependent: in 4 of the 4 tests speakers are heard in training" in text


def test_the_files_are_whole_and_tensorboard_shows_them(tmp_path: Path) -> None:
    validation, found = CrossValidation(tmp_path, 2, [0, 1]), results()
    for command in ("first", "again"):
        write_summary(validation, found, command, {"learning_rate": 0.01})
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".md", ".png", ".summary"]
    assert "`again`" in (tmp_path / "cross_validation.md").read_text()
    with Image.open(tmp_path / "confusion_matrix.png") as image:
        assert min(image.size) > 200
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Scalars("test/uar")[0].value == pytest.approx(found.pooled_scores.uar.value)
    assert events.Tags()["images"] == ["cross_validation/confusion_matrix"]
    assert "cross_validation/summary/text_summary" in events.Tags()["tensors"]
    assert events.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.plugin_name == "hparams"
