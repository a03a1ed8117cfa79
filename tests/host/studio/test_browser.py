"""The page in a real browser, with the simulated board behind it."""

from __future__ import annotations

import base64
import json
import os
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from host.simulation.backends.toolchain import find_compiler
from model import zoo
from model.datasets import datasets
from model.int8 import reference, tflite_writer
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Padding
from tests.host.studio.bench import Bench, Cable, served
from tests.host.studio.browser import chromium, draw, launched, sync_playwright, video
from tests.host.studio.test_run import png_of

DATA = Path(__file__).parents[4] / "shared" / "data"

THREE = [
    [(0.3, 0.2), (0.5, 0.12), (0.68, 0.22), (0.66, 0.38), (0.48, 0.48), (0.68, 0.58), (0.72, 0.74)]
    + [(0.55, 0.88), (0.3, 0.82)]
]
ONE = [[(0.4, 0.25), (0.55, 0.12), (0.55, 0.88)]]
ZERO = [[(0.5 + 0.22 * np.sin(a), 0.5 - 0.36 * np.cos(a)) for a in np.linspace(0, 6.4, 20)]]
PATIENCE = 180_000


@pytest.fixture(scope="module")
def playwright():
    chromium()
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright):
    with launched(playwright) as browser:
        yield browser


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """The studio on the simulated board."""
    chromium()
    if find_compiler() is None:
        pytest.skip("there is no C++ compiler: the simulated board is too slow")
    folder = tmp_path_factory.mktemp("studio")
    with served(Bench("sim://icebreaker?memory=fresh", folder)) as serving:
        yield serving


