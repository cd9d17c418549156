"""Windows that are heard as evidence, and what the model says to them."""

from dataclasses import dataclass

import numpy as np

SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 0.2
"""Length of a window: shorter pieces of speech sound like clicks, longer ones hold what is no evidence."""

MOST = 0.2
"""Share of a sound that is heard as evidence at most."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Evidence:
    """The windows that speak for each target, and what the model says to the sound with and without them.

    What the model says is the probability of the class; of a contrast, that of the class if it is one of the two; of a
    regression, the output itself. A sound keeps its length and its level: what is taken away is silent, with the same
    fades as the sounds that people hear. As much at random are windows of the same lengths anywhere in the speech.

    Attributes:
        windows: Bounds in seconds for each target, ``(windows, 2)``; none where nothing speaks for it.
        whole: Answers to the sound, ``(targets,)``.
        alone: To the windows alone; NaN where there are none.
        without: To the sound without them.
        random_alone: To as much at random alone, ``(targets, draws)``.
        random_without: To the sound without as much at random.
    """

    windows: tuple[np.ndarray, ...]
    whole: np.ndarray
    alone: np.ndarray
    without: np.ndarray
    random_alone: np.ndarray
    random_without: np.ndarray


def evidence_windows(weights: np.ndarray, edges: np.ndarray, most: float = MOST) -> np.ndarray:
    """Windows of 100 to 200 ms with the greatest sums, the greatest first, as far as these are above 0.

    A window is as long as its sum grows, and has its evidence in the middle where it can. Windows do not overlap; a
    sound that is shorter than one is one itself.

    Args:
        weights: Significant attribution of each frame, 0 where it is not, ``(frames,)``.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.
        most: Share of the sound that the windows have at most, but for the first of them.

    Returns:
        Bounds in seconds, sorted by time, ``(windows, 2)``.

    Example:
        >>> weights = np.array([0, 0, 3.0, 1, 0, 0, 0, -1, 2, 0, 0, 0])
        >>> evidence_windows(weights, np.arange(13) / 20, most=0.5)  # frames of 50 ms
        array([[0.1, 0.2],
               [0.4, 0.5]])
    """
    weights = np.asarray(weights, np.float64)
    reached, moments = (
        np.concatenate([[0.0], np.cumsum(each)]) for each in (weights, weights * (edges[:-1] + edges[1:]) / 2)
    )
    firsts, ends = _candidates(edges)
    sums, seconds = reached[ends] - reached[firsts], edges[ends] - edges[firsts]
    # The greatest sum first; of equal ones, which differ by rounding, the shortest, then that with the evidence in its
    # middle, then the earliest.
    rounded = np.round(sums / (np.abs(sums).max(initial=0.0) or 1.0), 9)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs((moments[ends] - moments[firsts]) / sums - (edges[firsts] + edges[ends]) / 2)
    taken = np.zeros(len(weights), bool)
    chosen: list[tuple[float, float]] = []
    left = most * float(edges[-1] - edges[0])
    for place in np.lexsort((firsts, np.round(off, 6), np.round(seconds, 9), -rounded)):
        if rounded[place] <= 0:
            break
        own = slice(firsts[place], ends[place])
        if taken[own].any() or (chosen and seconds[place] > left + _ROUNDING):
            continue
        taken[own] = True
        left -= seconds[place]
        chosen.append((float(edges[firsts[place]]), float(edges[ends[place]])))
    return np.array(sorted(chosen)).reshape(-1, 2)


def random_windows(
    windows: np.ndarray, edges: np.ndarray, allowed: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Windows of the same lengths at random places that do not overlap, sorted by time, ``(windows, 2)``.

    A window begins where a frame does, and lasts exactly as long as the one it stands for: frames at the ends of a
    sound are longer than the others, so that whole frames would not add up to the same length everywhere.

    Args:
        windows: Bounds in seconds, ``(windows, 2)``.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.
        allowed: Frames in which the middle of a window may lie, ``(frames,)`` bool; where it fits into none of them
            without overlap, it may lie anywhere.
        generator: Draws the places.

    Example:
        >>> edges, generator = np.arange(11) / 10, np.random.default_rng(0)
        >>> found = random_windows(np.array([[0.0, 0.2]]), edges, np.ones(10, bool), generator)
        >>> round(float(found[0, 1] - found[0, 0]), 9)
        0.2
    """
    free = np.ones(len(allowed), bool)
    placed = []
    for start, end in generator.permutation(windows):
        ends = np.searchsorted(edges, edges[:-1] + (end - start) - _ROUNDING)
        fits = np.flatnonzero(ends < len(edges))
        middles = (fits + ends[fits]) // 2
        num_taken = np.concatenate([[0], np.cumsum(~free)])
        is_free = num_taken[ends[fits]] == num_taken[fits]
        for possible in (fits[is_free & allowed[middles]], fits[is_free], fits):
            if len(possible):
                first = int(generator.choice(possible))
                break
        free[first : ends[first]] = False
        placed.append((float(edges[first]), float(edges[first] + (end - start))))
    return np.array(sorted(placed)).reshape(-1, 2)


def spread_over_frames(values: np.ndarray, edges: np.ndarray, frame_edges: np.ndarray) -> np.ndarray:
    """Distribute the values of stretches over their frames by the frames' lengths, ``(frames,)``.

    Example:
        >>> spread_over_frames(np.array([4.0, 3.0]), np.array([0, 2, 3]), np.arange(4))
        array([2., 2., 3.])
    """
    middles = (frame_edges[:-1] + frame_edges[1:]) / 2
    owner = np.clip(np.searchsorted(edges, middles, side="right") - 1, 0, len(values) - 1)
    seconds = np.diff(frame_edges)
    return values[owner] * seconds / np.bincount(owner, seconds, minlength=len(values))[owner]


def _candidates(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First frame and end of every window that is long enough and not too long."""
    if edges[-1] - edges[0] < SHORTEST_SECONDS:
        return np.array([0]), np.array([len(edges) - 1])
    shortest = np.searchsorted(edges, edges + SHORTEST_SECONDS - _ROUNDING)
    longest = np.searchsorted(edges, edges + LONGEST_SECONDS + _ROUNDING, side="right") - 1
    pairs = [
        (first, end)
        for first, (least, last) in enumerate(zip(shortest, longest, strict=True))
        # Frames may be longer than the longest window.
        for end in range(least, max(least, last) + 1)
        if end < len(edges)
    ]
    return np.array([first for first, _ in pairs]), np.array([end for _, end in pairs])
