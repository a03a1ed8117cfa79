"""Write the ONNX files of `data/` and what PyTorch computes with them.

Run where PyTorch, onnx and onnxscript are installed: ``python -m
tests.model.importing.record_onnx``. The networks have random weights; each has what its name says.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

DATA = Path(__file__).parent / "data"
COUNT = 3


def randomized(module: nn.Module, seed: int) -> nn.Module:
    """Statistics and slopes that are not what they start as."""
    generator = torch.Generator().manual_seed(seed)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_(0, 0.5, generator=generator)
            each.running_var.uniform_(0.5, 2, generator=generator)
            each.weight.data.uniform_(0.5, 1.5, generator=generator)
            each.bias.data.normal_(0, 0.2, generator=generator)
        if isinstance(each, nn.PReLU):
            each.weight.data.uniform_(0.05, 0.4, generator=generator)
    return module.eval()


class Residual(nn.Module):
    """Stride-2 convolutions with PyTorch's padding, a branch, batch normalisation before and
    behind, and a flattening."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.behind = nn.BatchNorm2d(8)
        self.short = nn.Conv2d(8, 8, 1)
        self.dense = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x):
        x = F.relu(self.first(self.norm(x)))
        x = F.relu(self.behind(self.second(x)) + self.short(x))
        x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        return self.dense(torch.flatten(F.pad(x, (0, 1, 0, 1))[:, :, :4, :4], 1))


class Mobile(nn.Module):
    """Depthwise, ReLU6, and a linear bottleneck, as MobileNetV2 has them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU6()
        )
        self.block = nn.Sequential(
            nn.Conv2d(6, 12, 1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU6(),
            nn.Conv2d(12, 12, 3, 1, 1, groups=12, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU6(),
            nn.Conv2d(12, 6, 1, bias=False),
            nn.BatchNorm2d(6),
        )
        self.dense = nn.Linear(6, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(x)
        return F.log_softmax(self.dense(F.dropout(x.mean((2, 3)), 0.2, self.training)), 1)


class Shuffle(nn.Module):
    """Groups, and channels that change places between them; a split, and a join."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.one = nn.Conv2d(8, 8, 1)
        self.dense = nn.Linear(16, 3)

    @staticmethod
    def shuffle(x, groups):
        n, c, h, w = x.shape
        return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)

    def forward(self, x):
        x = self.shuffle(F.relu(self.grouped(F.relu(self.first(x)))), 2)
        x = self.depthwise(x)
        left, right = x.chunk(2, 1)
        x = self.shuffle(torch.cat([left, F.relu(self.one(right))], 1), 2)
        return self.dense(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Functions(nn.Module):
    """One activation after the other, and formulas that are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(9))
        self.prelu = nn.PReLU(4)

    def forward(self, x):
        a, b, c, d, e, f, g, h, i = self.layers
        x = F.hardswish(a(x))
        x = F.leaky_relu(b(x), 0.2)
        x = F.silu(c(x))
        x = F.gelu(d(x))
        x = F.elu(e(x))
        x = self.prelu(f(x))
        y = g(x)
        x = y * F.relu6(y + 3) / 6
        x = torch.tanh(h(x)) + torch.sigmoid(x)
        return F.softmax(i(F.hardtanh(x)).amax((2, 3)), 1)


class Excitation(nn.Module):
    """Squeeze and excitation, an upsampled branch, and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.squeeze = nn.Conv2d(8, 2, 1)
        self.excite = nn.Conv2d(2, 8, 1)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.last = nn.Conv2d(20, 3, 1)

    def forward(self, x):
        x = F.relu(self.first(x))
        scale = F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        x = x * torch.sigmoid(self.excite(scale))
        y = F.relu(self.down(x))
        return self.last(torch.cat([x, F.interpolate(y, scale_factor=2), self.up(y)], 1))


class Sequence(nn.Module):
    """One dimension: convolutions and pools over time, and a dense layer at each moment."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 8, 5, stride=2, padding=2)
        self.second = nn.Conv1d(8, 6, 3, padding=2, dilation=2)
        self.dense = nn.Linear(6, 6)
        self.last = nn.Linear(6, 2)

    def forward(self, x):
        x = F.max_pool1d(F.relu(self.first(x)), 2)
        x = F.avg_pool1d(self.second(x), 3, 1, 1)
        x = F.relu(self.dense(x.transpose(1, 2)))
        return self.last(x.mean(1))


class Pools(nn.Module):
    """Pools with every kind of edge, a slice, and a normalisation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding="same", dilation=2)
        self.dense = nn.Linear(4 * 3 * 3, 3)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, x):
        x = self.first((x - self.mean) / self.std)
        x = F.avg_pool2d(x, 3, 2, 1)
        x = F.avg_pool2d(self.second(x), 3, 1, 1, count_include_pad=False)
        x = F.avg_pool2d(x[:, :, 1:, ::2], 2, 2, ceil_mode=True)
        x = F.max_pool2d(F.interpolate(x, (6, 6), mode="bilinear"), 2, 2)
        return self.dense(x.permute(0, 2, 3, 1).reshape(x.shape[0], -1))


