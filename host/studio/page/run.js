// Run: a model, something to show it, what it sees, what it says.

import { button, bytes, count, facts, make, seconds, segments, size, toast } from "/page/dom.js";
import { decode, drawPicture, planes } from "/page/pixels.js";
import { camera } from "/page/camera.js";
import { drawing } from "/page/drawing.js";
import { acceptDrops, pictures } from "/page/pictures.js";
import { samples } from "/page/samples.js";

export const title = "Run";

const BUNDLED = [["digits", "8×8 digits"], ["mnist", "28×28 digits"], ["patterns", "4×4 patterns"]];
const MOST_BARS = 12;

export function mount(root, connection, bench) {
  const strip = modelStrip(connection);
  const seen = seenCard();
  const said = answerCard(bench);
  const sources = {
    draw: drawing(connection),
    camera: camera(connection),
    picture: pictures(connection),
    test: samples(connection),
  };
  let source = "draw";
  let preferred = source;
  let shown = false;
  let choose = () => {};
  const holder = make("div");
  const choices = make("div");
  const input = make("section.card.needs-board", { "aria-label": "Input" }, make("div.card-head", {}, choices), holder);
  root.append(make("div.bench", {}, strip.card, input, seen.card, said.card));

  function pick(id) {
    if (shown && source !== id) sources[source].hide?.();
    source = id;
    holder.replaceChildren(sources[id].element);
    if (shown) sources[id].show?.();
  }

  function offer(model) {
    const takes = Boolean(model?.picture);
    const options = [];
    if (takes) options.push(["draw", "Draw"], ["camera", "Camera"]);
    options.push(["picture", takes ? "Picture" : "Array"]);
    if (model?.samples.length) options.push(["test", "Test set"]);
    const next = options.some(([id]) => id === preferred) ? preferred : options[0][0];
    const group = segments("Where pictures come from", options, next, (id) => pick((preferred = id)));
    choices.replaceChildren(group);
    choose = (id) => { group.select(id); pick(id); };
    for (const each of Object.values(sources)) each.model?.(model);
    pick(next);
  }

  connection.on("model", (model) => {
    strip.show(model);
    seen.clear(model);
    said.clear(model);
    offer(model);
  });
  connection.on("status", () => strip.show(connection.model));
  connection.on("answer", (answer) => {
    seen.show(answer);
    said.show(answer, connection.model);
    for (const each of Object.values(sources)) each.answer?.(answer);
  });
  acceptDrops(connection, () => shown, () => choose("picture"), sources.picture);
  offer(null);

  return {
    show() { shown = true; sources[source].show?.(); },
    hide() { shown = false; sources[source].hide?.(); },
    source(id) { preferred = id; choose(id); },
  };
}

/** What the model is, and others to choose. */
function modelStrip(connection) {
  const name = make("div.model-name");
  const about = make("p.faint");
  const list = make("dl.facts");
  const file = make("input", { type: "file", accept: ".tflite", hidden: true });
  const open = button("Open a .tflite …", () => file.click(), {}, ".small");
  file.addEventListener("change", () => { if (file.files[0]) sendModel(connection, file.files[0]); file.value = ""; });
  const save = make("a.button.small.plain", { download: "", href: "#", title: "The model as a .tflite file" }, "Save .tflite");
  const bundled = BUNDLED.map(([id, text]) =>
    button(id, () => connection.do("model", { name: id }), { title: text, "data-model": id }, ".small"));
  const chooser = make("div.chooser.needs-board", { role: "group", "aria-label": "Choose a model" }, bundled, open, file);
  const card = make("section.card.wide.model", { "aria-label": "Model" }, make("div", {}, name, about), list, make("div.chooser", {}, chooser, save));

  function show(model) {
    save.hidden = !model;
    for (const each of bundled) each.setAttribute("aria-pressed", String(model?.origin === "bundled" && model.name === each.dataset.model));
    if (!model) {
      name.textContent = "No model yet";
      about.textContent = connection.status.doing || "Choose one, or drop a .tflite file on the page.";
      list.replaceChildren();
      return;
    }
    const board = connection.status.board;
    name.textContent = model.name;
    save.href = connection.address("/api/model.tflite");
    save.download = `${model.name}.tflite`;
    about.textContent = `${size(model.input)} in, ${model.outputs.map(size).join(" and ")} out` + (model.labels.length ? `: ${model.labels.slice(0, 10).join(", ")}${model.labels.length > 10 ? " …" : ""}` : "");
    facts(list, [
      ["Parameters", count(model.parameters)],
      ["Multiplications", count(model.macs)],
      ["Cycles, predicted", count(model.cycles), `${Math.round(100 * model.utilisation)} % of ${model.multipliers} multipliers`],
      ["Time", seconds(model.microseconds), board ? `at ${board.clock_hz / 1e6} MHz` : ""],
      ["On the board", bytes(model.image_bytes), model.stream_bytes ? `and ${bytes(model.stream_bytes)} in flash` : `of ${bytes(model.board_memory_bytes)}`],
    ]);
  }
  return { card, show };
}

export async function sendModel(connection, file) {
  try {
    await connection.post(`/api/model?name=${encodeURIComponent(file.name)}`, file);
  } catch (error) {
    toast(error.message, { bad: true });
  }
}

