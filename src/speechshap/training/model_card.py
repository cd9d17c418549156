"""A model card: what was trained, on whom, how well it does, and what it is not for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from speechshap.bootstrap import Estimate
from speechshap.data.planted_clip import PLANTED_KINDS
from speechshap.data.wording import counted, name_some
from speechshap.markdown import plain, table
from speechshap.training.classification_scores import ClassificationScores, SpeakerCounts, classification_scores
from speechshap.training.predictions import Predictions
from speechshap.training.scores_text import facts_text, legend, scores_table, speakers_text
from speechshap.training.training_record import TrainingRecord

_MOST = 40
"""Speakers whose names are listed."""

_ACTED = {"ravdess": "en", "emodb": "de", "savee": "en", "crema_d": "en", "tess": "en"}
"""Corpora of actors who speak a few given sentences, and their language."""

_USES = {"train": "training", "val": "validation", "test": "held out for test"}

_METRICS = {"UAR": "recall", "WA": "accuracy", "macro F1": "f1"}
"""Names that the Hugging Face hub has for scores."""

_LIMITS = """\
It is for research on emotion in speech: to compare models, and to see what in the sound such a model decides by.

- It gives one of the classes above for any sound, also for noise, music, or an emotion that it does not know.
- {speech}
- Its output is a guess at what listeners would call a recording. It is not what the person feels, thinks or intends,
  and no ground for decisions about people: not in hiring, school, health, policing, or border control. In the European
  Union, inferring emotions at work and in education is prohibited, with few exceptions (Regulation (EU) 2024/1689,
  article 5).
- Other voices, languages, rooms and microphones than those of the training may be judged worse, and worse for some
  groups of people than for others. This was not measured.
