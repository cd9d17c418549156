"""Scores of a test in words."""

from collections.abc import Mapping, Sequence

import numpy as np

from speechshap.bootstrap import Estimate
from speechshap.data.wording import counted, name_some
from speechshap.markdown import plain, table
from speechshap.training.classification_scores import ClassificationScores, SpeakerCounts, classification_scores
from speechshap.training.predictions import AboutTest, Predictions

_MOST_SPEAKERS = 40
"""Whose names a text lists."""

_FEW_SPEAKERS = 10
"""Below these, intervals are too narrow."""


def scores_markdown(predictions: Predictions) -> str:
    """What was tested, and its scores, in Markdown."""
    counts = predictions.counts
    scores = classification_scores(counts)
    about = predictions.about
    facts = {
        "tested": f"{counted(len(predictions.true), 'utterance')} {speakers_text(counts)}",
        **about_facts([about]),
        "fold": "" if about.fold is None else str(about.fold),
        "checkpoint": plain(about.checkpoint),
    }
    return (
        "\n\n".join(
            [
                f"# Test scores{warning_text([predictions.about])}",
                facts_text(facts),
                scores_table(scores, predictions.classes, counts),
                legend(counts),
            ]
        )
        + "\n"
    )


def about_facts(tests: Sequence[AboutTest]) -> dict[str, str]:
    """Corpus, split, speakers and files that were left out, of one or several tests."""
    most = max(test.num_skipped for test in tests)
    return {
        "corpus": "; ".join(dict.fromkeys(plain(test.corpus) for test in tests if test.corpus)),
        "split": "; ".join(dict.fromkeys(plain(test.split) for test in tests if test.split)),
        "speakers": plain(overlap_text(tests)),
        "left out": f"{counted(most, 'file')} (`skipped.csv` of the run)" if most else "",
    }


def overlap_text(tests: Sequence[AboutTest]) -> str:
    """Whether speakers that are tested are heard in training, in one line.

    Example:
        >>> overlap_text([AboutTest(is_independent=True), AboutTest(is_independent=True)])
        'speaker-independent: in none of the 2 tests is a speaker heard in training'
    """
    lines = dict.fromkeys(test.overlap for test in tests if test.overlap)
    dependent = sum(test.is_independent is False for test in tests)
    if len(tests) > 1 and dependent:
        return f"speaker-dependent: in {dependent} of the {len(tests)} tests speakers are heard in training"
    if len(tests) > 1 and all(test.is_independent for test in tests):
        return f"speaker-independent: in none of the {len(tests)} tests is a speaker heard in training"
    return "; ".join(lines)


def warning_text(tests: Sequence[AboutTest]) -> str:
    """What a title adds where speakers of the test are heard in training."""
    warnings = dict.fromkeys(test.warning for test in tests if test.warning)
    return f" ({', '.join(warnings)})" if warnings else ""


def facts_text(facts: Mapping[str, str]) -> str:
    """A list of what is known."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value)


def speakers_text(counts: SpeakerCounts) -> str:
    """How many speakers there are, with their names.

    Example:
        >>> speakers_text(SpeakerCounts(("Anna", "Ben"), np.zeros((2, 2, 2))))
        'of 2 speakers: Anna, Ben'
        >>> speakers_text(SpeakerCounts(("",), np.zeros((1, 2, 2))))
        'of unknown speakers'
    """
    names = [plain(name) for name in counts.speakers if name]
    if not names:
        return "of unknown speakers"
    others = " and unknown ones" if len(names) < len(counts.speakers) else ""
    return f"of {counted(len(names), 'speaker')}{others}: {name_some(names, _MOST_SPEAKERS)}"


def scores_table(scores: ClassificationScores, classes: Sequence[str], counts: SpeakerCounts) -> str:
    """Each score with its interval, and of how many utterances it is."""
    each = counts.counts.sum((0, 2)).tolist()
    sizes = [sum(each)] * 3 + each
    rows = [
        [plain(name), _value(estimate), _interval(estimate), str(size)]
        for (name, estimate), size in zip(scores.named(classes).items(), sizes, strict=True)
    ]
    return table(["score", "value", "95 % interval", "utterances"], rows)


def precise(estimate: Estimate) -> str:
    """A score with its interval, in thousandths as papers give them.

    Example:
        >>> precise(Estimate(0.71234, 0.64, 0.78))
        '0.712 (0.640 to 0.780)'
    """
    interval = _interval(estimate)
    return f"{_value(estimate)} ({interval})" if interval else _value(estimate)


def legend(counts: SpeakerCounts) -> str:
    """What the scores are, and what their intervals say."""
    known = [name for name in counts.speakers if name]
    if len(known) < len(counts.speakers):
        interval = "There are no intervals, as not all speakers are known."
    elif len(known) < 2:
        interval = "There are no intervals, as there is one speaker."
    else:
        interval = "Intervals: bootstrap over whole speakers" + (
            f"; of {len(known)} speakers, they are too narrow." if len(known) < _FEW_SPEAKERS else "."
        )
    return (
        "UAR: unweighted average recall, over the classes that occur. WA: weighted accuracy, the share of "
        "right predictions. Macro F1: over the classes that occur or are predicted. " + interval
    )


def short_text(counts: SpeakerCounts, about: AboutTest) -> str:
    """UAR with its interval, and whose voices were tested, in one line."""
    scores = classification_scores(counts)
    utterances = counted(int(counts.counts.sum()), "utterance")
    speakers = f"; {about.overlap}" if about.overlap else ""
    return f"UAR {precise(scores.uar)}, WA {precise(scores.wa)}, of {utterances}{speakers}"


def _value(estimate: Estimate) -> str:
    return "" if np.isnan(estimate.value) else f"{estimate.value:.3f}"


def _interval(estimate: Estimate) -> str:
    return "" if np.isnan(estimate.low) else f"{estimate.low:.3f} to {estimate.high:.3f}"