/** The int8 picture, value by value. */
function seenCard() {
  const canvas = make("canvas", { role: "img", "aria-label": "The picture as the network sees it" });
  const readout = make("p.readout", {}, "");
  const head = make("span.faint");
  const holder = make("div.seen", {}, canvas);
  const card = make("section.card.seen-card", {}, make("div.card-head", {}, make("h2", {}, "What the network sees"), head), holder, readout);
  let values = null;
  let shape = [];

  canvas.addEventListener("pointermove", (event) => {
    if (!values) return;
    const box = canvas.getBoundingClientRect();
    const scale = Math.min(box.width / canvas.width, box.height / canvas.height);
    const x = Math.floor((event.clientX - box.left - (box.width - canvas.width * scale) / 2) / scale);
    const y = Math.floor((event.clientY - box.top - (box.height - canvas.height * scale) / 2) / scale);
    if (x < 0 || y < 0 || x >= canvas.width || y >= canvas.height) return;
    const channels = shape[2] ?? 1;
    const start = (y * canvas.width + x) * channels;
    readout.textContent = `row ${y}, column ${x}: ${[...values.subarray(start, start + channels)].join(", ")}`;
  });
  canvas.addEventListener("pointerleave", () => { if (values) readout.textContent = idle(); });
  const idle = () => "int8, −128 is black and 127 is white";

  return {
    card,
    clear(model) {
      values = null;
      canvas.width = canvas.height = 1;
      head.textContent = model ? size(model.input) : "";
      readout.textContent = model ? "Nothing yet" : "";
    },
    show(answer) {
      values = decode(answer.seen);
      shape = answer.shape;
      drawPicture(canvas, values, shape);
      if (shape.length !== 3 || (shape[2] !== 1 && shape[2] !== 3)) shape = planes(shape);
      head.textContent = size(answer.shape);
      if (!readout.matches(":hover")) readout.textContent = idle();
    },
  };
}

/** What the board said. */
function answerCard(bench) {
  const label = make("strong", { "data-testid": "label" });
  const score = make("span.score");
  const truth = make("span");
  const verdict = make("div.verdict", {}, label, score, truth);
  const list = make("dl.bars");
  const equal = make("span");
  const figures = make("dl.figures");
  const body = make("div", {}, verdict, list, figures);
  const empty = make("p.empty", {}, "Draw something, or show it a picture.");
  const card = make("section.card.answer", { "aria-label": "Answer" }, make("div.card-head", {}, make("h2", {}, "The board says"), equal), empty, body);
  let rows = [];
  let spoken = null;

  function bars(answer, model) {
    const names = answer.scores.map((_, index) => model?.labels[index] ?? String(index));
    let order = answer.scores.map((_, index) => index);
    if (order.length > MOST_BARS) order = order.sort((a, b) => answer.scores[b] - answer.scores[a]).slice(0, MOST_BARS);
    if (rows.length !== order.length) {
      rows = order.map(() => ({ name: make("dt"), fill: make("i"), value: make("dd.value") }));
      list.replaceChildren(...rows.flatMap((row) => {
        row.bar = make("dd", {}, make("div.bar", {}, row.fill));
        return [row.name, row.bar, row.value];
      }));
    }
    const least = Math.min(...answer.scores);
    const most = Math.max(...answer.scores);
    const shares = least >= 0 && most <= 1;
    order.forEach((index, place) => {
      const row = rows[place];
      const best = index === answer.class;
      const value = answer.scores[index];
      row.name.textContent = names[index];
      row.name.title = names[index];
      row.name.className = best ? "best" : "";
      row.bar.firstChild.className = best ? "bar best" : "bar";
      row.fill.style.width = `${100 * (shares ? value : (value - least) / (most - least || 1))}%`;
      row.value.textContent = shares ? `${(100 * value).toFixed(1)} %` : value.toFixed(2).replace("-", "−");
    });
    return shares ? `${(100 * answer.scores[answer.class]).toFixed(1)} %` : "";
  }

  return {
    card,
    clear(model) {
      body.hidden = true;
      empty.hidden = false;
      empty.textContent = model ? "Draw something, or show it a picture." : "";
      equal.className = "";
      equal.textContent = "";
      rows = [];
      spoken = null;
    },
    show(answer, model) {
      body.hidden = false;
      empty.hidden = true;
      label.textContent = answer.cells ? `${answer.cells.length} cell${answer.cells.length === 1 ? "" : "s"}` : answer.label;
      label.className = label.textContent.length > 10 ? "long" : "";
      list.hidden = Boolean(answer.cells);
      score.textContent = answer.cells
        ? answer.cells.slice(0, 5).map((cell) => `${cell.label} at ${cell.at.join(", ")}`).join("; ")
        : bars(answer, model);
      truth.className = answer.truth === null ? "" : answer.truth === answer.label ? "badge good" : "badge bad";
      truth.textContent = answer.truth === null ? "" : answer.truth === answer.label ? "right" : `it is ${answer.truth}`;
      equal.className = answer.equal ? "badge good" : "badge bad";
      equal.textContent = answer.equal ? "✓ equal to the reference, byte for byte" : "✗ differs from the reference";
      facts(figures, [
        ["Cycles", count(answer.cycles)],
        ["On the board", seconds(answer.microseconds)],
        ["Answers a second", answer.rate ? answer.rate.toFixed(answer.rate < 10 ? 1 : 0) : "–", answer.dropped ? `${count(answer.dropped)} dropped` : ""],
      ]);
      if (spoken !== label.textContent) {
        spoken = label.textContent;
        bench.say(`The board says ${spoken}`);
      }
    },
  };
}
