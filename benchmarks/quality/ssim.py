"""How alike two pictures are: the structural similarity (SSIM) of their luma.

In: two pictures' luma as arrays. Out: 1 for equal ones, less for others. Called by `measures`.
Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
Similarity", 2004: a Gaussian window of 11 × 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, and the
mean over all places where the window lies inside the picture.
"""

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

RADIUS, SIGMA = 5, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

_steps = np.arange(-RADIUS, RADIUS + 1)
_bell = np.exp(-(_steps**2) / (2 * SIGMA**2))
WINDOW = (_bell / _bell.sum()).astype(np.float32)


class Reference:
    """A picture that others are compared with; what concerns it alone is worked out once."""

    def __init__(self, luma: Plane):
        self._luma = luma
        self._mean = _smooth(luma)
        self._variance = _smooth(luma * luma) - self._mean**2

    def ssim(self, luma: Plane) -> float:
        """`luma` is 0–255 and of the reference's size, at least 11 × 11."""
        mean = _smooth(luma)
        product = self._mean * mean
        variance = _smooth(luma * luma) - mean**2
        covariance = _smooth(self._luma * luma) - product
        alike = (2 * product + C1) * (2 * covariance + C2)
        alike /= (self._mean**2 + mean**2 + C1) * (self._variance + variance + C2)
        return float(alike.mean(dtype=np.float64))


def _smooth(plane: Plane) -> Plane:
    """Weighted means under the window wherever it fits: smaller by its diameter less one."""
    for axis in (0, 1):
        places = plane.shape[axis] - 2 * RADIUS
        shifted = [
            plane[step : step + places] if axis == 0 else plane[:, step : step + places]
            for step in range(2 * RADIUS + 1)
        ]
        plane = shifted[RADIUS] * WINDOW[RADIUS]
        for step in range(RADIUS):  # the window is the same to the left and to the right
            plane += (shifted[step] + shifted[-1 - step]) * WINDOW[step]
    return plane
