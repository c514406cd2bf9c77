"""Shared parts of all figures: colours, labels of points that do not overlap, and the final layout."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

Place = NDArray[np.float64]  # x and y in pixels
Offset = tuple[int, int]  # of a label from its point, in points
BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#94a3b8"
_DOT = 4  # half the width of a point, in pixels
_GAP = 4  # least distance between two labels, in pixels
_BESIDE = 16  # largest distance, in points, at which a label needs no line to its point
# Candidate positions of a label, as offsets in points with their alignment, nearest first.
_OFFSETS = [
    (offset, alignment)
    for far in (0, 10, 20, 30, 45, 60)
    for offset, alignment in (
        *[((8, far), "left"), ((8, -far), "left"), ((-8, far), "right"), ((-8, -far), "right")],
        *[((0, far + 12), "center"), ((0, -far - 12), "center")],
    )
]


def finished(figure: Figure) -> Figure:
    """Apply the tight layout, close `figure` and return it: a notebook would show an open figure twice."""
    figure.tight_layout()
    plt.close(figure)
    return figure


def label_points(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write the name of each point (name, x, y) at the nearest position without overlap.

    If there is room, no other point is nearer to a label than its own. A label that is not beside its point has a line
    to it. The limits and the layout of the figure must be final.
    """
    places = [axes.transData.transform((x, y)) for _, x, y in points]
    taken = [Bbox.from_bounds(x - _DOT, y - _DOT, 2 * _DOT, 2 * _DOT) for x, y in places]
    taken += [legend.get_window_extent() for legend in [axes.get_legend()] if legend]
    for (name, x, y), place in zip(points, places, strict=True):
        label = axes.annotate(name, (x, y), xytext=(0, 0), textcoords="offset points", va="center", zorder=4)
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5})  # above lines to others
        offset, box = _find_place(axes, label, place, places, taken)
        taken.append(box)
        if math.hypot(*offset) > _BESIDE:
            line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.8}
            axes.annotate("", (x, y), xytext=offset, textcoords="offset points", arrowprops=line)


def _find_place(
    axes: Axes, label: Annotation, place: Place, places: Sequence[Place], taken: Sequence[Bbox]
) -> tuple[Offset, Bbox]:
    """Move `label` to the first free offset where no other point is nearer, else to the first free one; return both."""
    free = []
    for offset, alignment in _OFFSETS:
        label.set(position=offset, ha=alignment)
        box = label.get_window_extent()
        if _is_inside(box, axes) and not any(box.padded(_GAP).overlaps(other) for other in taken):
            free.append((offset, alignment, box))
            if _is_nearest(box, place, places):
                return offset, box
    offset, alignment, box = free[0] if free else (*_OFFSETS[-1], label.get_window_extent())
    label.set(position=offset, ha=alignment)
    return offset, box


def _is_nearest(box: Bbox, place: Place, places: Sequence[Place]) -> bool:
    """Whether none of `places` is nearer to `box` than `place` is."""
    return all(_distance(box, place) <= _distance(box, other) for other in places)


def _distance(box: Bbox, place: Place) -> float:
    x, y = place
    return math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))


def _is_inside(box: Bbox, axes: Axes) -> bool:
    frame = axes.bbox
    return bool(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)
