"""What a model card says, and that no name can break it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard as HubCard
from markdown_it import MarkdownIt
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from speechshap.data.corpora import NAMING_RULES
from speechshap.training.classification_scores import count_by_speaker
from speechshap.training.model_card import _ACTED, ModelCard, card_text
from speechshap.training.predictions import AboutTest, Predictions
from speechshap.training.training_record import Part, TrainingRecord

CLASSES = ("calm", "angry")
TRUE, PREDICTED, SPEAKERS = [0, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 0], ["Ben", "Ben", "Ben", "Cem", "Cem", "Cem"]

RECORD = TrainingRecord(
    corpus="ravdess",
    root="RAVDESS",
    split="by speaker, seed 0",
    overlap="speaker-independent: none of the 2 test speakers is heard in training or validation",
    validates_others=True,
    parts={"train": Part(8, ["Anna"], 0), "val": Part(4, ["Dana", "Eva"], 0), "test": Part(6, ["Ben", "Cem"], 0)},
    skipped={"too short": 2, "silent": 1},
    backbone="openai/whisper-base",
    is_on_hub=True,
    options={"learning_rate": 0.01, "max_epochs": 5},
    seed="3",
    commands=["speechshap train fit --config ravdess"],
    versions={"speechshap": "1.2.3", "torch": "9.9", "transformers": "8.8", "python": "3.11.7"},
)
VALIDATION = count_by_speaker([0, 1, 0, 1], [0, 1, 0, 0], ["Dana", "Dana", "Eva", "Eva"], 2)
CARD = ModelCard(
    name="ravdess/version_0",
    classes=CLASSES,
    checkpoint="best.ckpt",
    architecture="whisper 6 x 512",
    epoch=4,
    is_finished=True,
    is_trial=False,
    model={"freeze": "backbone", "pooling": "attentive", "hidden_units": 256, "hidden_layer": None, "head": None},
    record=RECORD,
    validation=VALIDATION,
    tests=[],
    usage="speechshap explain --model here",
)


def make_test(**about: Any) -> Predictions:
    told = {
        "corpus": "ravdess (/home/anna/corpora/RAVDESS)", "split": "by speaker, seed 0", "is_independent": True,
        "overlap": RECORD.overlap, **about,
    }  # fmt: skip
    probabilities = np.eye(2, dtype=np.float32)[PREDICTED]
    names = tuple(f"{number}.wav" for number in range(6))
    return Predictions(CLASSES, names, names, tuple(SPEAKERS), np.array(TRUE), probabilities, AboutTest(**told))


def sections(text: str) -> dict[str, str]:
    """What stands below each heading."""
    blocks = HubCard(text, ignore_metadata_errors=False).text.split("\n#")
    return {block.lstrip("# ").split("\n")[0]: block.partition("\n")[2].strip() for block in blocks}


def metadata(text: str) -> dict[str, Any]:
    return HubCard(text).data.to_dict()  # type: ignore[no-any-return]


def test_the_hub_reads_what_is_known_and_nothing_that_is_not() -> None:
    assert metadata(card_text(CARD)) == {
        "language": "en",
        "library_name": "speechshap",
        "pipeline_tag": "audio-classification",
        "tags": ["speech-emotion-recognition", "speech", "explainability"],
        "base_model": "openai/whisper-base",
    }
    of_hub = replace(CARD, record=replace(RECORD, corpus="manifest", dataset="anna/voices"))
    assert metadata(card_text(of_hub))["datasets"] == ["anna/voices"]
    unknown = metadata(card_text(replace(CARD, record=TrainingRecord(), validation=None)))
    assert set(unknown) == {"library_name", "pipeline_tag", "tags"}


def test_results_for_the_hub_are_those_of_tests_as_scikit_learn_has_them() -> None:
    (result,) = metadata(card_text(replace(CARD, tests=[make_test()])))["model-index"][0]["results"]
    assert result["dataset"] == {"type": "ravdess", "name": "ravdess", "split": "test"}
    expected = {
        "recall": balanced_accuracy_score(TRUE, PREDICTED),
        "accuracy": accuracy_score(TRUE, PREDICTED),
        "f1": f1_score(TRUE, PREDICTED, average="macro"),
    }
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == pytest.approx(expected, abs=1e-4)
    assert all("(speaker-independent; 95 % interval " in metric["name"] for metric in result["metrics"])


def test_validation_is_never_called_a_test() -> None:
    found = sections(card_text(CARD))
    assert "| UAR             | 0.750 |" in found["Validation (speaker-independent)"]
    assert "chose the epoch" in found["Validation (speaker-independent)"]
    assert "test" not in found["Validation (speaker-independent)"].replace("It has not been tested.", "")
    assert "It has not been tested." in card_text(CARD)
    assert not any(heading.startswith("Test") for heading in found)


@pytest.mark.parametrize(
    ("is_independent", "words"),
    [(True, "speaker-independent"), (False, "speaker-dependent"), (None, "speakers unknown")],
)
def test_whether_speakers_are_heard_on_both_sides_stands_at_each_figure(
    is_independent: bool | None, words: str
) -> None:
    record = replace(RECORD, validates_others=is_independent)
    card = replace(CARD, record=record, tests=[make_test(is_independent=is_independent)])
    found, index = sections(card_text(card)), metadata(card_text(card))["model-index"][0]["results"][0]["metrics"]
    assert {f"Validation ({words})", f"Test ({words})"} <= set(found)
    assert all(words in metric["name"] for metric in index)


def test_each_test_has_its_scores_and_folders_are_those_of_nobody() -> None:
    text = card_text(replace(CARD, tests=[make_test(), make_test(corpus="emodb (/mnt/secret/EmoDB)", fold=2)]))
    assert text.count("### Test (speaker-independent)") == 2
    assert "- corpus: emodb (folder EmoDB)\n- tested: 6 utterances of 2 speakers: Ben, Cem" in text
    assert "- fold: 2" in text
    assert not {"anna", "secret", "/mnt", "/home"} & set(text.replace("/", " / ").split())


def test_what_was_trained_and_what_was_left_out_is_told() -> None:
    found = sections(card_text(CARD))
    corpus, training = found["Corpus and split"], found["Training"]
    assert "- left out: 3 files (2 too short; 1 silent)" in corpus
    rows = [line.split("|")[1:5] for line in corpus.splitlines() if line.startswith("|")][2:]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["training", "8", "1", "Anna"],
        ["validation", "4", "2", "Dana, Eva"],
        ["held out for test", "6", "2", "Ben, Cem"],
    ]
    assert "from [openai/whisper-base](https://huggingface.co/openai/whisper-base)" in training
    assert "- kept: epoch 4, `best.ckpt`" in training
    assert "| learning_rate | 0.01  |" in training
    assert "seed: 3" in found["Made with"]
    assert "torch 9.9" in found["Made with"]
    assert "```bash\nspeechshap train fit --config ravdess\n```" in found["Made with"]


@pytest.mark.parametrize(
    ("corpus", "words"),
    [("ravdess", "actors who speak"), ("planted_band", "synthetic sounds"), ("manifest", "is not known to this card")],
)
def test_limits_are_those_of_the_speech(corpus: str, words: str) -> None:
    limits = sections(card_text(replace(CARD, record=replace(RECORD, corpus=corpus))))["Intended use and limits"]
    assert words in limits
    assert "It is not what the person feels" in limits


def test_each_corpus_of_actors_has_a_language() -> None:
    assert set(_ACTED) == set(NAMING_RULES)


@pytest.mark.parametrize(
    ("finished", "words"), [(True, ""), (False, "interrupted and is not finished"), (None, "is not known.**")]
)
def test_a_training_that_did_not_end_is_told_at_the_top(finished: bool | None, words: str) -> None:
    top = card_text(replace(CARD, is_finished=finished)).partition("## Corpus")[0]
    assert words in top
    assert ("**" in top) == (finished is not True)


NASTY = "x\n---\n# y | `z` <b>_w_ *v* [u](t) &amp; ~~s~~ \"r': {q}"


def test_no_name_breaks_the_card() -> None:
    """Two parsers that share no code with it show each name letter by letter, and no other structure."""
    plain_card = replace(CARD, tests=[make_test()])
    record = replace(
        RECORD, corpus=NASTY, root=NASTY, split=NASTY, overlap=NASTY, backbone=NASTY, is_on_hub=False,
        parts={"train": Part(1, [NASTY], 1)}, skipped={NASTY: 1}, options={"head": NASTY, NASTY: 1},
        commands=[f"speechshap '{NASTY} ```\n```\n'"],
    )  # fmt: skip
    test = make_test(corpus=f"{NASTY} ({NASTY})", split=NASTY, overlap=NASTY)._replace(classes=(NASTY, "b"))
    speakers = count_by_speaker([0, 1], [0, 1], [NASTY, "b"], 2)
    model = {**CARD.model, "head": {"class_path": NASTY}, "freeze": NASTY}
    text = card_text(
        replace(
            CARD,
            name=NASTY,
            classes=(NASTY, "b"),
            record=record,
            validation=speakers,
            tests=[test],
            model=model,
            architecture=NASTY,
        )
    )
    shown = " ".join(NASTY.split())
    assert metadata(text)["model-index"][0]["name"] == shown
    tokens, usual = (parsed(each) for each in (text, card_text(plain_card)))
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == [usual[p + 1].content for p, token in enumerate(usual) if token.type == "heading_open"][1:]
    assert len([token for token in tokens if token.type == "table_open"]) == 4
    assert not [token for token in tokens if token.type in ("html_block", "hr")]
    inner = [child for token in tokens for child in token.children or []]
    assert {child.type for child in inner} <= {
        "text", "text_special", "softbreak", "strong_open", "strong_close", "code_inline", "link_open", "link_close",
    }  # fmt: skip
    cells = ["".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"]
    assert f"recall of {shown}" in cells
    assert cells[0] == shown
    assert f"split: {shown}" in "\n".join(cells).splitlines()
    codes = [token.content for token in tokens if token.type == "fence"]
    assert codes[-1] == f"{record.commands[0]}\n"


def parsed(text: str) -> list[Any]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(HubCard(text).text)


def test_a_long_list_of_speakers_is_cut_short_and_counted() -> None:
    names = [f"speaker {number:03}" for number in range(100)]
    card = replace(CARD, record=replace(RECORD, parts={"train": Part(200, names, 0)}))
    (row,) = (line for line in card_text(card).splitlines() if line.startswith("| training"))
    assert row.split("|")[3].strip() == "100"
    assert "speaker 039, ..." in row
    assert "speaker 040" not in row


def test_without_validation_the_last_epoch_counts() -> None:
    text = card_text(replace(CARD, validation=None))
    assert "There was no validation: the last epoch was kept." in text
    assert "### Validation" not in text


def test_a_checkpoint_that_tells_nothing_has_a_card_that_says_so() -> None:
    text = card_text(replace(CARD, record=TrainingRecord(), validation=None, is_finished=None))
    assert "The checkpoint does not tell what it was trained on." in text
    assert "no validation" not in text
    assert "Made with" not in text
