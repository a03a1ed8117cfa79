"""Every layer, forward and backward, against PyTorch, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from model.int8.graph import Padding
from model.training.layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
)
from model.training.loss import softmax_cross_entropy
from model.training.network import Network
from model.training.optimizer import AdamW

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn

VALID = Padding.VALID


def _conv(layer, module, inputs: int) -> None:
    """Give `module` the weights of `layer`, which are (rows, columns, inputs, outputs)."""
    weights = layer.parameters["weights"]
    if isinstance(layer, DepthwiseConv2D):
        weights = weights[:, :, np.newaxis]
    module.weight.data = torch.from_numpy(weights.transpose(3, 2, 0, 1).copy())
    _bias(layer, module)


def _dense(layer, module, inputs: int) -> None:
    module.weight.data = torch.from_numpy(layer.parameters["weights"].T.copy())
    _bias(layer, module)


def _bias(layer, module) -> None:
    if module.bias is not None:
        module.bias.data = torch.from_numpy(layer.parameters["bias"].copy())


def _gradient_of(layer, module) -> dict[str, np.ndarray]:
    """PyTorch's gradients, named and laid out as ours."""
    weight = module.weight.grad.numpy()
    if isinstance(layer, BatchNorm):
        return {"scale": weight, "shift": module.bias.grad.numpy()}
    if isinstance(layer, DepthwiseConv2D):
        found = {"weights": weight[:, 0].transpose(1, 2, 0)}
    else:
        found = {"weights": weight.T if weight.ndim == 2 else weight.transpose(2, 3, 1, 0)}
    if module.bias is not None:
        found["bias"] = module.bias.grad.numpy()
    return found


CASES = {
    "conv same": (lambda: Conv2D(5, 3), lambda c: nn.Conv2d(c, 5, 3, padding=1), _conv),
    "conv 5x5": (lambda: Conv2D(4, 5), lambda c: nn.Conv2d(c, 4, 5, padding=2), _conv),
    "conv valid stride 2": (
        lambda: Conv2D(4, 3, 2, VALID, bias=False),
        lambda c: nn.Conv2d(c, 4, 3, 2, bias=False),
        _conv,
    ),
    "depthwise": (
        lambda: DepthwiseConv2D(3),
        lambda c: nn.Conv2d(c, c, 3, padding=1, groups=c),
        _conv,
    ),
    "depthwise valid stride 2": (
        lambda: DepthwiseConv2D((3, 2), 2, VALID),
        lambda c: nn.Conv2d(c, c, (3, 2), 2, groups=c),
        _conv,
    ),
    "max pool": (lambda: MaxPool2D(2), lambda c: nn.MaxPool2d(2), None),
    "max pool overlapping": (lambda: MaxPool2D(3, 2), lambda c: nn.MaxPool2d(3, 2), None),
    "average pool": (lambda: AveragePool2D(3, 2), lambda c: nn.AvgPool2d(3, 2), None),
    "global average pool": (GlobalAveragePool, lambda c: nn.AdaptiveAvgPool2d(1), None),
    "batch norm": (BatchNorm, lambda c: nn.BatchNorm2d(c, eps=BatchNorm.EPSILON), None),
    "relu": (ReLU, lambda c: nn.ReLU(), None),
    "sigmoid": (Sigmoid, lambda c: nn.Sigmoid(), None),
}


def to_torch(x: np.ndarray):
    """(H, W, N, C) to (N, C, H, W)."""
    return torch.from_numpy(x.transpose(2, 3, 0, 1).copy())


