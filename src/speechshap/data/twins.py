"""Recordings of identical content, of which one would be trained on and the other evaluated."""

from speechshap.data.checking import FileChecker
from speechshap.data.splits import Splits
from speechshap.data.utterance import Skipped, Utterance

SAME_SOUND = "the same sound as"
"""How the reason starts for which a recording with a twin is left out."""


def same_sound(twin: str, split: str) -> str:
    """Why a recording is left out that has the content of another one, of a split."""
    return f"{SAME_SOUND} {twin} of the {split} split"


def without_twins(splits: Splits, files: FileChecker) -> tuple[Splits, list[Skipped]]:
    """Leave out recordings that have a twin in a split that is evaluated: test before val, and both before train.

    Args:
        splits: Of usable utterances.
        files: Which has checked all of them.

    Returns:
        The splits, and the recordings that were left out, with the reason.
    """
    evaluated: dict[str, tuple[str, Utterance]] = {}
    kept: dict[str, list[Utterance]] = {}
    left_out = []
    for name in ("test", "val", "train"):
        part: list[Utterance] = getattr(splits, name)
        digests = {utterance.id: facts.digest for utterance in part if (facts := files.facts(utterance))}
        twins = {utterance.id: evaluated.get(digests.get(utterance.id, "")) for utterance in part}
        kept[name] = [utterance for utterance in part if twins[utterance.id] is None]
        for utterance in part:
            if (twin := twins[utterance.id]) is not None:
                left_out.append(Skipped(utterance.path, same_sound(twin[1].id, twin[0])))
        evaluated |= {digests[utterance.id]: (name, utterance) for utterance in kept[name] if utterance.id in digests}
    return Splits(**kept), left_out
