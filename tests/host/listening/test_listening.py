"""From sound to detections: as TFLM on the same features, on a simulated board."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards import catalog
from host.board import Board
from host.cli import main
from host.cli.info import model_text
from host.compiler import compile
from host.listening import Listener, Parameters, read_parameters
from host.listening.features import SAMPLE_HZ, as_int8, feature_rows
from host.listening.listener import rows_of
from host.listening.parameters import model_of
from host.listening.sound import from_file, from_microphone, resampled
from host.simulation.backends.toolchain import find_compiler
from model.errors import DataError
from model.int8 import reference, tflite
from model.plots import listening as plots
from tests.host.board.stateful_board import CARD, stateful_board
from tests.host.fake_board import FakePort
from tests.model.int8 import oracle
from tests.model.int8.stateful import keyword

WILD = Path(__file__).parents[4] / "shared" / "data" / "wild"
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
PARAMETERS = Parameters(word="hello", cutoff=0.3, window=3)


def _write(path: Path, samples: np.ndarray, rate: int = SAMPLE_HZ, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def _sound(seconds: float = 2.0) -> np.ndarray:
    """Tones and noise that come and go."""
    time = np.arange(round(seconds * SAMPLE_HZ)) / SAMPLE_HZ
    tone = np.sin(2 * np.pi * (300 + 900 * (time * 3 % 1)) * time) * (time * 2 % 1 < 0.6)
    noise = np.random.default_rng(1).normal(0, 0.02, len(time))
    return np.clip((0.5 * tone + noise) * 20_000, -32768, 32767).astype("<i2")


def _network():
    pytest.importorskip("pymicro_features", reason="pymicro-features is not installed")
    return keyword(3, channels=40)


def _tflm(data: bytes):
    running = oracle.interpreter(data)

    def run(x: np.ndarray) -> np.ndarray:
        running.set_input(x[np.newaxis], 0)
        running.invoke()
        return np.array(running.get_output(0))

    return run


def _card(graph):
    return compile(graph, catalog.board("icebreaker").configuration).card


@needs_compiler
def test_a_board_hears_what_tflm_hears(tmp_path):
    graph = _network()
    path = _write(tmp_path / "sound.wav", _sound())
    listener = Listener(_tflm(tflite.encode(graph)), _card(graph), PARAMETERS)
    steps = list(listener.steps(from_file(path)))
    expected = [step.event for step in steps if step.event]
    assert expected and len({float(step.scores[0]) for step in steps}) > 10
    with Board.open("sim://icebreaker?memory=fresh") as board:
        board.load(graph)
        assert list(board.listen(path, PARAMETERS)) == expected
        # From the first run on, whatever was heard before.
        assert next(board.listen([_sound()], PARAMETERS)) == expected[0]


@needs_compiler
@pytest.mark.skipif(not WILD.is_dir(), reason="../shared/data is not here")
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_a_spoken_word(tmp_path):
    pytest.importorskip("pymicro_features", reason="pymicro-features is not installed")
    spoken = tmp_path / "spoken.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", spoken, "alexa"], check=True)
    blocks = [np.zeros(19_200, np.int16), *from_file(spoken), np.zeros(4_800, np.int16)]
    path = WILD / "esphome-alexa_2.tflite"
    graph = tflite.load(path)
    parameters = Parameters(word="Alexa", cutoff=0.9, window=5)
    tflm = Listener(_tflm(path.read_bytes()), _card(graph), parameters)
    expected = list(tflm.steps(blocks))
    events = [step.event for step in expected if step.event]
    assert [event.label for event in events] == ["Alexa"]
    with Board.open("sim://icebreaker?memory=fresh") as board:
        board.load(graph)
        assert list(board.listen(blocks, parameters)) == events


@needs_compiler
def test_the_command_tells_each_detection(tmp_path, capsys):
    graph = _network()
    model, sound = tmp_path / "word.tflite", _write(tmp_path / "sound.wav", _sound(1.5))
    tflite.save(graph, model)
    micro = {"probability_cutoff": 0.3, "sliding_window_size": 3, "feature_step_size": 10}
    beside = {"wake_word": "hello", "model": "word.tflite", "micro": micro}
    model.with_suffix(".json").write_text(json.dumps(beside))
    run = Listener(_tflm(tflite.encode(graph)), _card(graph), PARAMETERS)
    expected = list(run.events(from_file(sound)))
    picture = tmp_path / "heard.png"
    arguments = ["listen", "--port", "sim://icebreaker?memory=fresh", "--wav", str(sound)]
    arguments += ["--model", str(model.with_suffix(".json")), "--plot", str(picture), "--json"]
    assert main(arguments) == 0
    *lines, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["time"] for line in lines] == [event.time for event in expected]
    assert {line["label"] for line in lines} == {"hello"}
    assert last["events"] == lines and last["runs"] == 49
    assert 0 < last["engine_share"] < 0.05 and last["cutoff"] == 0.3
    assert picture.stat().st_size > 5000


def test_rows_are_those_of_the_package():
    frontend = pytest.importorskip("pymicro_features", reason="not installed").MicroFrontend()
    sound = _sound(0.5)
    blocks = np.split(sound, [7, 500, 501, 4000])
    rows = list(feature_rows(blocks, 10))
    wanted = []
    for start in range(0, len(sound), 160):
        made = frontend.process_samples(sound[start : start + 160].tobytes())
        wanted += [as_int8(made.features)] if made.features else []
    assert np.array_equal(rows, wanted) and len(rows) == 48
    assert np.array_equal(list(feature_rows(blocks, 20)), rows[1::2])
    # The range of int8 is 26 units, rounded as the makers' code does.
    assert as_int8([0.0, 13.0, 26.0, 30.0]).tolist() == [-128, 0, 127, 127]


def test_a_network_without_state_looks_back():
    """It gets the last rows, and runs as often as is useful."""
    pytest.importorskip("pymicro_features", reason="pymicro-features is not installed")
    builder_card = replace(_card(keyword(channels=40)), variables=(), ticket=None)
    seen = []

    def run(x):
        seen.append(x)
        return np.zeros(1, np.uint8)

    steps = list(Listener(run, builder_card, Parameters()).steps([_sound(1.0)]))
    assert len(steps) == len(seen) == 9
    rows = np.array(list(feature_rows([_sound(1.0)], 10)))
    assert np.array_equal(seen[0].reshape(3, 40), rows[7:10])
    assert np.array_equal(np.concatenate([step.rows for step in steps]), rows[:90])


def test_a_second_passes_between_detections():
    pytest.importorskip("pymicro_features", reason="pymicro-features is not installed")
    card = _card(keyword(channels=40))
    listener = Listener(lambda x: np.full(1, 255, np.uint8), card, Parameters(window=2))
    events = list(listener.events([_sound(3.5)]))
    assert [event.time for event in events] == [1.02, 2.04, 3.06]
    assert {event.score for event in events} == {1.0} and {e.label for e in events} == {"keyword"}


def test_classes_that_are_no_words():
    card = _card(keyword(channels=40))
    four = replace(card.output, shape=(4,), steps=())
    card = replace(card, outputs=(four,), labels=("_silence_", "unknown", "yes", "no"))
    listener = Listener(lambda x: x, card, Parameters())
    assert listener._event(2.0, np.array([0.9, 0.0, 0.0, 0.0])) is None
    event = listener._event(2.0, np.array([0.1, 0.0, 0.8, 0.0]))
    assert event is not None and (event.label, event.score) == ("yes", 0.8)
    assert listener._scores(np.array([-128, 127], np.int8)).tolist() == [0, 1]
    assert listener._scores(np.array([0.25], np.float32)).tolist() == [0.25]


@pytest.mark.parametrize(("rate", "width"), [(8000, 1), (22_050, 2), (44_100, 3), (48_000, 4)])
def test_files_of_any_rate(tmp_path, rate, width):
    time = np.arange(rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    if width == 1:
        samples = np.rint(tone * 127 + 128).astype(np.uint8)
    else:
        whole = np.rint(tone * (2 ** (8 * width - 1) - 1)).astype("<i4")
        samples = whole.view(np.uint8).reshape(-1, 4)[:, :width].copy()
    heard = np.concatenate(list(from_file(_write(tmp_path / "tone.wav", samples, rate, width))))
    assert abs(len(heard) - SAMPLE_HZ) <= 1
    wanted = 0.5 * 32767 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / SAMPLE_HZ)
    middle = slice(200, -200)
    assert np.abs(heard[middle] - wanted[middle]).max() < 400
    # What is too high for the new rate is gone.
    if rate > 32_000:
        high = resampled(np.sin(2 * np.pi * 12_000 * time), rate)
        assert np.abs(high[middle]).max() < 0.02


def test_what_cannot_be_heard_is_refused(tmp_path, capsys):
    path = tmp_path / "no.wav"
    path.write_bytes(b"not a file of sound")
    with pytest.raises(DataError, match="is no WAV file"):
        list(from_file(path))
    with pytest.raises(DataError, match="No such file"):
        list(from_file(tmp_path / "missing.wav"))
    with pytest.raises(DataError, match=r"stateful: takes int8 of 4, and listening is for"):
        rows_of(CARD)
    with Board.open(FakePort(stateful_board())) as board:
        with pytest.raises(DataError, match="listening is for networks"):
            next(board.listen([np.zeros(800, np.int16)]))
    assert main(["listen", "--port", "sim"]) == 2
    assert "one of the arguments --wav --microphone is required" in capsys.readouterr().err


def test_the_json_beside_a_model(tmp_path):
    model = tmp_path / "word.tflite"
    assert read_parameters(str(model), 3) == Parameters()
    assert read_parameters(str(model), 1).step_ms == read_parameters(str(model), 49).step_ms == 20
    file = tmp_path / "word.json"
    first = {"wake_word": "Alexa", "model": "./word.tflite", "version": 1}
    micro = {"probability_cutoff": 0.66, "sliding_window_average_size": 10}
    file.write_text(json.dumps({**first, "micro": micro}))
    assert read_parameters(str(model), 1) == Parameters("Alexa", 0.66, 10, 20)
    assert model_of(str(file)) == str(model) and model_of("digits") == "digits"
    for text, why in (
        ("{", "is no JSON"),
        ("[]", "is no object"),
        ('{"micro": 3}', "`micro` is no object"),
        ('{"micro": {"probability_cutoff": 2}}', "cutoff must be between"),
        ('{"micro": {"probability_cutoff": []}}', "word.json: float"),
        ('{"micro": {"sliding_window_size": 0}}', "window must have"),
        ('{"micro": {"feature_step_size": 15}}', "step must be"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=why):
            read_parameters(str(model), 3)
    file.write_text("{}")
    with pytest.raises(DataError, match="does not name its `model`"):
        model_of(str(file))
    with pytest.raises(DataError, match="No such file"):
        model_of(str(tmp_path / "other.json"))


def test_a_picture_of_nothing(tmp_path):
    plots.plot(tmp_path / "none.png", np.zeros(0), np.zeros((0, 40), np.int8), {}, [], 0.5)
    assert (tmp_path / "none.png").stat().st_size > 1000


def test_what_is_said_of_a_model_with_state(tmp_path, capsys):
    card = _card(keyword(channels=40))
    assert model_text(card) == "keyword, 3x1x40 to 1, 134 bytes of state"
    tflite.save(keyword(channels=40), tmp_path / "keyword.tflite")
    assert main(["compile", str(tmp_path / "keyword.tflite"), "--board", "icebreaker"]) == 0
    assert "It keeps 134 bytes of state from run to run." in capsys.readouterr().out
    verify = ["verify", str(tmp_path / "keyword.tflite"), "--port", "sim", "--data", "digits"]
    for several in (["--jobs", "2"], ["--scheduler", "tcp://a:1"], ["--port", "a,b"]):
        assert main([*verify, *several]) == 1
        assert "keeps state from run to run, so --jobs must be 1" in capsys.readouterr().err
    assert main(verify) == 1
    assert "digits: pictures of 8x8x1" in capsys.readouterr().err


def test_reference_and_board_score_alike():
    graph = _network()
    rows = np.array(list(feature_rows([_sound(0.6)], 10)))
    x = rows[: len(rows) // 3 * 3].reshape(-1, 3, 1, 40)
    session = reference.Session(graph)
    listener = Listener(
        lambda x: session.run(x[np.newaxis])[graph.outputs[0]], _card(graph), PARAMETERS
    )
    scores = [float(step.scores[0]) for step in listener.steps([_sound(0.6)])]
    wanted = (reference.predict(graph, x).astype(float).ravel() + 128) / 255
    assert np.allclose(scores, wanted)


class _Device:
    """What `sounddevice` gives, with three pieces of sound at once."""

    class PortAudioError(Exception):
        pass

    fails = False

    class InputStream:
        def __init__(self, *, samplerate, channels, dtype, blocksize, device, callback):
            assert (samplerate, channels, dtype, device) == (16_000, 1, "int16", "mic")
            if _Device.fails:
                raise _Device.PortAudioError("Invalid device")
            self.callback, self.size = callback, blocksize

        def __enter__(self):
            for number in range(3):
                block = np.full((self.size, 1), number, np.int16)
                self.callback(block, self.size, None, None)

        def __exit__(self, *error):
            return None


def test_a_microphone(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", _Device)
    heard = from_microphone("mic")
    assert [int(next(heard)[0]) for _ in range(3)] == [0, 1, 2]
    heard.close()
    monkeypatch.setattr(_Device, "fails", True)
    with pytest.raises(DataError, match="the microphone cannot be used: Invalid device"):
        next(from_microphone("mic"))
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(DataError, match="a microphone needs PortAudio and a package more"):
        next(from_microphone())
    monkeypatch.setitem(sys.modules, "pymicro_features", None)
    with pytest.raises(DataError, match="features need a package more"):
        next(feature_rows([], 10))
