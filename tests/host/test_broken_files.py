"""Every verb, fed with broken files of each format that it reads: it works, or says one line.

A few of each format here; EYESPOT_FUZZ=N takes N of each.
"""

from __future__ import annotations

import io
import os
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from host import cli
from model import zoo
from tests.host.fake_board import FakePort
from tests.model.int8.test_tflite_fuzz import mutate

COUNT = int(os.environ.get("EYESPOT_FUZZ", "6"))

#: Pillow's name of a format, its mode, and options.
_SAVED = {
    "png": ("PNG", "RGBA", {}),
    "png-palette": ("PNG", "P", {}),
    "png-16": ("PNG", "I;16", {}),
    "jpg": ("JPEG", "RGB", {}),
    "jpg-progressive": ("JPEG", "L", {"progressive": True}),
    "mpo": ("MPO", "RGB", {}),
    "gif": ("GIF", "P", {}),
    "bmp": ("BMP", "RGB", {}),
    "dib": ("DIB", "RGB", {}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff-lzw": ("TIFF", "L", {"compression": "tiff_lzw"}),
    "tiff-packbits": ("TIFF", "1", {"compression": "packbits"}),
    "tiff-deflate": ("TIFF", "I;16", {"compression": "tiff_adobe_deflate"}),
    "tiff-float": ("TIFF", "F", {}),
    "webp": ("WEBP", "RGBA", {}),
    "jp2": ("JPEG2000", "RGB", {}),
    "avif": ("AVIF", "RGB", {}),
    "ppm": ("PPM", "RGB", {}),
    "pbm": ("PPM", "1", {}),
    "tga": ("TGA", "RGBA", {"compression": "tga_rle"}),
    "ico": ("ICO", "RGBA", {}),
    "icns": ("ICNS", "RGBA", {}),
    "pcx": ("PCX", "P", {}),
    "dds": ("DDS", "RGBA", {}),
    "dds-bc3": ("DDS", "RGBA", {"pixel_format": "DXT5"}),
    "sgi": ("SGI", "RGB", {}),
    "msp": ("MSP", "1", {}),
    "spider": ("SPIDER", "F", {}),
    "xbm": ("XBM", "1", {}),
    "blp": ("BLP", "P", {}),
    "qoi": ("QOI", "RGB", {}),
}
#: Formats that Pillow reads and does not write, by hand.
_WRITTEN = {
    "dds-unknown": b"DDS "
    + struct.pack("<7I", 124, 0x1007, 8, 8, 32, 0, 1)
    + bytes(44)
    + struct.pack("<8I", 32, 4, 0x30315844, 0, 0, 0, 0, 0)
    + bytes(20)
    + struct.pack("<5I", 132, 3, 0, 1, 0)
    + bytes(64),
    "fits": b"".join(
        line.ljust(80).encode()
        for line in (
            "SIMPLE  =                    T",
            "BITPIX  =                    8",
            "NAXIS   =                    2",
            "NAXIS1  =                    8",
            "NAXIS2  =                    8",
            "END",
        )
    ).ljust(2880)
    + bytes(2880),
    "psd": b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 8, 8, 8, 3) + bytes(12) + bytes(2 + 192),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n",
    "xpm": b'/* XPM */\nstatic char *a[] = {\n"2 1 1 1",\n"a c #0000ff",\n"aa"\n};\n',
}


def _picture(mode: str) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (16, 16, 4)).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(values[:, :, 0].astype(np.uint16) * 200)
    return Image.fromarray(values).convert("RGB").convert(mode)


def _pictures() -> dict[str, bytes]:
    found = dict(_WRITTEN)
    Image.init()
    for name, (pillow, mode, options) in _SAVED.items():
        if pillow in Image.SAVE and pillow in Image.OPEN:
            stream = io.BytesIO()
            _picture(mode).save(stream, pillow, **options)
            found[name] = stream.getvalue()
    return found


PICTURES = _pictures()