@contextmanager
def opened(browser, serving, **options):
    """A page that asks nobody else for anything and whose scripts raise no errors."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    complaints, asked = [], []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    page.on("request", lambda request: asked.append(request.url))
    page.goto(serving.address)
    try:
        yield page
        expected = "Failed to load resource: the server responded with a status of 400"
        assert [line for line in complaints if not line.startswith(expected)] == []
        assert {re.match(r"\w+://[^/]+", url).group() for url in asked} == {
            f"http://127.0.0.1:{serving.port}"
        }
    finally:
        context.close()


def on_board(page, model):
    """Wait until a model is on the board, which is there."""
    page.locator(".model-name", has_text=re.compile(f"^{model}$")).wait_for()
    page.locator(".dot[data-phase=ready]").wait_for()


def said(page, label):
    page.locator("[data-testid=label]", has_text=re.compile(f"^{label}$")).wait_for()


def with_digits(page):
    """Wait for the board, and put the digits on it, whatever it had."""
    page.locator(".dot[data-phase=ready]").wait_for()
    page.get_by_role("button", name="digits", exact=True).click()
    on_board(page, "digits")


def test_a_drawn_digit_is_its_class(browser, studio):
    with opened(browser, studio) as page:
        with_digits(page)
        for label, strokes in (("3", THREE), ("1", ONE), ("0", ZERO)):
            draw(page, strokes)
            said(page, label)
            page.locator(".badge.good", has_text="equal to the reference").wait_for()
            page.locator("[data-testid=clear]").click()
        # By keyboard: the pen down, a line, and a picture of it.
        pad = page.locator("canvas.pad")
        pad.focus()
        for key in (*["ArrowUp"] * 11, " ", *["ArrowDown"] * 22, " "):
            page.keyboard.press(key)
        said(page, "1")
        # The test set: a click, then some of it played through.
        page.get_by_role("button", name="Test set").click()
        page.locator(".samples button").nth(3).click()
        page.locator(".verdict .badge").wait_for()
        page.locator("[data-testid=play]").click()
        page.locator("[data-testid=tally]", has_text=re.compile(r" of 1\d right")).wait_for()
        page.locator("[data-testid=play]").click()


def test_buttons_have_names_and_tabs_work_by_keyboard(browser, studio):
    with opened(browser, studio) as page:
        with_digits(page)
        page.locator("#tab-run").focus()
        for tab in ("inside", "teach", "run"):
            page.keyboard.press("ArrowRight")
            assert page.locator(f"#tab-{tab}").get_attribute("aria-selected") == "true"
            nameless = page.locator("button:visible, select:visible, input:visible").evaluate_all(
                """(found) => found.filter((each) => !(each.innerText || each.ariaLabel
                    || each.closest("label"))).map((each) => each.outerHTML)"""
            )
            assert nameless == []


@contextmanager
def answers_of(page):
    """The answers that a page is told, as they come."""
    found = []

    def listen(socket):
        def received(data):
            message = json.loads(data)
            if message["type"] == "answer":
                found.append(message)

        socket.on("framereceived", received)

    page.on("websocket", listen)
    page.reload()
    yield found


def test_each_picture_of_the_camera_is_answered(playwright, studio, tmp_path):
    """A camera that shows digits: in time, each is answered, and each answer is exact."""
    digits = datasets.load("digits")
    scores = reference.predict(zoo.load("digits"), datasets.to_int8(digits.x_test))
    chosen = {}
    for index in np.argsort(-scores.max(axis=1), kind="stable"):
        label = int(scores[index].argmax())
        if digits.y_test[index] == label and len(chosen) < 5:
            chosen.setdefault(label, digits.x_test[index])
    frames = [np.kron(pixels, np.ones((30, 30, 3), np.uint8)) for pixels in chosen.values()]
    film = video(tmp_path / "digits.y4m", frames, 2)
    with launched(playwright, film) as browser, opened(browser, studio) as page:
        with answers_of(page) as answers:
            with_digits(page)
            page.get_by_role("button", name="Camera").click()
            page.get_by_label("mirror", exact=True).first.uncheck()
            for _ in range(200):
                page.wait_for_timeout(100)
                labels = {each["label"] for each in answers if each["source"] == "camera"}
                if labels >= set(map(str, chosen)):
                    break
        assert labels >= set(map(str, chosen))
        assert all(each["equal"] for each in answers)
        seen = np.frombuffer(base64.b64decode(answers[-1]["seen"]), np.int8)
        assert seen.size == 64 and seen.std() > 20
        page.locator("[data-testid=frames]", has_text="pictures answered").wait_for()


def objects(kind, count=14):
    """Pictures of a thing that moves about."""
    rng = np.random.default_rng(len(kind))
    y, x = np.mgrid[:120, :160]
    frames = []
    for _ in range(count):
        frame = rng.integers(40, 56, (120, 160, 3)).astype(np.uint8)
        across, down = rng.integers(-12, 13, 2)
        if kind == "disc":
            frame[(x - 80 - across) ** 2 + (y - 60 - down) ** 2 < 900] = (230, 120, 60)
        else:
            frame[(abs(x - 80 - across) < 45) & (abs(y - 60 - down) < 10)] = (60, 140, 240)
        frames.append(frame)
    return frames


def hold(page, label, least):
    """Hold a class's button until so many pictures are there."""
    button = page.locator(f".hold[data-class={label}]")
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 15)
    page.mouse.down()
    page.locator(f'section[aria-label="Class {label}"] .thumb').nth(least - 1).wait_for()
    page.mouse.up()


