"""Ten digits as a hand draws them: strokes of points between 0 and 1, from the top left corner."""

from math import cos, pi, sin

Stroke = list[tuple[float, float]]


def arc(x: float, y: float, width: float, height: float, begin: float, end: float) -> Stroke:
    """Points of an ellipse about (x, y), from one angle to another in degrees: 0 is to the right, 90 is down."""
    angles = [begin + (end - begin) * at / 24 for at in range(25)]
    return [(x + width * cos(pi * angle / 180), y + height * sin(pi * angle / 180)) for angle in angles]


DIGITS: dict[str, list[Stroke]] = {
    "0": [arc(0.5, 0.5, 0.22, 0.32, -90, 270)],
    "1": [[(0.5, 0.18), (0.5, 0.82)]],
    "2": [[*arc(0.5, 0.35, 0.2, 0.17, 190, 400), (0.32, 0.8), (0.72, 0.8)]],
    "3": [[*arc(0.48, 0.34, 0.18, 0.15, 200, 450), *arc(0.48, 0.66, 0.21, 0.17, -90, 160)]],
    "4": [[(0.35, 0.2), (0.3, 0.55), (0.7, 0.55)], [(0.65, 0.2), (0.62, 0.85)]],
    "5": [[(0.68, 0.2), (0.38, 0.2), (0.35, 0.47), *arc(0.48, 0.62, 0.2, 0.19, -110, 140)]],
    "6": [[(0.6, 0.18), (0.42, 0.4), *arc(0.5, 0.66, 0.17, 0.17, 180, -180)]],
    "7": [[(0.3, 0.22), (0.7, 0.22), (0.45, 0.82)]],
    "8": [[*arc(0.5, 0.34, 0.15, 0.15, 90, 450), *arc(0.5, 0.66, 0.18, 0.17, -90, 270)]],
    "9": [[*arc(0.5, 0.36, 0.17, 0.17, 0, -360), (0.66, 0.55), (0.6, 0.84)]],
}
