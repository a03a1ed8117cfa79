// The camera: mirrored, cropped as chosen, a picture at a time; others pass while the board computes.

import { button, make, segments } from "/page/dom.js";

/** A camera's picture in an element, and its current crop on a canvas. */
export function viewfinder() {
  const video = make("video", { playsInline: true, muted: true, "aria-label": "Camera" });
  const view = make("canvas", { width: 400, height: 400, role: "img", "aria-label": "The camera's picture, cropped and mirrored" });
  const line = make("span", {}, "The camera is off");
  const start = button("Use the camera", () => on());
  const hint = make("div.hint", {}, line, start);
  const element = make("div.pad-holder", {}, view, hint);
  const choice = make("select", { "aria-label": "Which camera", hidden: true, onchange: () => on() });
  const zoom = make("input", { type: "range", min: "1", max: "3", step: "0.05", value: "1", "aria-label": "Zoom" });
  const mirror = make("input", { type: "checkbox", checked: true });
  let crop = "square";
  const tools = [
    segments("Crop", [["square", "Square"], ["whole", "Whole"]], crop, (id) => { crop = id; }),
    make("label", {}, "Zoom", zoom),
    make("label", {}, mirror, "mirror"),
    choice,
  ];
  let stream = null;
  let frame = () => {};
  let loop = 0;

  async function on() {
    off();
    line.textContent = "Waiting for the camera …";
    start.hidden = true;
    if (!navigator.mediaDevices?.getUserMedia) return fail("This browser gives no camera to this page");
    const mine = loop;
    const closed = () => mine !== loop; // while this waited
    let granted = null;
    try {
      const device = choice.value ? { deviceId: { exact: choice.value } } : { facingMode: "user" };
      granted = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 }, ...device }, audio: false });
    } catch (error) {
      return closed() || fail(
        { NotAllowedError: "The browser does not allow the camera: allow it for this page, and try again", NotFoundError: "There is no camera", NotReadableError: "Another program has the camera" }[error.name] ?? `The camera cannot be used: ${error.message}`,
      );
    }
    if (closed()) return granted.getTracks().forEach((track) => track.stop());
    stream = granted;
    stream.getVideoTracks()[0].addEventListener("ended", () => fail("The camera has gone"));
    video.srcObject = stream;
    await video.play().catch(() => {});
    if (closed()) return;
    hint.hidden = true;
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === "videoinput");
    if (closed()) return;
    const chosen = stream.getVideoTracks()[0].getSettings().deviceId;
    choice.replaceChildren(...cameras.map((each, index) => make("option", { value: each.deviceId, selected: each.deviceId === chosen }, each.label || `Camera ${index + 1}`)));
    choice.hidden = cameras.length < 2;
    const next = () => {
      if (closed()) return;
      draw(view);
      frame();
      if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(next);
      else requestAnimationFrame(next);
    };
    next();
  }

  function fail(text) {
    off();
    line.textContent = text;
  }

  function off() {
    loop++;
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.srcObject = null;
    hint.hidden = false;
    start.hidden = false;
    line.textContent = "The camera is off";
  }

  /** The part that is used, onto a canvas as large as that is. */
  function draw(canvas) {
    const { videoWidth: width, videoHeight: height } = video;
    if (!width) return false;
    const factor = Number(zoom.value);
    const [w, h] = crop === "square" ? [Math.min(width, height) / factor, Math.min(width, height) / factor] : [width / factor, height / factor];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.save();
    if (mirror.checked) {
      context.translate(canvas.width, 0);
      context.scale(-1, 1);
    }
    context.drawImage(video, (width - w) / 2, (height - h) / 2, w, h, 0, 0, canvas.width, canvas.height);
    context.restore();
    return true;
  }

  return { element, tools, on, off, draw, isOn: () => Boolean(stream), onFrame: (handler) => { frame = handler; } };
}

export function camera(connection) {
  const finder = viewfinder();
  const rate = make("span.faint.push", { "data-testid": "frames" });
  const sent = make("canvas", { width: 160, height: 160 });
  const element = make("div", {}, finder.element, make("div.tools", {}, finder.tools, rate));
  let busy = false;
  let shown = 0;
  let passed = 0;
  let answered = 0;

  finder.onFrame(async () => {
    shown++;
    if (busy) { passed++; return; }
    busy = true;
    if (finder.draw(sent) && (await connection.show(sent, "camera", "no"))) answered++;
    busy = false;
  });
  setInterval(() => {
    if (finder.isOn() && shown) rate.textContent = `${answered} of ${shown} pictures answered`;
  }, 500);

  return {
    element,
    model(model) {
      const [height, width] = model?.picture ?? [32, 32];
      sent.width = Math.min(512, Math.max(96, 4 * width));
      sent.height = Math.min(512, Math.max(96, 4 * height));
      shown = passed = answered = 0;
    },
    show() { finder.on(); },
    hide() { finder.off(); },
  };
}
