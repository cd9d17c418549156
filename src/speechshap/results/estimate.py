"""Values with their standard errors."""

import math
from dataclasses import dataclass, replace

import numpy as np

from speechshap.attribution.intervals import interval_reach
from speechshap.results.significance import significant

NOISY = 0.5
"""Relative error from which on pictures warn of Monte Carlo noise."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Values and their standard errors.

    Attributes:
        values: Array of any shape.
        standard_error: Standard error of each value, of the same shape; None where the method gives none.
        n_replicates: Independent replicates that the values are means of, 1 where nothing is drawn; None where unknown.
        is_signed: Whether values may be of both signs. Sizes are never 0, and a test against 0 says nothing of them.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> Estimate(np.array([1.0, 2.0]), np.array([0.5, 0.0]), n_replicates=16).reach.round(2)
        array([1.07, 0.  ])
    """

    values: np.ndarray
    standard_error: np.ndarray | None = None
    n_replicates: int | None = None
    is_signed: bool = True

    def __post_init__(self) -> None:
        if self.standard_error is not None and self.standard_error.shape != self.values.shape:
            raise ValueError(
                f"standard errors of shape {self.standard_error.shape} for values of shape {self.values.shape}; "
                "expected one for each value"
            )

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the errors: one for each replicate but one; infinite where their number is unknown."""
        # An error that is not one of replicates, as that of a quadrature, has none either.
        return math.inf if self.n_replicates is None or self.n_replicates < 2 else self.n_replicates - 1

    @property
    def reach(self) -> np.ndarray | None:
        """Half the width of the 95 % interval of each value; None where the errors are unknown.

        From Student's t, with a degree of freedom for each replicate but one; where their number is unknown, from the
        normal distribution, which is too narrow for few.
        """
        if self.standard_error is None:
            return None
        return interval_reach(self.degrees) * self.standard_error

    @property
    def significant(self) -> np.ndarray | None:
        """Which values differ from 0, with their number accounted for; None where the errors are unknown, and of sizes.

        The values of a target, which is what the first dimension counts, are a family of their own
        (:func:`speechshap.results.significance.significant`). False where the error of a value is unknown; :meth:`of`
        tells whether those of a whole target are.
        """
        if self.standard_error is None or not self.is_signed:
            return None
        return significant(self.values, self.standard_error, self.degrees)

    @property
    def relative_error(self) -> np.ndarray:
        """Norm of the standard errors relative to that of the values, over the last dimension; NaN where unknown."""
        if self.standard_error is None:
            return np.full(self.values.shape[:-1], np.nan)
        error, size = (np.linalg.norm(part, axis=-1) for part in (self.standard_error, self.values))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(error == 0, 0.0, error / size)

    def of(self, target: int) -> "Estimate":
        """What is known of one target, ``(1, ...)``: without errors where those of all its values are unknown.

        Targets that a method without errors, or an earlier version, has added may be among targets with errors.

        Example:
            >>> both = Estimate(np.array([[5.0], [5.0]]), np.array([[1.0], [np.nan]]), n_replicates=16)
            >>> both.of(0).significant, both.of(1).significant
            (array([[ True]]), None)
        """
        values, errors = self.values[[target]], self.standard_error
        known = errors is not None and not np.isnan(errors[target]).all()
        return replace(self, values=values, standard_error=errors[[target]] if errors is not None and known else None)

    def part(self, chosen: np.ndarray) -> "Estimate":
        """Some of the values, by their places in the last dimension."""
        errors = self.standard_error
        return replace(
            self, values=self.values[..., chosen], standard_error=None if errors is None else errors[..., chosen]
        )
