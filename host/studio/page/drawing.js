// The pen: strokes as lines, so that they can be fitted to the frame and drawn again.

import { button, make } from "/page/dom.js";

const SIDE = 320;

/** A pad; `live` ones are answered as one draws. */
export function drawing(connection, { live = true } = {}) {
  const canvas = make("canvas.pad", { width: SIDE, height: SIDE, tabIndex: 0, role: "img", "aria-label": "Drawing: draw with mouse, pen or finger; with the keyboard, arrow keys move the pen, space lowers and lifts it" });
  const sent = make("canvas");
  const hint = make("div.hint", {}, make("span", {}, "Draw here"));
  const width = make("input", { type: "range", min: "4", max: "70", value: "38", "aria-label": "Width of the pen" });
  const fit = make("input", { type: "checkbox" });
  const fitLabel = make("label", { title: "Move and scale what was drawn to the middle, as the training pictures are" }, fit, "fit to the frame");
  const element = make("div", {},
    make("div.pad-holder", {}, canvas, hint),
    make("div.tools", {}, make("label", {}, "Pen", width), fitLabel, button("Clear", () => clear(), { "data-testid": "clear" }, ".small.push")));
  let strokes = [];
  let stroke = null;
  let busy = false;
  let stale = false;
  let margin = 0;
  let pen = { x: SIDE / 2, y: SIDE / 2, down: false };

  /** Lines of strokes, each moved and scaled. */
  function trace(context, side, move) {
    context.fillStyle = "#000";
    context.fillRect(0, 0, side, side);
    context.strokeStyle = context.fillStyle = "#fff";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = (Number(width.value) * side) / SIDE;
    for (const points of strokes) {
      context.beginPath();
      points.map(move).forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
      if (points.length === 1) context.lineTo(move(points[0])[0] + 0.01, move(points[0])[1]);
      context.stroke();
    }
  }

  function redraw() {
    const context = canvas.getContext("2d");
    trace(context, SIDE, (point) => point);
    if (document.activeElement === canvas && pen.used) {
      context.strokeStyle = pen.down ? "#ff7a4d" : "#8fa39a";
      context.lineWidth = 2;
      context.beginPath();
      context.arc(pen.x, pen.y, Number(width.value) / 2, 0, 7);
      context.stroke();
    }
    hint.hidden = strokes.length > 0;
  }

  /** What is sent: as drawn, or with its ink in the middle and as large as the frame allows. */
  function render() {
    const side = Number(sent.width);
    const context = sent.getContext("2d", { willReadFrequently: true });
    const points = strokes.flat();
    let move = ([x, y]) => [(x * side) / SIDE, (y * side) / SIDE];
    if (fit.checked && points.length) {
      const xs = points.map(([x]) => x);
      const ys = points.map(([, y]) => y);
      const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
      const room = SIDE * (1 - 2 * margin) - Number(width.value);
      const scale = Math.min(room / Math.max(right - left, bottom - top, room / 3), 3);
      move = ([x, y]) => [
        ((SIDE / 2 + (x - (left + right) / 2) * scale) * side) / SIDE,
        ((SIDE / 2 + (y - (top + bottom) / 2) * scale) * side) / SIDE,
      ];
    }
    trace(context, side, move);
  }

  /** Send the drawing; while an answer is awaited, only remember that there is a newer one. */
  async function send() {
    if (!live || !strokes.length) return;
    if (busy) { stale = true; return; }
    busy = true;
    do {
      stale = false;
      render();
      await connection.show(sent, "drawing", "no");
    } while (stale && strokes.length);
    busy = false;
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  }

  function add(point) {
    stroke.push(point);
    redraw();
    send();
  }

  function clear() {
    strokes = [];
    stroke = null;
    stale = false;
    redraw();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    pen.used = false;
    strokes.push((stroke = []));
    add(at(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || !canvas.hasPointerCapture(event.pointerId)) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) stroke.push(at(each));
    redraw();
    send();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => { if (stroke && !pen.down) { stroke = null; send(); } });
  }
  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 24 : 10;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (move) {
      pen.x = Math.max(0, Math.min(SIDE, pen.x + move[0]));
      pen.y = Math.max(0, Math.min(SIDE, pen.y + move[1]));
    } else if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) strokes.push((stroke = []));
    } else if (event.key === "Delete" || event.key === "Backspace" || event.key === "Escape") {
      pen.down = false;
      clear();
    } else {
      return;
    }
    event.preventDefault();
    pen.used = true;
    if (pen.down) add([pen.x, pen.y]);
    else { stroke = null; redraw(); }
  });
  canvas.addEventListener("blur", redraw);
  for (const each of [width, fit]) each.addEventListener("input", () => { redraw(); send(); });

  if (!live) {
    fit.checked = false;
    width.value = "18";
  }
  redraw();
  return {
    element,
    model(model) {
      const [height, columns] = model?.picture ?? [8, 8];
      const side = Math.max(height, columns);
      sent.width = sent.height = Math.min(512, Math.max(160, 4 * side));
      const digits = model?.labels.join() === "0,1,2,3,4,5,6,7,8,9";
      fit.checked = digits;
      // MNIST's digits fill 20 of 28 pixels, the 8×8 ones all of them.
      margin = side >= 20 ? 4 / 28 : 0.02;
      width.value = String(Math.max(20, Math.min(70, Math.round((1.05 * SIDE) / side))));
      redraw();
    },
    strokes: () => strokes,
    clear,
    /** The drawing, on a canvas. */
    draw(target) {
      sent.width = sent.height = target.width;
      render();
      target.getContext("2d").drawImage(sent, 0, 0);
      return strokes.length > 0;
    },
  };
}
