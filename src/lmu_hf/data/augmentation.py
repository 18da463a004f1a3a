"""Random deformations of small images, a whole batch at a time."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # recipes hold augmentations, and a command reads its recipe before it imports torch
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """A random affine map and a smooth random displacement, applied to each image in one bilinear resampling.

    Args:
        rotation: largest angle, in degrees.
        scale: largest change of size, as a fraction (both axes together, half as much between them).
        shear: largest shear, as a fraction.
        shift: largest translation, in pixels.
        elastic: standard deviation of the displacement at each knot, in pixels.
        knots: knots of the displacement along a side; bicubic in between.
    """

    rotation: float = 10.0
    scale: float = 0.1
    shear: float = 0.1
    shift: float = 1.0
    elastic: float = 0.7
    knots: int = 5

    def __call__(self, images: "Tensor", generator: "torch.Generator") -> "Tensor":
        """(b, c, side, side) to the same, zero outside; ``generator`` lives on the CPU."""
        import torch
        from torch.nn.functional import grid_sample

        b, _, side, _ = images.shape

        def uniform(largest: float) -> "Tensor":
            # On the CPU, so that a seed deforms the images alike on every device.
            return (torch.rand(b, generator=generator) * 2 - 1) * largest

        angle, shear = uniform(math.radians(self.rotation)), uniform(self.shear)
        size, aspect = uniform(self.scale).exp(), uniform(self.scale / 2).exp()
        pixel = 2 / side  # grid coordinates run from −1 to 1
        # grid_sample wants the map from output to input coordinates. These rows are
        # diag(size·aspect, size/aspect) · [[cos, −sin], [sin, cos]] · [[1, shear], [0, 1]], and the shift.
        x_row = [
            size * aspect * angle.cos(),
            size * aspect * (angle.cos() * shear - angle.sin()),
            uniform(self.shift * pixel),
        ]
        y_row = [
            size / aspect * angle.sin(),
            size / aspect * (angle.sin() * shear + angle.cos()),
            uniform(self.shift * pixel),
        ]
        affine = torch.stack(x_row + y_row, dim=1).view(b, 2, 3)
        bumps = torch.randn(b, 2, self.knots**2, generator=generator) * (self.elastic * pixel)
        # The map is linear in its coefficients: one product gives the affine part and the displacement of every pixel.
        grid = torch.cat([affine, bumps], dim=2) @ self._fields(side)
        grid = grid.view(b, 2, side, side).permute(0, 2, 3, 1).to(images)
        return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _fields(self, side: int) -> "Tensor":
        """(3 + knots², side²): x, y, 1, and one smooth bump per knot, at every pixel."""
        import torch
        from torch.nn.functional import interpolate

        # Pixel centres, as align_corners=False in grid_sample counts them.
        line = (2 * torch.arange(side) + 1) / side - 1
        y, x = torch.meshgrid(line, line, indexing="ij")
        bumps = torch.eye(self.knots**2).view(1, -1, self.knots, self.knots)
        # align_corners=True puts the outer knots on the border pixels: no pixel lies outside the knots.
        bumps = interpolate(bumps, size=(side, side), mode="bicubic", align_corners=True)[0]
        return torch.cat([torch.stack([x, y, torch.ones_like(x)]), bumps]).flatten(1)
