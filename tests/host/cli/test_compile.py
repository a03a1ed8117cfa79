"""``host compile``: what it says about networks that other people made."""

from __future__ import annotations

import re

import numpy as np
import pytest

from model.int8 import tflite_writer
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Padding
from tests.model.int8 import familiar


@pytest.fixture
def file(tmp_path):
    def write(graph):
        path = tmp_path / "net.tflite"
        tflite_writer.save(graph, path)
        return path

    return write


def test_what_the_host_computes_and_its_share_of_the_work(host, file):
    path = file(familiar.magic_wand())
    report = host("compile", path, "--board", "icebreaker", "--json")
    kinds = [each.split(" of ")[0] for each in report["host"]["operators"]]
    assert kinds[0] == "QUANTIZE" and kinds[-1] == "DEQUANTIZE" and "SOFTMAX" in kinds
    assert 0 < report["host"]["share"] < 0.05
    text = host("compile", path, "--board", "icebreaker")
    assert re.search(r"The host computes QUANTIZE of .*: \d+\.\d+% of the work\.", text)
    report = host("compile", "digits", "--board", "icebreaker", "--json")
    assert report["host"]["operators"] == ["SOFTMAX of softmax1"]


def hundred_operators():
    """Residual blocks of a MobileNet, one after the other."""
    rng = np.random.default_rng(1)

    def weights(*shape):
        return rng.integers(-20, 21, shape).astype(np.int8)

    net = GraphBuilder("hundred", (16, 16, 8), 0.25, -3)
    options = {"scale": 0.25, "zero_point": -3}
    for _ in range(25):
        begin = net.last
        net.conv_2d(weights(16, 1, 1, 8), 2**-6, None, activation=Activation.RELU, **options)
        net.depthwise_conv_2d(weights(1, 3, 3, 16), 2**-6, None, padding=Padding.SAME, **options)
        net.conv_2d(weights(8, 1, 1, 16), 2**-6, None, **options)
        net.add(begin, **options)
    return net.build()


def test_a_network_of_a_hundred_operators_has_a_row_for_each(host, file):
    text = host("compile", file(hundred_operators()), "--board", "icebreaker")
    layers, blocks, _ = text.split("\n\n")
    rows = layers.splitlines()
    # The ADD is done by the convolution before it, and the total has a row.
    assert sum("CONV_2D" in row for row in rows) == 75
    assert len(rows) == len({row.split()[0] for row in rows})
    assert max(map(len, text.split("\n\n")[0].splitlines() + blocks.splitlines())) < 120


def test_bands_of_one_operator_have_one_row(host, file):
    rng = np.random.default_rng(1)
    net = GraphBuilder("net", (96, 96, 4), 0.25, -3)
    net.conv_2d(
        rng.integers(-9, 10, (16, 1, 1, 4)).astype(np.int8), 2**-4, None, scale=0.25, zero_point=0
    )
    net.max_pool_2d((3, 3))
    path = file(net.build())
    text = host("compile", path, "--board", "icebreaker")
    assert re.search(r"^conv1 in \d+ layers  +CONV_2D ", text, re.MULTILINE)
    report = host("compile", path, "--board", "icebreaker", "--json")
    assert len(report["layers"]) > 2 and report["macs"] == 96 * 96 * 4 * 16


def test_a_board_without_products_names_those_that_have_them(host, file):
    net = GraphBuilder("net", (4, 4, 2), 0.25, -3)
    begin = net.last
    net.logistic()
    net.mul(begin, scale=0.25, zero_point=0)
    net.average_pool_2d((4, 4))
    other = net.last
    net.last = begin
    net.max_pool_2d((4, 4))
    net.mul(other, scale=0.25, zero_point=0)
    message = host("compile", file(net.build()), "--board", "icebreaker-flash", fails=1)
    assert (
        "layer mul2: this engine has no products of two tensors; it runs on icebreaker" in message
    )
    assert "\n" not in message
