"""Colours with the same meaning in every picture."""

CLASSES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""One for each class; colour-blind readers can distinguish them, too (Okabe & Ito 2008)."""

SPEAKS_FOR, SPEAKS_AGAINST = "#D55E00", "#0072B2"

DIVERGING = ((0.0, SPEAKS_AGAINST), (0.5, "#FFFFFF"), (1.0, SPEAKS_FOR))
"""Scale from against to for, with 0 in the middle; blue and vermilion differ in every kind of colour blindness."""

TRUTH = "#00664D"
"""Where the evidence is known to be."""

WARNING = "#B00020"
