"""The training step of `benchmarks.training_step` in PyTorch: one step for every line on stdin, answered by a line.

Run     python -m benchmarks.torch_step WIDTH BATCH

It imports no module of the pipeline, since TensorFlow and PyTorch crash in one process.
"""

import sys
from collections.abc import Callable

import numpy as np

from benchmarks.training_step import CLASSES, answer_lines

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    sys.exit("PyTorch is not installed, so its row is left out: pip install torch")

THREADS = 2


class Residual(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return input plus output of the layers."""
        return x + super().forward(x)


def normalized(convolution: nn.Conv2d, swish: bool = True) -> list[nn.Module]:
    """Return a convolution, its batch norm and its activation."""
    return [convolution, nn.BatchNorm2d(convolution.out_channels, eps=1e-3), *([nn.SiLU()] if swish else [])]


def bottlenecks(inputs: int, outputs: int, expansion: int, stride: int, repeats: int) -> list[nn.Module]:
    """Return inverted residuals; all but the first add their input."""
    blocks: list[nn.Module] = []
    for index in range(repeats):
        inner = inputs * expansion
        blocks.append(
            (Residual if index else nn.Sequential)(
                *normalized(nn.Conv2d(inputs, inner, 1, bias=False)),
                *normalized(nn.Conv2d(inner, inner, 3, 1 if index else stride, 1, groups=inner, bias=False)),
                *normalized(nn.Conv2d(inner, outputs, 1, bias=False), swish=False),
            )
        )
        inputs = outputs
    return blocks


def network(width: float) -> nn.Module:
    """Return the network of `faces.network.mobilefacenet` with its head `linear`."""
    c64, c128, c512 = (max(8, int(channels * width / 8 + 0.5) * 8) for channels in (64, 128, 512))
    return nn.Sequential(
        *normalized(nn.Conv2d(3, c64, 3, 2, bias=False)),
        nn.Conv2d(c64, c64, 3, padding=1, groups=c64, bias=False),
        *normalized(nn.Conv2d(c64, c64, 1, bias=False)),
        *bottlenecks(c64, c64, expansion=2, stride=2, repeats=5),
        *bottlenecks(c64, c128, expansion=4, stride=2, repeats=1),
        *bottlenecks(c128, c128, expansion=2, stride=1, repeats=6),
        *bottlenecks(c128, c128, expansion=4, stride=2, repeats=1),
        *bottlenecks(c128, c128, expansion=2, stride=1, repeats=2),
        *normalized(nn.Conv2d(c128, c512, 1, bias=False)),
        *normalized(nn.Conv2d(c512, c512, 7, groups=c512, bias=False), swish=False),
        nn.Flatten(),
        nn.Linear(c512, 512, bias=False),
        nn.BatchNorm1d(512, eps=1e-3),
    )


def make_step(
    width: float, batch: int, classes: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Callable[[], None]:
    """Return a step on a fixed batch of noise, with weights and images on `device`, computed in `dtype`."""
    backbone = network(width).to(device, memory_format=torch.channels_last)
    directions = nn.Parameter(torch.randn(classes, 512, device=device))
    optimizer = torch.optim.SGD([*backbone.parameters(), directions], lr=0.1, momentum=0.5, weight_decay=1e-4)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 112, 112, 3)).astype(np.float32)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % classes
    is_own = functional.one_hot(labels, classes).bool()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            embeddings = backbone(images / 255)
        cosines = functional.normalize(embeddings.float()) @ functional.normalize(directions).T
        with_margin = torch.cos(torch.acos(cosines.clamp(-1 + 1e-7, 1 - 1e-7)) + 0.3)
        functional.cross_entropy(16 * torch.where(is_own, with_margin, cosines), labels).backward()
        optimizer.step()

    return step


def main() -> None:
    """Do steps until stdin ends."""
    torch.set_num_threads(THREADS)
    answer_lines(make_step(float(sys.argv[1]), int(sys.argv[2]), CLASSES))


if __name__ == "__main__":
    main()
