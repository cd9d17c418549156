"""What a benchmark is asked for."""

from dataclasses import dataclass
from typing import Literal, get_args

from speechshap.errors import UserError, require_at_least, require_choice
from speechshap.evaluation.metrics import choose_metrics
from speechshap.explaining.preset import NEUTRAL

Speech = Literal["recordings", "spliced", "spliced_level"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is judged, on what, and by what.

    Attributes:
        methods: Methods with their settings, such as ``gradient_shap(baselines=dataset:neutral, n_samples=64),
            occlusion, energy, random``; ``default`` is a choice of all kinds.
        metrics: ``default`` (those that tell a right explanation from a wrong one), ``all``, or names with commas
            between them: auc, pointing, mass, precision, time_frequency_auc (where the evidence is known), deletion,
            insertion, comprehensiveness, sufficiency, infidelity, max_sensitivity, seed_agreement, randomization,
            completeness, sparseness.
        against: Class whose output is subtracted from that of an utterance's label, where the model has it; ``none``
            explains the label alone.
        speech: ``recordings`` as they are (evidence is known where a manifest has ``start`` and ``end``, and in planted
            corpora), or neutral takes with a stretch of an emotional take of the same sentence and speaker,
            ``spliced`` at its own level or brought to the ``spliced_level`` of what it replaces, so that loudness does
            not give it away.
        again: Utterances that the metrics judge which explain several times (max_sensitivity, seed_agreement,
            randomization); they are drawn from all.
        chunk_size: Variants of an utterance that go through the model at once; left out, a number chosen for the
            device.
        output_dir: Folder of the results; left out, ``benchmark/`` of the (first) run.

    Raises:
        UserError: A value is not legal.

    Example:
        >>> BenchmarkOptions(metrics="auc, deletion").subtracted(["happy", "sad"]) is None
        True
    """

    methods: str = "default"
    metrics: str = "default"
    against: str = NEUTRAL
    speech: Speech = "recordings"
    again: int = 25
    chunk_size: int | None = None
    output_dir: str | None = None

    def __post_init__(self) -> None:
        require_choice("speech", self.speech, get_args(Speech))
        require_at_least(0, again=self.again)
        require_at_least(1, chunk_size=self.chunk_size)
        choose_metrics(self.metrics)

    def subtracted(self, classes: list[str]) -> str | None:
        """The class that is subtracted; None where none is asked for, or the model does not have the usual one.

        Raises:
            UserError: The model does not have the class that is asked for.
        """
        if self.against == "none" or (self.against == type(self).against and self.against not in classes):
            return None
        if self.against not in classes:
            raise UserError(f"`against` is {self.against!r}; expected none or one of {', '.join(classes)}")
        return self.against
