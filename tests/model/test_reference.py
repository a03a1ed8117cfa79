"""The reference against TensorFlow Lite for Microcontrollers: zero differences."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import random_graphs

from model import reference


@pytest.mark.parametrize("layer", random_graphs.LAYERS)
def test_random_layers_agree_with_tflm(layer):
    for seed in range(60):
        rng = np.random.default_rng([seed, 20])
        graph = random_graphs.LAYERS[layer](rng)
        x = random_graphs.pictures(rng, graph, 6)
        expected = oracle.predict(graph, x)
        actual = reference.predict(graph, x)
        assert np.array_equal(actual, expected), (
            f"{layer}, seed {seed}: {np.sum(actual != expected)} of {actual.size} differ"
        )
