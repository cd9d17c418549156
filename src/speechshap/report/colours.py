"""Colours with the same meaning in every picture."""

CLASSES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""One for each class; colour-blind readers can distinguish them, too (Okabe & Ito 2008)."""

_VIRIDIS = (
    "#440154", "#482878", "#3E4989", "#31688E", "#26828E", "#1F9E89", "#35B779", "#6ECE58", "#B5DE2B", "#FDE725",
)  # fmt: skip

LOW_TO_HIGH, LOW_TO_HIGH_ON_BLACK = _VIRIDIS[:8], _VIRIDIS[3:]
"""Scales of an amount without a sign, the higher the lighter: even steps to the eye, also to colour-blind ones, unlike
the colours of for and against, and without the end that is faint on white, or on black."""

SPEAKS_FOR, SPEAKS_AGAINST = "#D55E00", "#0072B2"

DIVERGING = ((0.0, SPEAKS_AGAINST), (0.5, "#FFFFFF"), (1.0, SPEAKS_FOR))
"""Scale from against to for, with 0 in the middle; blue and vermilion differ in every kind of colour blindness."""

TRUTH = "#00664D"
"""Where the evidence is known to be."""

WARNING = "#B00020"
