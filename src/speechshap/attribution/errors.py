"""An utterance that a method cannot explain."""


class UtteranceError(RuntimeError):
    """An utterance cannot be explained; the others of its batch may.

    Attributes:
        utterance_id: Which one.
    """

    def __init__(self, utterance_id: str, problem: str) -> None:
        super().__init__(problem)
        self.utterance_id = utterance_id


class NonFiniteWaveformError(UtteranceError, ValueError):
    """A sample of an utterance is infinite or not a number."""

    def __init__(self, utterance_id: str) -> None:
        super().__init__(utterance_id, f"the waveform of utterance {utterance_id} is not finite")


class NonFiniteReferenceError(UtteranceError, ValueError):
    """A sample of a reference is infinite or not a number."""

    def __init__(self, utterance_id: str) -> None:
        super().__init__(utterance_id, f"a reference of utterance {utterance_id} is not finite")


class GradientError(UtteranceError):
    """The gradients of an utterance cannot explain it."""


class NonFiniteGradientError(GradientError, FloatingPointError):
    """A gradient is infinite or not a number."""

    def __init__(self, utterance_id: str) -> None:
        super().__init__(utterance_id, f"the gradient of utterance {utterance_id} is not finite")


class ZeroGradientError(GradientError):
    """All gradients are 0."""

    def __init__(self, utterance_id: str) -> None:
        super().__init__(
            utterance_id,
            f"every gradient of utterance {utterance_id} is 0: the explained output does not depend on the waveform, "
            "or is saturated",
        )


class NonFiniteOutputError(UtteranceError, FloatingPointError):
    """An output of the model is infinite or not a number."""

    def __init__(self, utterance_id: str) -> None:
        super().__init__(utterance_id, f"an output of the model for utterance {utterance_id} is not finite")
