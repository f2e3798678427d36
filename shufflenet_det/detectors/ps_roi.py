"""Position-sensitive RoIAlign, with torchvision's kernel, and RoI pooling.

Every bin of a RoI reads its own channels: for P x P bins, bin (i, j) of output channel c reads
channel ``(c * P + i) * P + j`` of the map (R-FCN, arXiv:1605.06409, Sec. 2). torchvision and the
code of Light-Head R-CNN have the same order.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from torch import Tensor, nn
from torchvision.ops import ps_roi_align

POOL_MODES = ("avg", "max")


class PSRoIAlign(nn.Module):
    """Position-sensitive RoIAlign (Light-Head R-CNN, arXiv:1711.07264, Sec. 4).

    Each bin is the mean or the maximum of bilinear samples on a regular grid. The default is
    ``torchvision.ops.PSRoIAlign``. ``pool_mode='max', aligned=False`` is the kernel of the authors'
    aligned models (``lib_psalign_pooling``), except that there a sample on a whole coordinate
    counts twice. Outside the map, cells are 0 for the maximum. For the mean, they equal the nearest
    border cell up to a distance of one cell, and are 0 beyond.
    """

    def __init__(
        self,
        output_size: int,
        spatial_scale: float,
        sampling_ratio: int = 2,
        pool_mode: str = "avg",
        aligned: bool = True,
    ) -> None:
        """Set the sampling.

        Args:
            output_size: P, the number of bins along each side of a RoI.
            spatial_scale: 1 / stride.
            sampling_ratio: Number of samples along each side of a bin.
            pool_mode: 'avg' for the mean of a bin's samples, or 'max' for their maximum.
            aligned: The corners of the image and of the map coincide, so coordinates are shifted by
                half a cell. If False, the centre of cell 0 lies on the image's border.

        Raises:
            ValueError: ``sampling_ratio`` or ``pool_mode`` is not legal.
        """
        super().__init__()
        if sampling_ratio < 1:
            raise ValueError(f"sampling_ratio={sampling_ratio!r}: must be 1 or more")
        if pool_mode not in POOL_MODES:
            raise ValueError(f"pool_mode={pool_mode!r}: must be one of {POOL_MODES}")
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.pool_mode = pool_mode
        self.aligned = aligned

    def forward(self, x: Tensor, rois: Tensor) -> Tensor:
        """Map (N, C * P * P, H, W) to (n, C, P, P); ``rois`` are (image, x1, y1, x2, y2)."""
        bins, ratio = self.output_size, self.sampling_ratio
        shift = 0.0 if self.aligned else 0.5  # cells; torchvision's kernel subtracts half a cell
        if self.pool_mode == "max":
            x = F.pad(x, (1, 1, 1, 1))
            shift += 1.0
        rois = torch.cat((rois[:, :1], rois[:, 1:] + shift / self.spatial_scale), dim=1)
        if self.pool_mode == "avg":
            return ps_roi_align(x, rois, bins, self.spatial_scale, ratio)
        # Bins of one sample each, ratio x ratio of them reading the same channel.
        n, channels, height, width = x.shape
        x = x.view(n, -1, bins, 1, bins, 1, height, width)
        x = x.expand(-1, -1, -1, ratio, -1, ratio, -1, -1)
        x = x.reshape(n, channels * ratio**2, height, width)
        samples = ps_roi_align(x, rois, bins * ratio, self.spatial_scale, 1)
        return F.max_pool2d(samples, ratio)


class PSRoIPool(nn.Module):
    """Position-sensitive RoI pooling (R-FCN, arXiv:1605.06409, Sec. 2): the mean of a bin's cells.

    As in the code of R-FCN and of Light-Head R-CNN (``lib_psroi_pooling``), RoIs are rounded to
    whole pixels, and a bin contains every cell that it touches. ``torchvision.ops.ps_roi_pool``
    differs: it rounds RoIs to whole cells, which moves them by up to half a stride, and omits the
    last row and column of the map, but not in its gradient.
    """

    def __init__(self, output_size: int, spatial_scale: float) -> None:
        """See :class:`PSRoIAlign`."""
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, x: Tensor, rois: Tensor) -> Tensor:
        """As :meth:`PSRoIAlign.forward`; RoIs include both ends, and a bin without cells is 0."""
        _, channels, height, width = x.shape
        bins = torch.arange(self.output_size + 1, device=x.device)
        corners = (rois[:, 1:] + 0.5).floor()
        start = corners[:, :2, None] * self.spatial_scale  # (n, 2, 1), x before y
        end = (corners[:, 2:, None] + 1) * self.spatial_scale
        edges = bins * ((end - start).clamp(min=0.1) / self.output_size) + start  # (n, 2, P + 1)
        limit = torch.tensor([[width], [height]], device=x.device)
        x1, y1 = edges[..., :-1].floor().long().clamp(min=0).minimum(limit).unbind(1)  # (n, P)
        x2, y2 = edges[..., 1:].ceil().long().clamp(min=0).minimum(limit).unbind(1)

        # Sums over all cells above and to the left; float32 would not be precise enough.
        sums = F.pad(x.double().cumsum(2).cumsum(3), (1, 0, 1, 0))  # (N, C * P * P, H + 1, W + 1)
        image = rois[:, 0].long().view(-1, 1, 1, 1)
        channel = torch.arange(channels, device=x.device)
        channel = channel.view(-1, self.output_size, self.output_size)

        def sum_to(row: Tensor, column: Tensor) -> Tensor:
            return sums[image, channel, row[:, None, :, None], column[:, None, None, :]]

        total = sum_to(y2, x2) - sum_to(y1, x2) - sum_to(y2, x1) + sum_to(y1, x1)
        cells = (y2 - y1)[:, None, :, None] * (x2 - x1)[:, None, None, :]
        return (total / cells.clamp(min=1)).to(x.dtype)  # (n, C, P, P)


class PSRoIExtractor(BaseRoIExtractor):
    """RoI features from one position-sensitive map.

    ``roi_layer`` is ``dict(type='PSRoIAlign', output_size=7, ...)`` or
    ``dict(type='PSRoIPool', output_size=7)``, with the arguments of these classes except the scale.
    It computes in float32, or in float64 if the map has it: torchvision's kernels do not support
    bfloat16, and coordinates in half precision have errors of several pixels.
    """

    LAYERS: ClassVar[dict[str, type[nn.Module]]] = {
        "PSRoIAlign": PSRoIAlign,
        "PSRoIPool": PSRoIPool,
    }

    def build_roi_layers(
        self, layer_cfg: dict[str, Any], featmap_strides: list[int]
    ) -> nn.ModuleList:
        """Build the layer; ValueError if there are several maps, or the layer's type is unknown."""
        if len(featmap_strides) != 1:
            raise ValueError(f"featmap_strides={featmap_strides!r}: must be the stride of one map")
        name = layer_cfg["type"]
        if name not in self.LAYERS:
            raise ValueError(f"roi_layer.type={name!r}: must be one of {tuple(self.LAYERS)}")
        return super().build_roi_layers({**layer_cfg, "type": self.LAYERS[name]}, featmap_strides)

    def forward(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Compute RoI features in the dtype of the map; ValueError if its channels do not fit."""
        if len(feats) != 1:
            raise ValueError(f"{len(feats)} maps were given: must be one, the thin map")
        (x,), (layer,) = feats, self.roi_layers
        bins = layer.output_size
        if x.size(1) != self.out_channels * bins**2:
            raise ValueError(
                f"the map has {x.size(1)} channels: must be {self.out_channels * bins**2}, for "
                f"{self.out_channels} position-sensitive channels of {bins}x{bins} bins"
            )
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        dtype = torch.promote_types(x.dtype, torch.float32)
        return layer(x.to(dtype), rois.to(dtype)).to(x.dtype)