def from_torch(x) -> np.ndarray:
    return x.detach().numpy().transpose(2, 3, 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_picture_layer(name, channels):
    make, make_module, copy = CASES[name]
    rng = np.random.default_rng(1)
    layer: Layer = make()
    layer.build((9, 10, channels), rng)
    module = make_module(channels)
    if copy is not None:
        copy(layer, module, channels)
    x = rng.standard_normal((9, 10, 6, channels)).astype(np.float32)
    theirs_x = to_torch(x).requires_grad_()
    theirs = module(theirs_x)
    ours = layer.forward(x, rng).copy()
    assert np.allclose(ours, from_torch(theirs), atol=1e-5)
    dy = rng.standard_normal(ours.shape).astype(np.float32)
    theirs.backward(to_torch(dy))
    dx = layer.backward(dy)
    assert dx is not None
    assert np.allclose(dx, from_torch(theirs_x.grad), atol=1e-4)
    if layer.parameters:
        expected = _gradient_of(layer, module)
        assert layer.gradients.keys() == expected.keys()
        for key, gradient in layer.gradients.items():
            assert np.allclose(gradient, expected[key], atol=1e-3), key


def test_batch_norm_outside_of_training():
    rng = np.random.default_rng(2)
    layer = BatchNorm()
    layer.build((5, 5, 4), rng)
    module = nn.BatchNorm2d(4, eps=BatchNorm.EPSILON)
    for name, tensor in (("mean", module.running_mean), ("variance", module.running_var)):
        layer.state[name] += rng.uniform(0, 1, 4).astype(np.float32)
        tensor.copy_(torch.from_numpy(layer.state[name]))
    module.eval()
    x = rng.standard_normal((5, 5, 3, 4)).astype(np.float32)
    assert np.allclose(layer.forward(x), from_torch(module(to_torch(x))), atol=1e-5)


def test_dropout_leaves_as_many_and_scales_alike():
    rng = np.random.default_rng(3)
    x = np.ones((100, 100), np.float32)
    ours = Dropout(0.3).forward(x, rng)
    torch.manual_seed(0)
    theirs = nn.Dropout(0.3)(torch.from_numpy(x)).numpy()
    assert np.allclose(np.unique(ours), np.unique(theirs))
    assert abs((ours == 0).mean() - (theirs == 0).mean()) < 0.02


class _Sum(nn.Module):
    def __init__(self, body, shortcut) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


def test_a_network_takes_the_same_steps():
    """Depthwise-separable residual blocks, batch norm, dense, loss and Adam: ten steps."""
    rng = np.random.default_rng(4)
    layers = [
        *(Conv2D(6, 3, bias=False), BatchNorm(), MaxPool2D(2), ReLU()),
        Residual([DepthwiseConv2D(3), ReLU(), Conv2D(8, 1)], [Conv2D(8, 1)]),
        *(AveragePool2D(2), Flatten(), Dense(5)),
    ]
    network = Network(layers, (12, 12, 2), rng)
    conv, norm, *_, residual, _, _, dense = layers
    modules = [nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6, eps=BatchNorm.EPSILON)]
    body = [nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU(), nn.Conv2d(6, 8, 1)]
    shortcut = nn.Conv2d(6, 8, 1)
    last = nn.Linear(3 * 3 * 8, 5)
    _conv(conv, modules[0], 2)
    _conv(residual.body[0], body[0], 6)
    _conv(residual.body[2], body[2], 6)
    _conv(residual.shortcut[0], shortcut, 6)
    # Our rows go by row, column, channel; PyTorch's by channel, row, column.
    weights = dense.parameters["weights"].reshape(3, 3, 8, 5).transpose(3, 2, 0, 1)
    last.weight.data = torch.from_numpy(weights.reshape(5, -1).copy())
    _bias(dense, last)
    theirs = nn.Sequential(
        *(*modules, nn.MaxPool2d(2), nn.ReLU(), _Sum(nn.Sequential(*body), shortcut)),
        *(nn.AvgPool2d(2), nn.Flatten(), last),
    )
    ours_adam = AdamW(network.parameters)
    theirs_adam = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss(reduction="sum")
    for _ in range(10):
        x = rng.uniform(0, 1, (12, 12, 16, 2)).astype(np.float32)
        y = rng.integers(0, 5, 16)
        network.clear_gradients()
        loss, dz = softmax_cross_entropy(network.forward(x, rng), y)
        network.backward(dz)
        ours_adam.step(network.gradients, 1e-3)
        theirs_adam.zero_grad()
        theirs_loss = criterion(theirs(to_torch(x)), torch.from_numpy(y))
        theirs_loss.backward()
        theirs_adam.step()
        assert loss == pytest.approx(theirs_loss.item(), rel=2e-3)
    assert np.allclose(
        residual.shortcut[0].parameters["weights"][0, 0],
        shortcut.weight.detach().numpy()[:, :, 0, 0].T,
        atol=2e-3,
    )
