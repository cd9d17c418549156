import logging
from pathlib import Path

import pytest
from helpers import write_explanation

from speechshap.cli.report import report
from speechshap.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run in which two speakers are happy and sad, and one is calm."""
    for name, emotion in (("Anna", "happy"), ("Anna", "sad"), ("Bert", "happy"), ("Bert", "sad"), ("Bert", "calm")):
        write_explanation(tmp_path / "explanations", f"{name} {emotion}.wav", targets=(emotion,), speaker=name)
    return tmp_path


def test_two_classes_are_compared_and_nothing_else_is_written(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        report([str(run), "--compare", "sad, happy"])
    corpus = run / "explanations" / "corpus"
    assert sorted(path.name for path in corpus.iterdir()) == ["sad_against_happy.csv", "sad_against_happy.png"]
    assert caplog.messages == [f"comparison: {corpus / 'sad_against_happy.png'} and sad_against_happy.csv"]
    assert not (run / "explanations" / "report.html").exists()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("sad", "--compare takes two classes with a comma between them, such as angry,sad; got 'sad'"),
        ("sad,", "--compare takes two classes with a comma between them, such as angry,sad; got 'sad,'"),
        ("sad,angry", "--compare: the prediction angry is never explained; there are calm, happy, sad"),
        (
            "calm,sad",
            "--compare: calm and sad need two speakers who speak both, or two each who speak one of them; calm is "
            "spoken by Bert, sad by Anna, Bert",
        ),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_sentence(run: Path, classes: str, message: str) -> None:
    with pytest.raises(UserError) as told:
        report([str(run), "--compare", classes])
    assert str(told.value) == message


def test_the_report_shows_as_many_utterances_as_are_asked_for(run: Path) -> None:
    report([str(run), "--utterances", "2"])
    page = (run / "explanations" / "report.html").read_text()
    assert page.count('id="payload-') == 2
    assert "2 of 5 utterances are shown" in page
    with pytest.raises(UserError, match="--utterances is 0; expected 1 at least"):
        report([str(run), "--utterances", "0"])
