// The line to the program: what it tells, and what it is asked.

const token = new URLSearchParams(location.search).get("token") ?? "";
const INVERT = { auto: 0, yes: 1, no: 2 };
const SOURCES = ["drawing", "camera", "picture"];

/** Events: "status", "model", "answer", "problem", "roles", "training", "collection", "gone". */
export class Connection extends EventTarget {
  status = { phase: "opening", doing: "Connecting", board: null };
  model = null;
  answer = null;
  training = null;
  operates = false;
  client = null;
  pages = 1;
  #socket = null;
  #number = 0;
  #waiting = new Map();

  open() {
    const socket = new WebSocket(`ws://${location.host}/ws?token=${encodeURIComponent(token)}`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.#take(JSON.parse(event.data));
    socket.onclose = () => {
      this.#socket = null;
      this.status = { ...this.status, phase: "gone", board: null };
      for (const resolve of this.#waiting.values()) resolve(null);
      this.#waiting.clear();
      this.#emit("gone");
      setTimeout(() => this.open(), 1000);
    };
    socket.onopen = () => { this.#socket = socket; };
  }

  #emit(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  on(type, handler) {
    this.addEventListener(type, (event) => handler(event.detail));
  }

  #take(message) {
    const { type } = message;
    if (type === "status") {
      const changed = JSON.stringify(message.model) !== JSON.stringify(this.model);
      this.status = message;
      this.model = message.model;
      this.#emit("status", message);
      if (changed) {
        this.answer = null;
        // Pictures for the model before it may have no answer.
        for (const resolve of this.#waiting.values()) resolve(null);
        this.#waiting.clear();
        this.#emit("model", this.model);
      }
    } else if (type === "roles") {
      this.client = message.client;
      this.operates = message.operates;
      this.pages = message.pages;
      this.#emit("roles", message);
    } else if (type === "answer") {
      this.answer = message;
      this.#emit("answer", message);
      // The program answers the latest picture: earlier ones have no answer of their own.
      for (const [number, resolve] of this.#waiting) {
        if (message.client === this.client && number <= message.number) {
          this.#waiting.delete(number);
          resolve(number === message.number ? message : null);
        }
      }
    } else if (type === "problem") {
      if (message.number !== undefined && message.client === this.client) {
        this.#waiting.get(message.number)?.(null);
        this.#waiting.delete(message.number);
      }
      this.#emit("problem", message.line);
    } else {
      if (type === "training") this.training = message;
      this.#emit(type, message);
    }
  }

  /** Ask for something in a few words. */
  do(what, more = {}) {
    this.#socket?.send(JSON.stringify({ do: what, ...more }));
  }

  #expect(number) {
    return new Promise((resolve) => {
      this.#waiting.set(number, resolve);
      // A board that is away answers nothing.
      setTimeout(() => { if (this.#waiting.delete(number)) resolve(null); }, 20_000);
    });
  }

  /** Classify the pixels of a canvas; gives the answer, or null where a newer picture came first. */
  show(canvas, source, invert = "auto") {
    if (!this.#socket || !this.operates) return Promise.resolve(null);
    const { width, height } = canvas;
    const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    const message = new Uint8Array(10 + pixels.length);
    const head = new DataView(message.buffer);
    const number = ++this.#number;
    head.setUint32(0, number, true);
    head.setUint16(4, width, true);
    head.setUint16(6, height, true);
    head.setUint8(8, INVERT[invert]);
    head.setUint8(9, SOURCES.indexOf(source));
    message.set(pixels, 10);
    this.#socket.send(message);
    return this.#expect(number);
  }

  /** Classify a test picture of a data set. */
  sample(data, index) {
    if (!this.#socket || !this.operates) return Promise.resolve(null);
    const number = ++this.#number;
    this.do("sample", { data, index, number });
    return this.#expect(number);
  }

  /** Classify a file that holds a picture or an array. */
  async picture(file) {
    const number = ++this.#number;
    const answer = this.#expect(number);
    await this.post(`/api/picture?name=${encodeURIComponent(file.name)}&number=${number}`, file);
    return answer;
  }

  async get(path) {
    return (await this.#fetch(path)).json();
  }

  async blob(path) {
    return (await this.#fetch(path)).blob();
  }

  async post(path, body = null, method = "POST") {
    return (await this.#fetch(path, { method, body })).json();
  }

  /** An address for a link or a picture, which cannot send a header. */
  address(path) {
    return `${path}${path.includes("?") ? "&" : "?"}token=${encodeURIComponent(token)}`;
  }

  async #fetch(path, options = {}) {
    const headers = { "x-studio-token": token };
    if (this.client) headers["x-client"] = this.client;
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch {
      throw new Error("The program does not answer: was it ended?");
    }
    if (response.ok) return response;
    let line = `${response.status}`;
    try {
      line = (await response.json()).error ?? line;
    } catch { /* a text that is no JSON */ }
    throw new Error(line);
  }
}
