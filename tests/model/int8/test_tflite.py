"""The model file: what is written is read again, TFLM reads it too, and rubbish is refused."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model import zoo
from model.errors import ModelError
from model.int8 import reference, tflite, tflite_writer
from model.int8.builder import GraphBuilder
from model.int8.graph import (
    Activation,
    Graph,
    OperatorKind,
    Padding,
    Quantization,
)
from model.int8.operators import OPERATORS
from model.int8.validation import validate
from tests.model.int8 import oracle, random_graphs


def _same(a: Graph, b: Graph) -> None:
    assert a.operators == b.operators
    assert (a.inputs, a.outputs, a.labels) == (b.inputs, b.outputs, b.labels)
    assert len(a.tensors) == len(b.tensors)
    for left, right in zip(a.tensors, b.tensors):
        assert (left.name, left.shape, left.dtype) == (right.name, right.shape, right.dtype)
        assert (left.data is None) == (right.data is None)
        assert left.data is None or np.array_equal(left.data, right.data)
        if left.quantization is None or right.quantization is None:
            assert left.quantization is right.quantization
        else:
            assert np.array_equal(left.quantization.scale, right.quantization.scale)
            assert np.array_equal(left.quantization.zero_point, right.quantization.zero_point)
            assert left.quantization.axis == right.quantization.axis


@pytest.mark.parametrize("layer", random_graphs.LAYERS)
def test_round_trip(layer):
    for seed in range(10):
        graph = random_graphs.LAYERS[layer](np.random.default_rng([seed, 30]))
        data = tflite.encode(graph)
        read = tflite.decode(data, graph.name)
        _same(graph, read)
        assert tflite.encode(read) == data


def _small(labels: tuple[str, ...] = ("cat", "dog", "ein Vogel äöü")) -> Graph:
    rng = np.random.default_rng(0)
    builder = GraphBuilder("small", (4, 4, 1))
    builder.conv_2d(
        rng.integers(-127, 128, (3, 3, 3, 1)),
        [0.01, 0.02, 0.03],
        rng.integers(-99, 99, 3),
        scale=0.1,
        zero_point=3,
        activation=Activation.RELU,
    )
    builder.max_pool_2d((2, 2))
    builder.reshape((3,))
    builder.fully_connected(
        rng.integers(-127, 128, (3, 3)), 0.01, rng.integers(-99, 99, 3), scale=0.2, zero_point=-5
    )
    builder.softmax()
    return builder.build(labels)


def test_labels_travel_in_an_archive_behind_the_model(tmp_path):
    graph = _small()
    tflite.save(graph, tmp_path / "small.tflite")
    read = tflite.load(tmp_path / "small.tflite")
    assert read.labels == graph.labels
    assert read.name == "small"
    with zipfile.ZipFile(tmp_path / "small.tflite") as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == list(graph.labels)
    x = random_graphs.pictures(np.random.default_rng(0), graph, 5)
    assert np.array_equal(reference.predict(read, x), oracle.predict(read, x))


def test_a_model_without_labels_has_none():
    assert tflite.decode(tflite.encode(_small(())), "small").labels == ()


def test_labels_of_other_names_are_found():
    stream = io.BytesIO(tflite.encode(_small(())))
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("label_map.txt", "a\r\nb\r\n\r\nc\r\n")
    assert tflite.decode(stream.getvalue(), "small").labels == ("a", "b", "c")


@pytest.mark.parametrize("label", ["", "two\nlines", " padded", "feed\x0c"])
def test_labels_that_are_no_line_are_refused(label):
    with pytest.raises(ModelError, match="cannot be written as a line"):
        tflite.encode(_small(("a", "b", label)))


def test_numbers_of_the_graph():
    graph = _small()
    assert [graph.macs(operator) for operator in graph.operators] == [108, 0, 0, 9, 0]
    assert graph.total_macs == 117
    assert graph.parameters == 27 + 3 + 9 + 3
    conv = graph.operators[0]
    assert graph.consumers(conv.outputs[0]) == (1,)
    assert graph.producer(conv.outputs[0]) == 0
    assert graph.producer(graph.inputs[0]) is None
    assert [operator.name for operator in graph.operators] == [
        *("conv1", "max_pool1", "reshape1", "dense1", "softmax1")
    ]


def test_labels_that_do_not_fit_are_left_out_with_a_note(monkeypatch):
    graph = _small(("cat", "dog"))
    with pytest.raises(ModelError, match="2 labels for an output of 1x3"):
        tflite.encode(graph)
    with monkeypatch.context() as patch:
        patch.setattr(tflite_writer, "validate", lambda graph: None)
        data = tflite.encode(graph)
    read = tflite.decode(data, "small")
    assert read.labels == ()
    assert read.notes == ("2 labels do not fit 3 output channels: they are left out",)
    assert tflite.decode(tflite.encode(_small()), "small").notes == ()


def test_a_byte_order_mark_is_no_part_of_a_label():
    stream = io.BytesIO(tflite.encode(_small(())))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("labels.txt", b"\xef\xbb\xbfa\nb\nc\n")
    assert tflite.decode(stream.getvalue(), "small").labels == ("a", "b", "c")


def _read_as_tflm_reads(graph: Graph, monkeypatch) -> None:
    """A graph that our writer would not write is read, and runs as TFLM runs it."""
    with monkeypatch.context() as patch:
        patch.setattr(tflite_writer, "validate", lambda graph: None)
        read = tflite.decode(tflite.encode(graph), "read")
        x = random_graphs.pictures(np.random.default_rng(0), graph, 6)
        expected = oracle.predict(graph, x)
    assert np.array_equal(reference.predict(read, x), expected)


def test_operators_without_their_table_of_options_have_the_defaults(monkeypatch):
    builder = GraphBuilder("bare", (3, 4, 2), 0.05, 3)
    picture = builder.last
    builder.tanh()
    builder.add(picture, scale=0.06, zero_point=-7, activation=Activation.NONE)
    builder.mean(0.05, 1, axes=(1,), keep_dims=False)
    builder.fully_connected(np.ones((3, 8)), 0.1, None, scale=0.3, zero_point=0)
    graph = builder.build()
    bare = tuple(replace(operator, options=None) for operator in graph.operators)
    _read_as_tflm_reads(replace(graph, operators=bare), monkeypatch)


def test_an_operator_may_be_named_in_either_field_of_its_code(monkeypatch):
    """Old files have only the field of 8 bits; some tools write only the one of 32."""
    for field in ("DeprecatedBuiltinCode", "BuiltinCode"):
        with monkeypatch.context() as patch:
            patch.setattr(
                tflite_writer.tflite, f"OperatorCodeAdd{field}", lambda builder, code: None
            )
            data = tflite.encode(_small())
        _same(_small(), tflite.decode(data, "small"))


def test_what_cannot_matter_is_not_checked(monkeypatch):
    """Converters of old name dimension 3 for the one-dimensional bias of a depthwise layer."""
    rng = np.random.default_rng(1)
    builder = GraphBuilder("old", (4, 4, 3), 0.1, 5)
    weights, bias = rng.integers(-127, 128, (1, 3, 3, 3)), rng.integers(-99, 99, 3)
    builder.depthwise_conv_2d(weights, [0.1, 0.2, 0.3], bias, scale=0.9, zero_point=-4)
    graph = builder.build()
    odd = replace(graph.tensors[2].quantization, axis=3)
    _read_as_tflm_reads(_tensor(graph, 2, quantization=odd), monkeypatch)
    _read_as_tflm_reads(_tensor(graph, 2, quantization=_affine([0, -1], [7])), monkeypatch)
    # CONV_2D takes no notice of its weights' zero points.
    quantization = _affine([0.1, 0.2, 0.3], [0, 5, 0])
    _read_as_tflm_reads(_tensor(GOOD, CONV_WEIGHTS, quantization=quantization), monkeypatch)
    # Of a tensor with several scales, the first counts.
    quantization = _affine([0.1] * 4, [3] * 4)
    _read_as_tflm_reads(_tensor(GOOD, INPUT, quantization=quantization), monkeypatch)
    # The kernels take scales for those of output channels, if the named dimension is as large.
    _read_as_tflm_reads(
        _tensor(GOOD, CONV_WEIGHTS, quantization=_affine([1] * 3, [0] * 3, 1)), monkeypatch
    )


@pytest.mark.parametrize(
    ("kind", "scale", "zero_point"),
    [("logistic", 0.5, -128), ("tanh", 0.5, -128), ("tanh", 0.1, 5), ("relu6", 0.5, 7)],
)
def test_outputs_whose_quantisation_the_kernels_do_not_look_at(
    kind, scale, zero_point, monkeypatch
):
    builder = GraphBuilder("own", (256,), 0.03, 3)
    getattr(builder, kind)()
    graph = _tensor(builder.build(), 1, quantization=_affine([scale], [zero_point]))
    _read_as_tflm_reads(graph, monkeypatch)


@pytest.mark.parametrize("scale", [0, 1e-45, 1e-39, 1e-30])
def test_a_channel_of_next_to_no_scale_is_computed_as_tflm_does(scale, monkeypatch):
    tiny = _tensor(GOOD, CONV_WEIGHTS, quantization=_affine([0.1, scale, 0.3], [0] * 3))
    _read_as_tflm_reads(tiny, monkeypatch)


def test_a_channel_whose_scale_cannot_be_is_named():
    for scale in (np.nan, np.inf, -0.1, 1e30):
        bad = _tensor(GOOD, CONV_WEIGHTS, quantization=_affine([0.1, 0.2, scale], [0] * 3))
        with pytest.raises(ModelError, match="layer conv1: the scale of channel 2"):
            validate(bad)


def test_all_that_stands_in_the_way_is_named_at_once(monkeypatch):
    data = tflite.encode(_small())
    with monkeypatch.context() as patch:
        for kind in (OperatorKind.CONV_2D, OperatorKind.SOFTMAX):
            patch.delitem(OPERATORS, kind)
        with pytest.raises(ModelError) as caught:
            tflite.decode(data, "small")
    assert str(caught.value) == (
        "layer conv1: CONV_2D is not supported; layer softmax1: SOFTMAX is not supported"
    )
    wrong = _tensor(
        _tensor(GOOD, CONV_OUT, dtype="int16"), GOOD.operators[4].outputs[0], dtype="int16"
    )
    with pytest.raises(ModelError) as caught:
        validate(wrong)
    advice = "is of type int16; only int8 runs: quantise the float network anew"
    assert str(caught.value) == (
        f"layers conv1 and softmax1: its output {advice}; layer max_pool1: its input {advice}"
    )


# What must be refused. A change is applied to a good graph, past validation, and then read.


def _tensor(graph: Graph, index: int, **changes) -> Graph:
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return replace(graph, tensors=tuple(tensors))


def _operator(graph: Graph, index: int, **changes) -> Graph:
    operators = list(graph.operators)
    operators[index] = replace(operators[index], **changes)
    return replace(graph, operators=tuple(operators))


def _options(graph: Graph, index: int, **changes) -> Graph:
    return _operator(graph, index, options=replace(graph.operators[index].options, **changes))


def _affine(scale, zero_point, axis=0) -> Quantization:
    return Quantization(np.array(scale, np.float32), np.array(zero_point, np.int64), axis)


GOOD = _small()
INPUT, CONV_WEIGHTS, CONV_BIAS, CONV_OUT = 0, 1, 2, 3
DENSE = GOOD.operators[3]

BAD_GRAPHS = {
    "float input": (_tensor(GOOD, INPUT, dtype="float32"), "conv1: its input is of type float32"),
    "float weights": (
        _tensor(GOOD, CONV_WEIGHTS, dtype="float32", data=np.zeros((3, 3, 3, 1), np.float32)),
        "conv1: weights of type float32; only int8",
    ),
    "uint8 output": (_tensor(GOOD, CONV_OUT, dtype="uint8"), "conv1: its output is of type uint8"),
    "float bias": (
        _tensor(GOOD, CONV_BIAS, dtype="float32", data=np.zeros(3, np.float32)),
        "conv1: bias of type float32",
    ),
    "no quantisation": (_tensor(GOOD, CONV_OUT, quantization=None), "conv1: its output needs one"),
    "no weight scale": (
        _tensor(GOOD, CONV_WEIGHTS, quantization=None),
        "conv1: weights without quantisation",
    ),
    "weights not constant": (_tensor(GOOD, CONV_WEIGHTS, data=None), "conv1: reads a tensor that"),
    "zero scale": (_tensor(GOOD, CONV_OUT, quantization=_affine([0], [0])), "positive finite"),
    "negative scale": (_tensor(GOOD, INPUT, quantization=_affine([-1], [0])), "positive finite"),
    "scale is NaN": (_tensor(GOOD, INPUT, quantization=_affine([np.nan], [0])), "positive finite"),
    "zero point": (_tensor(GOOD, INPUT, quantization=_affine([1], [128])), "outside -128 to 127"),
    "zero points": (
        _tensor(GOOD, INPUT, quantization=_affine([1], [0, 0])),
        "its input has 1 scale but 2 zero points",
    ),
    "weight zero point": (
        _tensor(GOOD, DENSE.inputs[1], quantization=_affine([1], [1])),
        "dense1: weights with a zero point other than 0",
    ),
    "scales that do not fit": (
        _tensor(GOOD, CONV_WEIGHTS, quantization=_affine([1, 1], [0, 0])),
        "conv1: 2 scales, along dimension 0",
    ),
    "axis beyond": (
        _tensor(GOOD, CONV_WEIGHTS, quantization=_affine([1, 1, 1], [0, 0, 0], 9)),
        "conv1: 3 scales, along dimension 9",
    ),
    "batch": (_tensor(GOOD, INPUT, shape=(2, 4, 4, 1)), "conv1: 2 pictures in, 1 out"),
    "input channels": (_tensor(GOOD, INPUT, shape=(1, 4, 4, 2)), "for 1 input channels on 2"),
    "picture without pixels": (_tensor(GOOD, INPUT, shape=(1, 0, 4, 1)), "no elements"),
    "huge picture": (_tensor(GOOD, INPUT, shape=(1, 1 << 20, 1 << 20, 1)), "are possible"),
    "output size": (_tensor(GOOD, CONV_OUT, shape=(1, 3, 3, 3)), "conv1: output of 3x3 pixels"),
    "output channels": (
        _tensor(GOOD, CONV_OUT, shape=(1, 2, 2, 4)),
        "conv1: 3 filters for 4 output channels",
    ),
    "window too large": (_tensor(GOOD, INPUT, shape=(1, 2, 2, 1)), "3x3 window does not fit"),
    "stride": (_options(GOOD, 0, stride_h=0), "conv1: stride of 0"),
    "dilation": (_options(GOOD, 0, dilation_w=0), "conv1: kernel of 0"),
    "huge pool": (
        _options(GOOD, 1, kernel_h=1 << 30, kernel_w=1 << 30, padding=Padding.SAME),
        "max_pool1: kernel of 1073741824",
    ),
    "pool without kernel": (_options(GOOD, 1, kernel_h=0), "max_pool1: kernel of"),
    "bias length": (
        _tensor(GOOD, CONV_BIAS, shape=(2,), data=np.zeros(2, np.int32), quantization=None),
        "bias of 2 entries for 3",
    ),
    "reshape": (_tensor(GOOD, DENSE.inputs[0], shape=(1, 4)), "reshape1: 1x1x1x3 does not hold"),
    "dense inputs": (
        _tensor(GOOD, DENSE.inputs[1], shape=(3, 4), data=np.zeros((3, 4), np.int8)),
        "dense1: weights for 4 inputs on 3",
    ),
    "softmax scale": (
        _tensor(GOOD, GOOD.outputs[0], quantization=_affine([0.5], [-128])),
        "softmax1: output must have scale 0.00390625",
    ),
    "softmax beta": (_options(GOOD, 4, beta=float("nan")), "softmax1: beta times scale is nan"),
    "two inputs": (replace(GOOD, inputs=(0, 3)), "conv1: its output is written twice"),
    "no output": (replace(GOOD, outputs=()), "no output"),
    "output is the input": (replace(GOOD, outputs=(0,)), "nothing writes the output"),
    "no layers": (replace(GOOD, operators=()), "no layers"),
    "wrong order": (replace(GOOD, operators=GOOD.operators[::-1]), "that nothing has written"),
    "index": (_operator(GOOD, 0, inputs=(99, 1, 2)), "tensor number 99 does not exist"),
    "negative index": (_operator(GOOD, 0, inputs=(-7, 1, 2)), "tensor number -7 does not exist"),
    "constant input": (_operator(GOOD, 1, inputs=(1,)), "max_pool1: its input is a constant"),
    "constant output": (_operator(GOOD, 1, outputs=(1,)), "max_pool1: its output is a constant"),
    "written twice": (_operator(GOOD, 1, outputs=(3,)), "max_pool1: its output is written twice"),
    "two layer outputs": (_operator(GOOD, 1, outputs=(3, 4)), "max_pool1: 2 outputs"),
    "no layer input": (_operator(GOOD, 1, inputs=()), "max_pool1: no input"),
}


@pytest.mark.parametrize("case", BAD_GRAPHS)
def test_bad_graphs_are_refused_in_one_line(case, tmp_path, monkeypatch):
    graph, reason = BAD_GRAPHS[case]
    with pytest.raises(ModelError, match=reason):
        validate(graph)
    with monkeypatch.context() as patch:
        patch.setattr(tflite_writer, "validate", lambda graph: None)
        data = tflite.encode(graph)
    path = tmp_path / "bad.tflite"
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        tflite.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty or truncated"),
        (b"TFL3", "is empty or truncated"),
        (b"just some text, no model", "is not a .tflite model"),
        (b"\x00" * 64, "is not a .tflite model"),
        (b"\xff\xff\xff\xffTFL3" + b"\xff" * 64, "is damaged or truncated"),
        (b"\x08\x00\x00\x00TFL3" + b"\x00" * 64, "has schema version 0"),
    ],
)
def test_rubbish_is_refused(content, reason, tmp_path):
    path = tmp_path / "rubbish.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        tflite.load(path)


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(ModelError, match=r"none\.tflite: No such file"):
        tflite.load(tmp_path / "none.tflite")
    with pytest.raises(ModelError, match="directory"):
        tflite.load(tmp_path)
    with pytest.raises(ModelError, match="No such file"):
        tflite.save(GOOD, tmp_path / "nowhere" / "a.tflite")


def test_unsupported_operator_is_named(monkeypatch):
    data = tflite.encode(_small())
    monkeypatch.delitem(OPERATORS, OperatorKind.CONV_2D)
    with pytest.raises(ModelError, match="layer conv1: CONV_2D is not supported"):
        tflite.decode(data, "small")


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_truncation_is_refused(name):
    data = zoo.path(name).read_bytes()
    cuts = {*range(0, len(data), max(1, len(data) // 150)), len(data) - 1}
    for cut in sorted(cuts):
        with pytest.raises(ModelError):
            tflite.decode(data[:cut], name)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_never_get_past_a_model_error(seed):
    rng = np.random.default_rng(seed)
    good = np.frombuffer(zoo.path("patterns").read_bytes(), np.uint8)
    survivors = 0
    for _ in range(300):
        data = good.copy()
        where = rng.integers(len(data), size=rng.integers(1, 6))
        data[where] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))], size=len(where))
        try:
            graph = tflite.decode(data.tobytes(), "damaged")
        except ModelError as error:
            assert "\n" not in str(error)
        else:
            # What is read must run, too, or say why it cannot.
            try:
                reference.predict(graph, np.zeros((1, *graph.input.shape[1:]), np.int8))
            except ModelError:
                pass
            survivors += 1
    assert survivors > 0


def test_wrong_pictures_are_refused():
    with pytest.raises(ModelError, match="small: takes int8 pictures of 4x4x1, not int8 of 5x5x1"):
        reference.predict(GOOD, np.zeros((1, 5, 5, 1), np.int8))
    with pytest.raises(ModelError, match="not uint8 of 4x4x1"):
        reference.predict(GOOD, np.zeros((1, 4, 4, 1), np.uint8))


def test_helpers_refuse_the_wrong_layer():
    conv, pool = GOOD.operators[:2]
    with pytest.raises(TypeError, match="'max_pool1' has no weights"):
        reference.requantization(GOOD, pool)
    with pytest.raises(TypeError, match="'dense1' slides no window"):
        reference.window(GOOD, DENSE)
    with pytest.raises(TypeError, match="'conv1' is no function of one byte"):
        reference.table(GOOD, conv)


def test_shared_data_models_round_trip():
    folder = Path(__file__).parents[4] / "shared" / "data" / "models"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here")
    for path in sorted(folder.glob("*.tflite")):
        graph = tflite.load(path)
        _same(graph, tflite.decode(tflite.encode(graph), graph.name))