def broken(data: bytes, seed: str) -> Iterator[bytes]:
    """The file itself, cut off, and changed."""
    generator = random.Random(seed)
    yield data
    yield data[: len(data) // 2]
    for _ in range(COUNT):
        yield mutate(data, generator) if len(data) > 8 else data


def broken_archive(arrays: dict[str, np.ndarray], seed: str) -> Iterator[bytes]:
    """An archive that is broken, and sound ones of broken arrays: their checksums are right."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    yield from broken(stream.getvalue(), seed)
    generator = random.Random(seed)
    for _ in range(COUNT):
        stream = io.BytesIO()
        changed = generator.choice(list(arrays))
        with zipfile.ZipFile(stream, "w") as archive:
            for name, array in arrays.items():
                content = io.BytesIO()
                np.save(content, array)
                data = content.getvalue()
                archive.writestr(
                    f"{name}.npy", mutate(data, generator) if name == changed else data
                )
        yield stream.getvalue()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., bool]:
    """A command line that works, or fails with one line; whether it worked."""

    def run(*words: object) -> bool:
        status = cli.main([str(word) for word in words])
        err = capfd.readouterr().err
        lines = [line for line in err.splitlines() if line.startswith("host: ")]
        assert status in (0, 1), err
        assert len(lines) == status and "fault in Eyespot" not in err and "Traceback" not in err
        return status == 0

    return run


@pytest.fixture
def board(connect, fake_board, run):
    connect(FakePort(fake_board))
    run("upload-weights", "patterns", "--port", "p")
    return fake_board


def test_there_are_at_least_25_formats_of_pictures():
    assert len(PICTURES) >= 25


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("suffix", [".png", ""])
def test_classify_reads_any_picture_or_says_why_not(kind, suffix, run, board, tmp_path):
    path = tmp_path / f"picture{suffix or '.' + kind.partition('-')[0]}"
    for data in broken(PICTURES[kind], kind + suffix):
        path.write_bytes(data)
        run("classify", path, "--port", "p")
    assert board.runs or kind in ("dds-unknown", "eps", "fits", "psd", "tiff-float", "spider")


@pytest.mark.parametrize("kind", PICTURES)
def test_train_reads_any_picture_or_says_why_not(kind, run, tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURES["png"])
    changed = tmp_path / "data" / "a" / "1.png"
    for data in broken(PICTURES[kind], kind):
        changed.write_bytes(data)
        # What can be read is refused a little later, for class b has one picture.
        assert not run("train", tmp_path / "data", "-o", tmp_path / "f.tflite")
    assert not (tmp_path / "f.tflite").exists()


def test_trace(run, board, tmp_path):
    for kind in ("png", "tiff-lzw", "dds-unknown"):
        path = tmp_path / kind
        for data in broken(PICTURES[kind], kind):
            path.write_bytes(data)
            run("trace", "patterns", path, "--port", "p", "-o", tmp_path / "out")
    path = tmp_path / "input.npy"
    stream = io.BytesIO()
    np.save(stream, np.arange(16, dtype=np.uint8))
    worked = []
    for data in broken(stream.getvalue(), "npy"):
        path.write_bytes(data)
        worked.append(run("trace", "patterns", path, "--port", "p", "-o", tmp_path / "out"))
    assert worked[0] and not worked[1]


def _arrays() -> dict[str, np.ndarray]:
    x = np.random.default_rng(2).integers(0, 256, (6, 4, 4)).astype(np.uint8)
    return {"x": x, "y": np.arange(6) % 2, "labels": np.array(["cat", "dog"])}


def test_npz(run, board, tmp_path):
    path, output = tmp_path / "data.npz", tmp_path / "f.tflite"
    for data in broken_archive(_arrays(), "verify"):
        path.write_bytes(data)
        run("verify", "patterns", "--port", "p", "--data", path)
    for data in broken_archive(_arrays(), "train"):
        path.write_bytes(data)
        run("train", path, "-o", output, "--epochs", 1)


def test_own_copy_of_mnist(run, tmp_path, monkeypatch):
    monkeypatch.setenv("EYESPOT_MNIST", str(tmp_path / "mnist.npz"))
    arrays = _arrays()
    arrays = {"x_train": arrays["x"], "y_train": arrays["y"]}
    for data in broken_archive({**arrays, "x_test": arrays["x_train"]}, "mnist"):
        (tmp_path / "mnist.npz").write_bytes(data)
        assert not run("train", "mnist", "-o", tmp_path / "f.tflite")


def test_checkpoints(run, tmp_path):
    path, data, output = tmp_path / "c.npz", tmp_path / "data.npz", tmp_path / "f.tflite"
    np.savez(data, **_arrays())
    words = ("train", data, "-o", output, "--epochs", 1, "--checkpoint", path)
    assert run(*words)
    with np.load(path) as archive:
        arrays = dict(archive)
    for content in broken_archive(arrays, "checkpoint"):
        path.write_bytes(content)
        run(*words, "--resume")


@pytest.mark.parametrize("verb", ["compile", "upload-weights", "verify", "trace", "bench"])
def test_models(verb, run, board, tmp_path):
    path = tmp_path / "model.tflite"
    picture = tmp_path / "picture.png"
    picture.write_bytes(PICTURES["png"])
    words: dict[str, tuple[object, ...]] = {
        "compile": (path, "--board", "icebreaker"),
        "upload-weights": (path, "--port", "p"),
        "verify": (path, "--port", "p", "--data", "patterns", "--count", 1, "--layers"),
        "trace": (path, picture, "--port", "p", "-o", tmp_path / "out"),
        "bench": ("--model", path, "--port", "p", "--count", 1),
    }
    for data in broken(zoo.path("patterns").read_bytes(), verb):
        path.write_bytes(data)
        run(verb, *words[verb])


def test_float_models(run, tmp_path):
    pytest.importorskip("onnx")
    path, data = tmp_path / "model.onnx", tmp_path / "data.npz"
    x = np.random.default_rng(3).integers(0, 256, (6, 8, 8, 1)).astype(np.uint8)
    np.savez(data, x=x, y=np.arange(6))
    model = Path(__file__).parents[1] / "model" / "importing" / "data" / "digits.onnx"
    for content in broken(model.read_bytes(), "onnx"):
        path.write_bytes(content)
        run("import", path, "--data", data, "-o", tmp_path / "f.tflite")
    path.write_bytes(model.read_bytes())
    for content in broken_archive({"x": x, "y": np.arange(6)}, "import"):
        data.write_bytes(content)
        run("import", path, "--data", data, "-o", tmp_path / "f.tflite")


FOREIGN = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n",
    "an HTML page": b"\n<!DOCTYPE html>\n<html><head><title>Not found</title></head></html>",
    "a HEIC picture": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    "an SVG drawing": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "a video": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(50),
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "a text file ('404: Not Found')": b"404: Not Found",
    "C source": b"#include <stdint.h>\nconst unsigned char g_model[] = {\n  0x1c, 0x00,",
    "an archive": b"\x1f\x8b\x08\0" + bytes(20),
    "HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "an ONNX model": b"\x08\x08\x12\x07pytorch\x1a\x052.3.0:" + bytes(40),
    "a PyTorch file": b"PK\x03\x04" + bytes(26) + b"net/data.pkl" + bytes(40),
    "nothing but zeros": bytes(500),
    "empty": b"",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_files_are_called_what_they_are(kind, host, connect, tmp_path):
    connect(FakePort(None))  # it must not get as far as that
    path: Path = tmp_path / "file"
    path.write_bytes(FOREIGN[kind])
    assert kind in host("classify", path, "--port", "p", fails=1)
    named = path.rename(tmp_path / "file.npz")
    assert kind in host("train", named, "-o", tmp_path / "f.tflite", fails=1)
    named = named.rename(tmp_path / "file.tflite")
    assert kind in host("compile", named, "--board", "icebreaker", fails=1)


def test_pillow_may_raise_anything(host, connect, tmp_path, monkeypatch):
    """A plugin's exception of a kind that nobody has thought of."""

    class Strange(Exception):
        pass

    def decode(*arguments):
        raise Strange("flux capacitor")

    path = tmp_path / "picture.png"
    path.write_bytes(PICTURES["png"])
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    connect(FakePort(None))
    message = host("classify", path, "--port", "p", fails=1)
    assert "picture.png: the picture is damaged" in message and "flux capacitor" in message
