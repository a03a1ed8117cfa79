"""Write what TFLM says about the bundled models: run after a change of the zoo.

python tests/model/record_tflm_outputs.py
"""

from __future__ import annotations

import numpy as np
from test_zoo import RECORDED, RECORDED_COUNT

from model import zoo
from model.datasets import datasets
from model.int8 import tflite
from tests.model.int8 import oracle
from tests.zoo_data import carried_data


def main() -> None:
    recorded = {}
    for name in zoo.NAMES:
        graph = tflite.load(zoo.path(name))
        tensors = oracle.run(graph, datasets.samples(carried_data(name)).x[:RECORDED_COUNT])
        recorded[f"{name}_logits"] = tensors[graph.operators[-1].inputs[0]]
        recorded[f"{name}_output"] = tensors[graph.outputs[0]]
    np.savez_compressed(RECORDED, **recorded)


if __name__ == "__main__":
    main()
