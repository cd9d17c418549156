"""Table of the prosody of evidence and rest, as the page reads it."""

from typing import Any

import numpy as np

from speechshap.data.cues import CUES
from speechshap.results.explanation import Explanation

_RULES = {
    "significant": "what is significant and speaks for it",
    "top_fifth": "the fifth of the frames with the greatest attribution",
}


def cue_table(explanation: Explanation, target: int) -> dict[str, Any] | None:
    """Rule and rows ``[title, unit, description, evidence, rest]`` of a target; None where nothing is known.

    Cues that this version does not know are left out; a value is None where no frame of its side has the cue.
    """
    cues = explanation.cues
    if cues is None or cues.rules[target] is None:
        return None
    rows = [
        [*CUES[name], *(round(float(value), 2) if np.isfinite(value) else None for value in pair)]
        for name, *pair in zip(cues.names, cues.evidence[target], cues.rest[target], strict=True)
        if name in CUES
    ]
    return {"rule": _RULES.get(cues.rules[target] or "", cues.rules[target]), "rows": rows}