def test_two_things_are_taught_from_the_camera(playwright, studio, tmp_path):
    """Collected, trained, on the board, and told apart there."""
    for kind in ("disc", "bar"):
        film = video(tmp_path / f"{kind}.y4m", objects(kind), 10)
        with launched(playwright, film) as browser, opened(browser, studio) as page:
            page.locator("#tab-teach").click()
            page.get_by_placeholder("Name of a class").fill(kind)
            page.keyboard.press("Enter")
            page.locator(".hold").first.wait_for()
            page.locator(".camera-card .hint").wait_for(state="hidden")
            hold(page, kind, 10)
            if kind == "disc":
                # What was collected is there when the page is opened again.
                page.reload()
                page.locator('section[aria-label="Class disc"] .thumb').nth(9).wait_for()
                continue
            page.get_by_label("Size").select_option("16")
            page.get_by_label("Passes").select_option("100")
            page.locator("[data-testid=train]").click()
            page.locator("[data-testid=accuracy]").wait_for()
            assert page.locator(".matrix tbody tr").count() == 2
            with answers_of(page) as answers:
                page.locator("[data-testid=use]").click()
                on_board(page, "taught")
                answers.clear()  # the model before it answered, too
                said(page, "bar")
                # The camera goes on, whatever was under way when the model changed.
                for _ in range(200):
                    if len(answers) > 2:
                        break
                    page.wait_for_timeout(50)
                assert len(answers) > 2
            assert {each["label"] for each in answers if each["source"] == "camera"} == {"bar"}
            page.get_by_role("button", name="Test set").click()
            page.locator("[data-testid=play]").click()
            page.locator("[data-testid=play]", has_text="Play").wait_for()
            right, _, count, _ = page.locator("[data-testid=tally]").inner_text().split()
            assert right == count
    film = tmp_path / "disc.y4m"
    with launched(playwright, film) as browser, opened(browser, studio) as page:
        on_board(page, "taught")
        page.get_by_role("button", name="Camera").click()
        said(page, "disc")


SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def number(text):
    return int(text.replace("−", "-").replace(",", "").replace("+", ""))


def added_up(made):
    """Compute a value anew from what the page shows of it; gives the byte that it shows."""
    shown = None
    if made.locator(".channels button").count() or made.locator(".grids").count():
        figures = made.locator(".grids figure")
        tables = [
            [number(text) for text in figures.nth(index).locator(".cell").all_inner_texts()]
            for index in range(figures.count() - 1)
        ]
        total = number(made.locator(".total").inner_text())
        if len(tables) == 3:
            values, weights, products = tables
            assert [a * b for a, b in zip(values, weights)] == products
            assert sum(products) == total
            parts = made.locator(".channels button").all()
            titles = [each.get_attribute("title") for each in parts] or [f"channel 0: {total}"]
            shown = sum(number(title.split(": ")[1]) for title in titles)
        elif made.get_attribute("data-how") == "sum":
            shown = sum(tables[0])
        else:
            shown = max(tables[0])
    elif made.locator(".sides").count():
        shown = 0
        for side in made.locator(".sides table").all():
            shown += steps(side, None)
    elif made.locator("table.terms").count():
        more = made.get_by_role("button", name=re.compile("Show all"))
        if more.count():
            more.click()
        rows = [row.split() for row in made.locator("table.terms tbody tr").all_inner_texts()]
        if all(len(row) > 4 for row in rows):
            for row in rows:
                centred, weight, product = map(number, row[-3:])
                assert centred * weight == product
        shown = sum(number(row[-1]) for row in rows)
    return steps(made.locator("[data-testid=calculation]"), shown)


def steps(table, x):
    """Follow a column of operations; each line must give what stands beside it."""
    for row in table.locator("tr").all():
        words, value = row.locator("th").inner_text(), number(row.locator("td").inner_text())
        words = words.translate(SUPERSCRIPTS)
        if match := re.match(r"([+−][\d,]+) (bias|zero point|for)", words):
            x += number(match[1])
        elif match := re.match(r"× ([\d,]+) / 231", words):
            x = (2 * x * number(match[1]) + (1 << 31)) >> 32
        elif match := re.match(r"× 2(\d+)$", words):
            x <<= int(match[1])
        elif match := re.match(r"/ 2(\d+), rounded", words):
            places = int(match[1])
            x = (abs(x) + (1 << places >> 1) >> places) * (1 if x >= 0 else -1)
        elif match := re.match(r"/ ([\d,]+) values", words):
            count = number(match[1])
            x = (2 * abs(x) + count) // (2 * count) * (1 if x >= 0 else -1)
        elif words.startswith("looked up"):
            x = value  # the table is drawn, and the board's byte is compared below
        elif match := re.match(r"clamped to (\S+) … (\S+)", words):
            x = sorted((number(match[1]), x, number(match[2])))[1]
        elif x is None:
            x = value  # where it begins
        else:
            assert re.match("sum|the greatest|the value|the byte|product", words), words
        assert x == value, words
    return x


