"""What all pictures share: colours, names of points that do not cover each other, and the end of a figure."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#94a3b8"
_DOT = 4  # half the width of a point, in pixels
_BESIDE = 16  # points from a point to a label that needs no line
# Where a label is tried, in points from its point, and its alignment there: the nearest places first.
_OFFSETS = [
    (offset, alignment)
    for far in (0, 10, 20, 30, 45, 60)
    for offset, alignment in (
        *[((8, far), "left"), ((8, -far), "left"), ((-8, far), "right"), ((-8, -far), "right")],
        *[((0, far + 12), "center"), ((0, -far - 12), "center")],
    )
]


def finished(figure: Figure) -> Figure:
    """Return `figure` with its parts side by side, closed: a notebook shows a returned figure once, not twice."""
    figure.tight_layout()
    plt.close(figure)
    return figure


def label_points(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write the name of each point (name, x, y) as near to it as no other label, point or edge is in the way.

    A label that is not beside its point has a line to it. The limits and the layout of the figure must be final.
    """
    places = [axes.transData.transform((x, y)) for _, x, y in points]
    taken = [Bbox.from_bounds(x - _DOT, y - _DOT, 2 * _DOT, 2 * _DOT) for x, y in places]
    taken += [legend.get_window_extent() for legend in [axes.get_legend()] if legend]
    for name, x, y in points:
        label = axes.annotate(name, (x, y), xytext=(0, 0), textcoords="offset points", va="center", zorder=4)
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5})  # above lines to others
        for offset, alignment in _OFFSETS:
            label.set(position=offset, ha=alignment)
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken) and _is_inside(box, axes):
                break
        taken.append(box)
        if math.hypot(*offset) > _BESIDE:
            line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.8}
            axes.annotate("", (x, y), xytext=offset, textcoords="offset points", arrowprops=line)


def _is_inside(box: Bbox, axes: Axes) -> bool:
    frame = axes.bbox
    return bool(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)
