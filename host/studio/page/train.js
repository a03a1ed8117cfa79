// Train: choices, live curves, what came of it, and onto the board.

import { button, count, make, toast } from "/page/dom.js";
import { decode, drawPicture, variable } from "/page/pixels.js";

export function trainer(connection, bench) {
  const side = choice("Size", [["16", "16×16"], ["24", "24×24"], ["32", "32×32"], ["48", "48×48"]], "32");
  const channels = choice("Colours", [["auto", "as they are"], ["grey", "grey"], ["colour", "colour"]], "auto");
  const epochs = choice("Passes", [["", "as needed"], ["100", "100, quicker"], ["30", "30, a first try"]], "");
  const start = button("Train", begin, { "data-testid": "train" }, ".main");
  const cancel = button("Cancel", () => connection.post("/api/training", null, "DELETE").catch(say), { hidden: true }, "");
  const line = make("p.faint", { role: "status" });
  const bar = make("div.train-bar", {}, make("i"));
  const curves = make("canvas.curves", { role: "img", "aria-label": "Loss and accuracy, pass by pass" });
  const key = make("p.key");
  const result = make("div.result");
  const element = make("section.card.train.needs-board", { "aria-label": "Training" },
    make("div.card-head", {}, make("h2", {}, "Train a network on them"), make("span.faint", {}, "in NumPy, on this computer")),
    make("div.choices", {}, side.element, channels.element, epochs.element),
    make("div.row", {}, start, cancel, line), bar, curves, key, result);
  let state = { phase: "idle" };
  let ready = false;
  let shown = null;

  function choice(label, options, chosen) {
    const select = make("select", {}, options.map(([value, text]) => make("option", { value, selected: value === chosen }, text)));
    return { element: make("label", {}, label, select), select };
  }

  const say = (error) => toast(error.message, { bad: true });

  async function begin() {
    const wishes = new URLSearchParams({ side: side.select.value, channels: channels.select.value, epochs: epochs.select.value });
    try {
      await connection.post(`/api/training?${wishes}`);
    } catch (error) {
      say(error);
    }
  }

  const isBusy = () => ["starting", "loading", "training"].includes(state.phase);

  function draw() {
    const busy = isBusy();
    start.disabled = busy || !ready;
    start.textContent = state.phase === "done" && !busy ? "Train again" : "Train";
    cancel.hidden = !busy;
    bar.hidden = !busy;
    const share = state.phase === "training" && state.total ? state.done / state.total : 0;
    bar.firstChild.style.width = `${100 * share}%`;
    line.textContent = {
      idle: ready ? "" : "Two classes with at least two pictures each are needed.",
      starting: "Starting …",
      loading: `Reading pictures: ${count(state.done ?? 0)} of ${count(state.total ?? 0)}`,
      training: `Pass ${state.epoch} of ${state.of}`,
      cancelled: "Cancelled. All pictures are kept.",
      failed: state.line ?? "",
      done: "",
    }[state.phase] ?? "";
    line.className = state.phase === "failed" ? "bad-line" : "faint";
    const some = (state.epochs?.length ?? 0) > 0 && state.phase !== "idle";
    curves.hidden = key.hidden = !some;
    if (some) plot();
    if (state.phase !== "done") { result.replaceChildren(); shown = null; }
    else if (shown !== state.result) { shown = state.result; show(state.result); }
  }

  /** Loss to the left, accuracies to the right; a pass a step. */
  function plot() {
    const width = curves.clientWidth;
    if (!width) return;
    const height = 150;
    const ratio = devicePixelRatio || 1;
    curves.width = width * ratio;
    curves.height = height * ratio;
    const context = curves.getContext("2d");
    context.scale(ratio, ratio);
    const passes = state.epochs;
    const planned = Math.max(passes.length, state.of ?? 0, 2);
    const half = (width - 24) / 2;
    const most = Math.max(...passes.map((each) => each.loss), 1e-6);
    const chart = (left, caption, top, lines) => {
      context.strokeStyle = variable("--line");
      context.lineWidth = 1;
      for (const share of [0, 0.5, 1]) {
        const y = 22 + (height - 40) * (1 - share);
        context.beginPath(); context.moveTo(left + 34, y); context.lineTo(left + half, y); context.stroke();
        context.fillStyle = variable("--faint");
        context.font = `11px ${variable("--font")}`;
        context.textAlign = "right";
        context.fillText(top(share), left + 28, y + 4);
      }
      context.textAlign = "left";
      context.fillStyle = variable("--soft");
      context.fillText(caption, left + 34, 11);
      for (const [name, colour, dashes] of lines) {
        context.strokeStyle = variable(colour);
        context.setLineDash(dashes);
        context.lineWidth = 2;
        context.lineJoin = "round";
        context.beginPath();
        passes.forEach((each, index) => {
          const share = name === "loss" ? each.loss / most : each[name];
          const x = left + 34 + ((half - 34) * (index + (passes.length === 1 ? 1 : 0))) / (planned - 1 || 1);
          context.lineTo(x, 22 + (height - 40) * (1 - share));
        });
        context.stroke();
        context.setLineDash([]);
      }
      const tuned = passes.findIndex((each) => each.phase === "int8");
      if (tuned > 0) {
        const x = left + 34 + ((half - 34) * tuned) / (planned - 1 || 1);
        context.strokeStyle = variable("--faint");
        context.setLineDash([2, 3]);
        context.lineWidth = 1;
        context.beginPath(); context.moveTo(x, 18); context.lineTo(x, height - 18); context.stroke();
        context.setLineDash([]);
      }
    };
    chart(0, "loss", (share) => (share * most).toFixed(2), [["loss", "--accent", []]]);
    chart(half + 24, "right", (share) => `${100 * share} %`, [["accuracy", "--faint", [4, 3]], ["test", "--good", []]]);
    const last = passes.at(-1);
    key.replaceChildren(
      make("span.key-test", {}, `held out ${Math.round(100 * last.test)} %`), make("span.key-train", {}, `learned ${Math.round(100 * last.accuracy)} %`),
      make("span", {}, passes.some((each) => each.phase === "int8") ? "behind the dotted line: in int8" : ""));
  }

  function show(found) {
    const tests = found.test.reduce((a, b) => a + b, 0);
    const right = found.confusion.reduce((sum, row, index) => sum + row[index], 0);
    const save = make("a.button.small", { href: connection.address("/api/trained.tflite"), download: "taught.tflite" }, "Download the .tflite");
    const use = button("Run it on the board", onBoard, { "data-testid": "use" }, ".main");
    result.replaceChildren(
      make("div.verdict", {}, make("strong.long", { "data-testid": "accuracy" }, `${count(right)} of ${count(tests)} right`), make("span.score", {}, `held-out pictures, in int8; ${(100 * found.float_accuracy).toFixed(0)} % in floating point`)),
      make("div.row", {}, use, save),
      make("p.faint", {}, `${count(found.parameters)} parameters, ${count(found.macs)} multiplications; trained in ${found.seconds.toFixed(found.seconds < 10 ? 1 : 0)} s`),
      ...found.notes.map((note) => make("p.faint", {}, note)),
      matrix(found), ...wrong(found));
    bench.say(`Trained: ${right} of ${tests} held-out pictures right`);
  }

  async function onBoard() {
    try {
      await connection.post("/api/training/use");
      bench.go("run");
      bench.source("camera");
    } catch (error) {
      say(error);
    }
  }

  function matrix(found) {
    const most = Math.max(1, ...found.confusion.flat());
    const rows = found.confusion.map((row, truth) => make("tr", {}, make("th", { scope: "row" }, found.labels[truth]), row.map((amount, answer) => {
      const cell = make("td" + (truth === answer ? ".right" : amount ? ".wrong" : ""), { title: `${found.labels[truth]} taken for ${found.labels[answer]}: ${amount}` }, amount ? count(amount) : "·");
      cell.style.setProperty("--amount", String(amount / most));
      return cell;
    })));
    return make("div.matrix-holder", {}, make("table.matrix", {}, make("caption", {}, "Rows: what it is. Columns: what the network says."),
      make("thead", {}, make("tr", {}, make("td"), found.labels.map((label) => make("th", { scope: "col" }, label)))), make("tbody", {}, rows)));
  }

  function wrong(found) {
    if (!found.wrong.length) return [];
    return [make("h3", {}, "What it got wrong"), make("div.wrong-ones", {}, found.wrong.map((each) => {
      const canvas = make("canvas.pixels");
      drawPicture(canvas, decode(each.bytes), found.shape);
      return make("figure", {}, canvas, make("figcaption", {}, each.truth, make("span.faint", {}, ` taken for ${each.answer}`)));
    }))];
  }

  connection.on("training", (message) => { state = message; draw(); });
  new ResizeObserver(() => { if (!curves.hidden) plot(); }).observe(element);
  draw();
  return {
    element,
    show: draw,
    collected(collection) {
      ready = collection.classes.filter((each) => each.count >= 2).length >= 2 && collection.classes.every((each) => each.count >= 2);
      draw();
    },
  };
}