def residual():
    """A small network with every kind of layer that the page takes apart in a way of its own."""
    rng = np.random.default_rng(2)

    def draws(*shape):
        return rng.integers(-127, 128, shape).astype(np.int8)

    def biases(count):
        return rng.integers(-3000, 3000, count)

    builder = GraphBuilder("residual", (12, 12, 3), 1 / 255, -128)
    to = {"scale": 0.05, "zero_point": -20}
    same = {"padding": Padding.SAME, **to}
    first = builder.conv_2d(draws(8, 3, 3, 3), 0.004, biases(8), **same)
    builder.conv_2d(draws(8, 3, 3, 8), 0.001, biases(8), **same)
    builder.add(first, activation=Activation.RELU, **to)
    builder.max_pool_2d((2, 2))
    builder.depthwise_conv_2d(draws(1, 3, 3, 8), 0.005, biases(8), **same)
    builder.logistic()
    builder.average_pool_2d((3, 3))
    builder.fully_connected(draws(10, 32), 0.003, biases(10), **to)
    return tflite_writer.encode(builder.build())


RESNET8 = DATA / "models" / "pretrainedResnet_quant.tflite"
KINDS = {
    "residual": ("CONV_2D", "ADD", "MAX_POOL_2D", "DEPTHWISE", "LOGISTIC", "AVERAGE", "FULLY"),
    RESNET8.stem: ("CONV_2D", "ADD", "AVERAGE_POOL_2D", "FULLY_CONNECTED"),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_numbers_add_up_to_the_boards_byte(browser, studio, tmp_path, name):
    """A value of each layer kind, computed anew from what the page shows."""
    file = tmp_path / f"{name}.tflite"
    if name == "residual":
        file.write_bytes(residual())
    elif not RESNET8.exists():
        pytest.skip("../shared/data is not here")
    elif not os.environ.get("EYESPOT_LONG"):
        pytest.skip("ResNet8 gate by gate takes a while: EYESPOT_LONG is not set")
    else:
        file = RESNET8
    rng = np.random.default_rng(1)
    picture = tmp_path / "x.png"
    Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(picture)
    with opened(browser, studio) as page:
        page.locator(".dot[data-phase=ready]").wait_for()
        page.locator(".chooser input[type=file]").set_input_files(file)
        on_board(page, name)
        page.get_by_role("button", name="Picture").click()
        page.locator('input[accept*="npy"]').set_input_files(picture)
        page.locator(".badge.good", has_text="equal to the reference").wait_for()
        page.locator("#tab-inside").click()
        page.locator("[data-testid=verdict].good").wait_for(timeout=4 * PATIENCE)
        found = {}
        for layer in page.locator(".layers button").all()[1:]:
            kind = layer.locator(".layer-op").inner_text().split(" · ")[0]
            if kind in found:
                continue
            layer.click()
            maps = page.locator("canvas.maps")
            box = maps.bounding_box()
            maps.click(position={"x": min(23, box["width"] - 3), "y": min(17, box["height"] - 3)})
            card = page.locator("[data-testid=explanation]")
            byte = card.locator("[data-testid=byte]").first
            byte.wait_for()
            made = card.locator(".made").all()
            found[kind] = [added_up(each) for each in made]
            assert found[kind][0] == int(byte.get_attribute("data-board"))
        every = " ".join(found).upper().replace(" ", "_")
        assert all(kind in every for kind in KINDS[name])


def test_a_click_leads_to_where_a_value_comes_from(browser, studio):
    with opened(browser, studio) as page:
        with_digits(page)
        draw(page, THREE)
        said(page, "3")
        page.locator("#tab-inside").click()
        page.locator("[data-testid=verdict].good").wait_for()
        page.locator(".layers button").nth(3).click()
        page.locator("canvas.maps").focus()
        for key in ("ArrowRight", "ArrowRight", "Enter"):
            page.keyboard.press(key)
        card = page.locator("[data-testid=explanation]")
        card.locator("h2", has_text=re.compile(r"How dense1 \[2\] became ")).wait_for()
        card.locator("table.terms button.cell").first.click()
        card.locator("h2", has_text=re.compile(r"How max_pool2 \[")).wait_for()
        card.get_by_role("button", name="← Back").click()
        card.locator("h2", has_text=re.compile(r"How dense1 \[2\]")).wait_for()


def test_what_is_broken_is_one_line(browser, studio, tmp_path):
    (tmp_path / "broken.tflite").write_bytes(zoo.path("digits").read_bytes()[:900])
    (tmp_path / "huge.png").write_bytes(png_of(10_000, 10_000))
    (tmp_path / "notes.txt").write_text("not a picture")
    with opened(browser, studio) as page:
        with_digits(page)
        page.locator(".chooser input[type=file]").set_input_files(tmp_path / "broken.tflite")
        page.locator(".toast.bad", has_text="broken.tflite: ").wait_for()
        page.get_by_role("button", name="Picture").click()
        pictures = page.locator('input[accept*="image"]').first
        pictures.set_input_files(tmp_path / "notes.txt")
        page.locator(".toast.bad", has_text="notes.txt: this is no picture").wait_for()
        pictures.set_input_files(tmp_path / "huge.png")
        page.locator(".toast.bad", has_text="the picture is too large: 100 megapixels").wait_for()
        for line in page.locator(".toast.bad > span").all_inner_texts():
            assert "\n" not in line
        page.get_by_role("button", name="Draw", exact=True).click()
        draw(page, THREE)
        said(page, "3")


def test_the_second_page_watches(browser, studio):
    with opened(browser, studio) as first:
        with_digits(first)
        with opened(browser, studio) as second:
            banner = second.locator("#banner", has_text="this one watches")
            banner.wait_for()
            draw(first, THREE)
            said(first, "3")
            said(second, "3")
            second.get_by_role("button", name="Take over").click()
            banner.wait_for(state="hidden")
            first.locator("#banner", has_text="this one watches").wait_for()
            draw(second, ONE)
            said(first, "1")
        first.locator("#banner").wait_for(state="hidden")


def test_a_board_is_unplugged_and_found_again(browser, tmp_path):
    chromium()
    cable = Cable()
    with served(Bench("fake", tmp_path, open_board=cable.open)) as serving:
        with opened(browser, serving) as page:
            on_board(page, "digits")
            cable.plugged = False
            page.locator("#banner.bad", has_text="Looking for it again").wait_for()
            page.locator(".dot[data-phase=lost]").wait_for()
            cable.plugged = True
            page.locator("#banner").wait_for(state="hidden")
            on_board(page, "digits")
            draw(page, THREE)
            said(page, "3")


def test_another_site_reaches_nothing(browser, studio):
    """Even with the token, a page of another origin is refused."""
    context = browser.new_context()
    page = context.new_page()
    page.goto("data:text/html,<title>foreign</title>")
    host = f"127.0.0.1:{studio.port}"
    tried = page.evaluate(
        """async ([host, token]) => {
            const socket = await new Promise((resolve) => {
                const socket = new WebSocket(`ws://${host}/ws?token=${token}`);
                socket.onopen = () => resolve("open");
                socket.onerror = () => resolve("refused");
            });
            const read = await fetch(`http://${host}/api/samples/digits?token=${token}`)
                .then(() => "read", () => "refused");
            const written = await fetch(`http://${host}/api/model?token=${token}`,
                { method: "POST", body: "x", mode: "no-cors" }).then(() => "sent", () => "refused");
            return [socket, read, written];
        }""",
        [host, studio.token],
    )
    assert tried == ["refused"] * 3
    context.close()