- Its probabilities are not calibrated.
- An explanation says what the model decides by. It does not say that this is how emotion is spoken."""


@dataclass(frozen=True)
class ModelCard:
    """What a card tells.

    Attributes:
        name: Of the model.
        classes: That it knows.
        checkpoint: Name of the file that the card is about.
        architecture: Kind and size of the backbone.
        epoch: In which the weights were kept, from 1.
        is_finished: Whether the training ended by itself; None where that is not known.
        is_trial: Whether the training was one of a sweep, which chose among its options by the validation.
        model: Options of the module.
        record: Of the training.
        validation: Confusion counts of the validation in the epoch of the checkpoint; None without one.
        tests: Of this checkpoint.
        usage: Commands that explain its predictions.
    """

    name: str
    classes: Sequence[str]
    checkpoint: str
    architecture: str
    epoch: int
    is_finished: bool | None
    is_trial: bool
    model: Mapping[str, Any]
    record: TrainingRecord
    validation: SpeakerCounts | None
    tests: Sequence[Predictions]
    usage: str


def card_text(card: ModelCard) -> str:
    """The card in Markdown, with the metadata of the Hugging Face hub at its top.

    The language is that of a known corpus. A license is left out: it is for the user to decide.
    """
    record = card.record
    parts = [
        f"---\n{yaml.safe_dump(metadata_of(card), sort_keys=False, allow_unicode=True, width=1000)}---",
        f"# {plain(card.name)}",
        f"Classifies the emotion of a spoken utterance as {_listed(card.classes)}. Trained with "
        f"[speechshap]({_homepage()}), which also explains its predictions.",
        _unfinished(card),
        "## Corpus and split",
        _corpus(record),
        _parts_table(record),
        "## Scores",
        *_validation(card),
        *(text for test in card.tests for text in _test(test)),
        "" if card.tests else "It has not been tested.",
        "## Training",
        _training(card),
        _options_table(record),
        "## How to explain its predictions",
        fenced(card.usage, "bash"),
        "## Intended use and limits",
        _LIMITS.format(speech=_speech(record.corpus)),
        "## Made with" if record.versions else "",
        facts_text(
            {"versions": ", ".join(f"{name} {number}" for name, number in record.versions.items()), "seed": record.seed}
        ),
        *(fenced(command, "bash") for command in record.commands),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def metadata_of(card: ModelCard) -> dict[str, Any]:
    """What the Hugging Face hub reads at the top of a card; results are those of tests alone."""
    found: dict[str, Any] = {
        **({"language": _ACTED[card.record.corpus]} if card.record.corpus in _ACTED else {}),
        "library_name": "speechshap",
        "pipeline_tag": "audio-classification",
        "tags": ["speech-emotion-recognition", "speech", "explainability"],
    }
    if card.record.is_on_hub:
        found["base_model"] = card.record.backbone
    if card.record.dataset:
        found["datasets"] = [card.record.dataset]
    results = [_result(test) for test in card.tests]
    if results:
        found["model-index"] = [{"name": _one_line(card.name), "results": results}]
    return found


def _result(test: Predictions) -> dict[str, Any]:
    scores = classification_scores(test.counts).named(test.classes)
    corpus = _one_line(test.about.corpus.partition(" (")[0]) or "unknown"
    return {
        "task": {"type": "audio-classification", "name": "Speech emotion recognition"},
        "dataset": {"type": re.sub(r"[^\w.-]+", "-", corpus), "name": corpus, "split": "test"},
        "metrics": [
            {
                "type": kind,
                "value": round(scores[name].value, 4),
                "name": f"{name} ({_heard(test)}{_within(scores[name])})",
            }
            for name, kind in _METRICS.items()
            if not np.isnan(scores[name].value)
        ],
    }


def _within(score: Estimate) -> str:
    return "" if np.isnan(score.low) else f"; 95 % interval {score.low:.3f} to {score.high:.3f}"


def _heard(test: Predictions) -> str:
    return _independence(test.about.is_independent)


def _independence(is_independent: bool | None) -> str:
    """What has to be said of each score."""
    return {True: "speaker-independent", False: "speaker-dependent", None: "speakers unknown"}[is_independent]


def _unfinished(card: ModelCard) -> str:
    if card.is_finished:
        return ""
    if card.is_finished is None:
        return "**Whether its training was finished is not known.**"
    return "**Its training was interrupted and is not finished.** All numbers are of the checkpoint as it is."


def _corpus(record: TrainingRecord) -> str:
    left_out = counted(sum(record.skipped.values()), "file") if record.skipped else ""
    why = "; ".join(f"{number} {plain(reason)}" for reason, number in list(record.skipped.items())[:5])
    more = "; ..." if len(record.skipped) > 5 else ""
    facts = {
        "corpus": _corpus_text(record.corpus, record.root),
        "split": plain(record.split),
        "fold that is tested": "" if record.fold is None else str(record.fold),
        "speakers": plain(record.overlap),
        "left out": f"{left_out} ({why}{more})" if left_out else "",
    }
    return facts_text(facts) or "The checkpoint does not tell what it was trained on."


def _corpus_text(corpus: str, root: str) -> str:
    return f"{plain(corpus)} (folder {plain(root)})" if root else plain(corpus)


def _parts_table(record: TrainingRecord) -> str:
    if not record.parts:
        return ""
    rows = []
    for name, part in record.parts.items():
        speakers = plain(name_some(part.speakers, _MOST))
        unknown = f"{counted(part.num_unknown, 'utterance')} of unknown speakers" if part.num_unknown else ""
        heard = "; ".join(text for text in (speakers, unknown) if text)
        rows.append([_USES[name], str(part.num_utterances), str(len(part.speakers)), heard])
    return table(["used for", "utterances", "speakers", "who"], rows)


def _validation(card: ModelCard) -> list[str]:
    if card.validation is None:
        return ["There was no validation: the last epoch was kept."] if card.record.parts else []
    counts = card.validation
    scores = classification_scores(counts)
    return [
        f"### Validation ({_independence(card.record.validates_others)})",
        f"Of {counted(int(counts.counts.sum()), 'utterance')} {speakers_text(counts)}, in epoch {card.epoch}. These "
        f"utterances chose the epoch{' and, in a sweep, the options' if card.is_trial else ''}, so that scores are "
        "higher here than on speech that had no part in it.",
        _scores(scores, card.classes, counts),
    ]


def _test(test: Predictions) -> list[str]:
    about, counts = test.about, test.counts
    corpus, _, place = about.corpus.partition(" (")
    facts = {
        "corpus": _corpus_text(corpus, Path(place.removesuffix(")")).name),
        "tested": f"{counted(len(test.true), 'utterance')} {speakers_text(counts)}",
        "split": plain(about.split),
        "fold": "" if about.fold is None else str(about.fold),
        "speakers": plain(about.overlap),
    }
    return [
        f"### Test ({_heard(test)})",
        facts_text(facts),
        _scores(classification_scores(counts), test.classes, counts),
    ]


def _scores(scores: ClassificationScores, classes: Sequence[str], counts: SpeakerCounts) -> str:
    return f"{scores_table(scores, classes, counts)}\n\n{legend(counts)}"


def _trained(model: Mapping[str, Any]) -> str:
    """What was trained, by the options of the module.

    Example:
        >>> _trained({"freeze": "stem", "trained_layers": 2})
        'the last 2 layers that the head hears, and all that is after the backbone'
    """
    freeze, rank, layers = str(model.get("freeze")), model.get("lora_rank"), model.get("trained_layers")
    of_layers = "" if layers is None else f"the last {counted(layers, 'layer')} that the head hears"
    if rank is not None:
        return f"adapters (LoRA) of rank {rank} in {of_layers or 'all layers'} of the frozen backbone, and the head"
    if layers is not None:
        return f"{of_layers}, and all that is after the backbone"
    return {
        "backbone": "the head and all that is after the backbone, which is frozen",
        "stem": "all but the stem of the backbone",
        "none": "all of it",
    }.get(freeze, plain(freeze))


def _training(card: ModelCard) -> str:
    model, record = card.model, card.record
    first = "" if record.backbone is None else plain(record.backbone) or "random weights"
    if record.is_on_hub:
        first = f"[{first}](https://huggingface.co/{record.backbone})"
    layer = model.get("hidden_layer")
    pooling = str(model.get("pooling", "mean"))
    convolutions = model.get("convolutions", 0)
    own_head = model.get("head")
    return facts_text(
        {
            "backbone": f"{plain(card.architecture)}{f', from {first}' if first else ''}",
            "trained": _trained(model),
            "features": "learnt weighted sum of all hidden states" if layer is None else f"hidden state {layer}",
            "pooling": plain(pooling)
            + (f" after {counted(convolutions, 'pointwise convolution')}" if convolutions else ""),
            "head": plain(str(own_head["class_path"]) if own_head else _default_head(model.get("hidden_units"))),
            "kept": f"epoch {card.epoch}, `{card.checkpoint}`",
        }
    )


def _default_head(hidden_units: object) -> str:
    return f"{hidden_units} hidden units, ReLU, dropout" if hidden_units else "linear"


def _options_table(record: TrainingRecord) -> str:
    if not record.options:
        return ""
    rows = [[plain(name), plain(str(value))] for name, value in record.options.items()]
    return f"Options that differ from their defaults, and those of the trainer:\n\n{table(['option', 'value'], rows)}"


def _speech(corpus: str) -> str:
    if corpus in PLANTED_KINDS:
        return (
            "It was trained on synthetic sounds, not on speech, and knows nothing of emotions. It is a test of methods."
        )
    if corpus in _ACTED:
        return (
            "It was trained on actors who speak a few given sentences as if they felt an emotion. Emotion in everyday "
            "speech is weaker, mixed and less clear, and the scores above do not carry over to it."
        )
    return (
        "Whether the emotions of the training were acted, evoked or everyday is not known to this card. Scores do not "
        "carry over from one kind to another."
    )


def fenced(text: str, language: str) -> str:
    """A block of code whose text cannot end it.

    Example:
        >>> print(fenced("echo '```'", "bash"))
        ````bash
        echo '```'
        ````
    """
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _listed(classes: Sequence[str]) -> str:
    *others, last = (plain(name) for name in classes)
    return f"{', '.join(others)} or {last}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _homepage() -> str:
    urls = dict(url.split(", ", 1) for url in metadata("speechshap").get_all("Project-URL") or ())
    return urls["Repository"]
