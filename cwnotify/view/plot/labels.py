"""Find room for the labels of a plot."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.transforms import Bbox
from numpy.typing import NDArray


class LabelLayout:
    """Keep labels inside `frame`, apart from each other and, where possible, off `obstacles` (rows of x and y)."""

    def __init__(self, frame: Bbox, obstacles: NDArray[np.float64]) -> None:
        self._frame, self._obstacles = frame, obstacles
        self._reserved: list[Bbox] = []

    def reserve(self, box: Bbox) -> None:
        """Keep later labels out of `box`."""
        self._reserved.append(box)

    def reserve_best_position(
        self, width: float, height: float, positions: Iterable[tuple[float, float]]
    ) -> tuple[float, float] | None:
        """Reserve the first of `positions` (left, bottom) that covers the fewest obstacles; None if none is free."""
        best, min_covered = None, 0
        for x, y in positions:
            left = min(max(x, self._frame.x0), self._frame.x1 - width)
            box = Bbox.from_bounds(left, y, width, height)
            is_inside = left >= self._frame.x0 and y >= self._frame.y0 and y + height <= self._frame.y1
            if not is_inside or any(map(box.fully_overlaps, self._reserved)):
                continue
            covered = box.count_contains(self._obstacles)
            if best is None or covered < min_covered:
                best, min_covered = box, covered
            if not covered:
                break
        if best is None:
            return None
        self.reserve(best)
        return best.x0, best.y0
