"""One training step of the network at full width, batch 64: ours, stock Keras 3, and PyTorch where it is installed."""

from collections.abc import Callable
from typing import Any

import numpy as np

import train
from benchmarks.timing import alternate, table
from faces import mobilefacenet, runtime
from faces.stage import load_params

BATCH, CLASSES, THREADS = 64, 500, 2
IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH, 112, 112, 3)).astype(np.float32)
LABELS = np.arange(BATCH) % CLASSES


def keras_step(stock: bool) -> Callable[[], object]:
    """Return a step of the pipeline's own model, or of the same one with Keras 3's batch normalization."""
    own = mobilefacenet.BatchNormalization
    if stock:
        mobilefacenet.BatchNormalization = runtime.keras.layers.BatchNormalization  # type: ignore[misc]
    params = load_params("train", train.TrainParams).model_copy(update={"width": 1.0, "threads": THREADS})
    model = train.build(params, CLASSES)
    mobilefacenet.BatchNormalization = own  # type: ignore[misc]
    return lambda: model.train_on_batch(IMAGES, LABELS, (0,))


def torch_step() -> Callable[[], object] | None:
    """Return the same step in PyTorch, None if that is not installed."""
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed and left out: pip install torch")
        return None
    torch.set_num_threads(THREADS)
    network = _torch_network(torch)
    directions = torch.nn.Parameter(torch.randn(512, CLASSES))
    optimizer = torch.optim.SGD([*network.parameters(), directions], lr=0.1, momentum=0.5, weight_decay=1e-4)
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(LABELS)

    def step() -> None:
        optimizer.zero_grad()
        unit = torch.nn.functional.normalize(network(images / 255))
        cosines = unit @ torch.nn.functional.normalize(directions, dim=0)
        own = torch.nn.functional.one_hot(labels, CLASSES).bool()
        with_margin = torch.cos(torch.acos(cosines.clamp(-1 + 1e-7, 1 - 1e-7)) + 0.3)
        torch.nn.functional.cross_entropy(16 * torch.where(own, with_margin, cosines), labels).backward()
        optimizer.step()

    network.to(memory_format=torch.channels_last)
    return step


def _torch_network(torch: Any) -> Any:
    """Build the blocks of `mobilefacenet.BLOCKS` in PyTorch."""
    nn = torch.nn

    class Residual(nn.Sequential):  # type: ignore[name-defined]
        def forward(self, x: object) -> object:
            return x + super().forward(x)

    def normalized(*layers: object, swish: bool = True) -> list[object]:
        channels = layers[-1].out_channels  # type: ignore[attr-defined]
        return [*layers, nn.BatchNorm2d(channels, eps=1e-3), *([nn.SiLU()] if swish else [])]

    def bottleneck(inputs: int, outputs: int, expansion: int, stride: int, residual: bool) -> object:
        inner = inputs * expansion
        return (Residual if residual else nn.Sequential)(
            *normalized(nn.Conv2d(inputs, inner, 1)),
            *normalized(nn.Conv2d(inner, inner, 3, stride, 1, groups=inner)),
            *normalized(nn.Conv2d(inner, outputs, 1), swish=False),
        )

    layers, channels = [], 3
    for block in mobilefacenet.BLOCKS:
        match block:
            case mobilefacenet._Convolution():
                layers += normalized(nn.Conv2d(channels, block.channels, block.kernel, block.stride))
                channels = block.channels
            case mobilefacenet._SeparableConvolution():
                depthwise = nn.Conv2d(channels, channels, block.kernel, padding=1, groups=channels, bias=False)
                layers += normalized(depthwise, nn.Conv2d(channels, block.channels, 1))
                channels = block.channels
            case mobilefacenet._Bottlenecks():
                for index in range(block.repeats):
                    stride = 1 if index else block.stride
                    layers.append(bottleneck(channels, block.channels, block.expansion, stride, index > 0))
                    channels = block.channels
            case mobilefacenet._GlobalDepthwise():
                layers += normalized(nn.Conv2d(channels, channels, block.kernel, groups=channels), swish=False)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 512))


def main() -> None:
    """Print the table."""
    ways = {"ours": keras_step(stock=False), "stock Keras 3": keras_step(stock=True)}
    if in_torch := torch_step():
        ways["PyTorch"] = in_torch
    seconds = alternate(ways, rounds=7)
    table(f"training step, width 1.0, batch {BATCH}", "images/s", seconds, dict.fromkeys(ways, BATCH), "ours")


if __name__ == "__main__":
    main()