class Digits(nn.Module):
    """A classifier of the bundled 8x8 digits, as a tutorial would have it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 16, 3, padding=1)
        self.dense = nn.Linear(16 * 2 * 2, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        return self.dense(torch.flatten(x, 1))


def trained_on_digits(make: type[nn.Module], epochs: int, mean: float, std: float) -> nn.Module:
    """A classifier that gets ``(pixel / 255 - mean) / std``."""
    from model.datasets import datasets

    digits = datasets.load("digits")
    x = (torch.tensor(digits.x_train).permute(0, 3, 1, 2) / 255 - mean) / std
    y = torch.tensor(digits.y_train)
    torch.manual_seed(0)
    network = make()
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(x[part]), y[part]).backward()
            optimizer.step()
    return network.eval()


class Spread(nn.Module):
    """Depthwise and pointwise layers, whose channels will differ in range by a factor of 100."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.pointwise = nn.Conv2d(16, 24, 1)
        self.second = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.dense = nn.Linear(24, 10)

    def forward(self, x):
        x = F.relu(self.pointwise(F.relu(self.depthwise(F.relu(self.first(x))))))
        return self.dense(F.relu(self.second(F.max_pool2d(x, 2))).mean((2, 3)))

    def spread(self) -> None:
        """Each channel larger or smaller, and the next layer's weights the other way round."""
        chain = [self.first, self.depthwise, self.pointwise, self.second, self.dense]
        rng = np.random.default_rng(0)
        for layer, following in zip(chain, chain[1:]):
            factor = torch.tensor(10 ** rng.uniform(-2, 0, len(layer.weight)), dtype=torch.float32)
            layer.weight.data *= factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
            layer.bias.data *= factor
            back = factor if following.weight.shape[1] == 1 else factor[None]
            following.weight.data /= back.reshape(
                *back.shape, *[1] * (following.weight.ndim - back.ndim)
            )


NETWORKS = {
    "residual": (Residual, (3, 12, 12)),
    "mobile": (Mobile, (3, 12, 12)),
    "shuffle": (Shuffle, (2, 6, 6)),
    "functions": (Functions, (4, 5, 4)),
    "excitation": (Excitation, (1, 16, 16)),
    "sequence": (Sequence, (3, 24)),
    "pools": (Pools, (3, 11, 12)),
}


def export(network: nn.Module, shape: tuple[int, ...], name: str, **options) -> None:
    """Write an ONNX file without what names the machine."""
    import onnx

    content = io.BytesIO()
    torch.onnx.export(network, (torch.zeros(1, *shape),), content, **options)
    model = onnx.load_model_from_string(content.getvalue())
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in model.graph.value_info:
        value.doc_string = ""
    del model.graph.metadata_props[:], model.metadata_props[:]
    (DATA / f"{name}.onnx").write_bytes(model.SerializeToString())


def main() -> None:
    torch.set_num_threads(1)
    recorded = {}
    for number, (name, (make, shape)) in enumerate(NETWORKS.items()):
        torch.manual_seed(number)
        network = randomized(make(), number)
        x = torch.rand(COUNT, *shape, generator=torch.Generator().manual_seed(number))
        with torch.no_grad():
            y = network(x)
        recorded[f"{name}_x"], recorded[f"{name}_y"] = x.numpy(), y.numpy()
        export(network, shape, f"{name}_legacy", dynamo=False, opset_version=13)
        export(network, shape, f"{name}_default", dynamo=True, external_data=False)
    for name, mean, std in (("digits", 0.0, 1.0), ("digits_normalised", 0.3, 0.4)):
        network = trained_on_digits(Digits, 20, mean, std)
        export(network, (1, 8, 8), name, dynamo=True, external_data=False)
    network = trained_on_digits(Spread, 60, 0.0, 1.0)
    network.spread()
    export(network, (1, 8, 8), "spread", dynamo=False, opset_version=13)
    np.savez_compressed(DATA / "pytorch.npz", **recorded)


if __name__ == "__main__":
    main()
