// One of the three planes: its canvas, slider and play button, and what mouse and keys do on it.
"use strict";

brainjax.Plane = class {
  // Voxel axes towards the right and the bottom of the screen; all of them run against it.
  static AXES = { axial: [0, 1, 2], coronal: [0, 2, 1], sagittal: [1, 2, 0] };
  static LETTERS = { axial: "RLAP", coronal: "RLSI", sagittal: "APSI" }; // left, right, top, bottom
  static PLAY_MS = 80;
  static AHEAD = 4; // slices asked for before they are needed
  static MARGIN = 22; // pixels around the slice, for the letters
  static WHEEL = 100; // pixels for a slice: a notch of a mouse, or a stroke on a touchpad
  static LINE = 34; // pixels, where a browser counts lines

  constructor(name, viewer) {
    [this.across, this.down, this.axis] = brainjax.Plane.AXES[name];
    Object.assign(this, { name, viewer, drawn: null, busy: false, way: 1, wheel: 0, turn: 0 });
    this.painted = new Map(); // pictures and paths of the slice that is drawn
    this.mount(document.getElementById(name));
  }

  mount(root) {
    root.innerHTML = `
      <canvas tabindex="0" role="img" aria-label="${this.name} plane"></canvas>
      <div class="bar">
        <button class="play" title="Play through the slices" aria-label="Play ${this.name}"></button>
        <input type="range" min="0" max="0" value="0" aria-label="${this.name} slice">
        <output></output>
        <button class="grow" title="Enlarge, or back" aria-label="Enlarge ${this.name}"></button>
      </div>`;
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.slider = root.querySelector("input");
    this.output = root.querySelector("output");
    this.button = root.querySelector(".play");
    this.slider.oninput = () => this.go(Number(this.slider.value));
    this.button.onclick = () => (this.playing ? this.stop() : this.play());
    root.querySelector(".grow").onclick = () => this.viewer.enlarge(this);
    this.canvas.ondblclick = () => this.viewer.enlarge(this);
    this.canvas.oncontextmenu = (event) => event.preventDefault();
    this.canvas.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    this.canvas.onpointerdown = (event) => this.pressed(event);
    this.canvas.onkeydown = (event) => this.key(event);
    new ResizeObserver(() => this.viewer.draw()).observe(this.canvas);
  }

  get count() {
    return this.viewer.view ? this.viewer.view.shape[this.axis] : 0;
  }

  get index() {
    return this.viewer.cross[this.axis];
  }

  go(index) {
    index = Math.max(0, Math.min(this.count - 1, index));
    if (!this.count || index === this.index) return;
    const cross = [...this.viewer.cross];
    cross[this.axis] = index;
    this.viewer.move(cross);
  }

  wheeled(event) {
    event.preventDefault();
    const pixels = event.deltaMode === 0 ? event.deltaY : event.deltaY * brainjax.Plane.LINE;
    this.wheel = Math.sign(pixels) === Math.sign(this.wheel) ? this.wheel + pixels : pixels;
    const steps = Math.trunc(this.wheel / brainjax.Plane.WHEEL);
    if (!steps) return;
    this.wheel -= steps * brainjax.Plane.WHEEL;
    this.go(this.index - Math.sign(steps) * Math.min(Math.abs(steps), 3));
  }

  key(event) {
    const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
    if (event.key === " ") this.button.click();
    else if (event.key in step) this.go(this.index + step[event.key]);
    else return;
    event.preventDefault();
  }

  pressed(event) {
    if (!this.viewer.view) return;
    this.canvas.setPointerCapture(event.pointerId);
    const first = { x: event.clientX, y: event.clientY, window: [...this.viewer.window] };
    const moved = (now) => {
      if (event.button === 2) this.viewer.drag(first, now.clientX - first.x, now.clientY - first.y);
      else if (event.button === 0) this.point(now);
    };
    if (event.button === 0) this.point(event);
    this.canvas.onpointermove = moved;
    this.canvas.onpointerup = this.canvas.onpointercancel = () => (this.canvas.onpointermove = null);
  }

  // The crosshair to where the pointer is.
  point(event) {
    const { x0, y0, dx, dy } = this.frame();
    const box = this.canvas.getBoundingClientRect();
    const { shape } = this.viewer.view;
    const cross = [...this.viewer.cross];
    const set = (axis, at) =>
      (cross[axis] = Math.max(0, Math.min(shape[axis] - 1, shape[axis] - 1 - Math.floor(at))));
    set(this.across, (event.clientX - box.left - x0) / dx);
    set(this.down, (event.clientY - box.top - y0) / dy);
    this.viewer.move(cross);
  }

  play() {
    if (!this.count) return;
    this.button.classList.add("on");
    this.playing = setInterval(() => {
      if (!this.busy) this.go((this.index + 1) % this.count);
    }, brainjax.Plane.PLAY_MS);
  }

  stop() {
    clearInterval(this.playing);
    this.playing = null;
    this.button.classList.remove("on");
  }

  // Pixels per mm at which the slice fits.
  fit() {
    const { shape, spacing } = this.viewer.view;
    const margin = 2 * brainjax.Plane.MARGIN;
    return Math.min(
      (this.canvas.clientWidth - margin) / (shape[this.across] * spacing[this.across]),
      (this.canvas.clientHeight - margin) / (shape[this.down] * spacing[this.down]),
    );
  }

  // Where the slice is in the canvas: its corner and the size of a voxel, in pixels of the page.
  frame() {
    const { shape, spacing } = this.viewer.view;
    const scale = Math.max(this.viewer.scale(this), 0);
    const [dx, dy] = [spacing[this.across] * scale, spacing[this.down] * scale];
    return {
      ...{ dx, dy, width: shape[this.across], height: shape[this.down] },
      x0: (this.canvas.clientWidth - dx * shape[this.across]) / 2,
      y0: (this.canvas.clientHeight - dy * shape[this.down]) / 2,
    };
  }

  // Brings the slice of the crosshair. Only one is waited for; of those wanted meanwhile, the last.
  async load(asked) {
    this.slider.max = this.count - 1;
    this.slider.value = this.index;
    this.output.value = `${this.index + 1} / ${this.count}`;
    this.asked = asked;
    this.turn++; // what is fetched ahead has to wait
    if (this.busy) return;
    this.busy = true;
    try {
      while (!this.current()) {
        const { index, asked: since } = this;
        const { view, slices } = this.viewer;
        const sources = this.viewer.sources();
        let values;
        try {
          values = await Promise.all(sources.map((name) => slices.get(name, this.name, index)));
        } catch (error) {
          if (view === this.viewer.view) throw error;
          continue; // of what was open before; the loop goes on with what is now
        }
        if (view === this.viewer.view) {
          this.way = this.drawn && index < this.drawn.index ? -1 : 1;
          this.drawn = {
            index,
            token: view.token,
            values: Object.fromEntries(sources.map((name, i) => [name, values[i]])),
          };
          this.painted.clear();
          this.draw();
          this.viewer.shown(this, since);
        }
      }
    } catch (error) {
      // 409: another scan was opened, or more was found, which the page will hear of.
      if (error.status !== 409) this.viewer.problem(error);
    } finally {
      this.busy = false;
    }
    this.ahead();
  }

  // Whether what is drawn is what the crosshair points at.
  current() {
    const { drawn, viewer } = this;
    if (!drawn || drawn.index !== this.index || drawn.token !== viewer.view.token) return false;
    return viewer.sources().every((name) => name in drawn.values);
  }

  // Neighbours, one after the other: browsers open few connections, which what is wanted now shall not wait for.
  async ahead() {
    const turn = ++this.turn;
    const { slices } = this.viewer;
    const steps = Array.from({ length: brainjax.Plane.AHEAD }, (_, i) => i + 1);
    for (const step of [...steps, -1]) {
      const index = this.index + step * this.way;
      if (index < 0 || index >= this.count) continue;
      for (const name of this.viewer.sources()) {
        if (turn !== this.turn) return;
        await slices.get(name, this.name, index).catch(() => {});
      }
    }
  }

  // What is costly to make is made once for a slice.
  once(key, make) {
    if (!this.painted.has(key)) this.painted.set(key, make());
    return this.painted.get(key);
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (this.canvas.width !== Math.round(w * ratio) || this.canvas.height !== Math.round(h * ratio)) {
      this.canvas.width = Math.round(w * ratio);
      this.canvas.height = Math.round(h * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, w, h);
    if (!this.drawn || !this.viewer.view) return;
    const frame = this.frame();
    this.slice(context, frame);
    this.layers(context, frame);
    this.lines(context, frame);
    this.crosshair(context, frame);
    this.letters(context, frame);
  }

  slice(context, { x0, y0, dx, dy, width, height }) {
    const { volume, window: levels } = this.viewer;
    const values = this.drawn.values[volume.name];
    if (!values) return; // of another contrast; its own is on its way
    const picture = this.once(`${volume.name} ${levels}`, () => {
      for (const key of this.painted.keys()) if (key.startsWith(volume.name)) this.painted.delete(key);
      return brainjax.paint.grey(values, width, height, volume, levels);
    });
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, x0, y0, dx * width, dy * height);
  }

  layers(context, { x0, y0, dx, dy, width, height }) {
    const { paint } = brainjax;
    for (const layer of this.viewer.visible()) {
      const values = this.drawn.values[layer.source];
      const opacity = this.viewer.opacity[layer.name];
      if (!values) continue;
      if (layer.kind !== "outline") {
        const picture = this.once(`~${layer.name}`, () =>
          layer.kind === "heat"
            ? paint.heat(values, width, height)
            : paint.fill(values, width, height, layer),
        );
        context.globalAlpha = opacity;
        context.imageSmoothingEnabled = layer.kind === "heat";
        context.drawImage(picture, x0, y0, dx * width, dy * height);
      }
      if (layer.kind !== "heat") {
        const line = this.once(`-${layer.name}`, () => paint.outline(values, width, height, layer));
        const placed = new Path2D();
        placed.addPath(line, new DOMMatrix([dx, 0, 0, dy, x0, y0]));
        context.globalAlpha = layer.kind === "outline" ? opacity : Math.min(1, 2 * opacity);
        context.strokeStyle = `rgb(${layer.colour})`;
        context.lineWidth = 1.25;
        context.stroke(placed);
      }
      context.globalAlpha = 1;
    }
  }

  // Diameters of lesions, on the axial slices that they were measured on.
  lines(context, { x0, y0, dx, dy, width, height }) {
    context.font = "11px system-ui, sans-serif";
    for (const { text, ends } of this.viewer.view.lines) {
      if (this.name !== "axial" || ends.some((end) => Math.round(end[2]) !== this.drawn.index)) continue;
      const [[ax, ay], [bx, by]] = ends.map((end) => [
        x0 + (width - 0.5 - end[this.across]) * dx,
        y0 + (height - 0.5 - end[this.down]) * dy,
      ]);
      for (const [style, wide] of [["#000a", 3], ["#fff", 1.25]]) {
        Object.assign(context, { strokeStyle: style, lineWidth: wide });
        context.beginPath();
        context.moveTo(ax, ay);
        context.lineTo(bx, by);
        context.stroke();
      }
      const [x, y] = ax > bx ? [ax, ay] : [bx, by];
      Object.assign(context, { textAlign: "left", textBaseline: "middle", lineWidth: 3 });
      context.strokeStyle = "#000a";
      context.strokeText(`${text} mm`, x + 5, y);
      context.fillStyle = "#fff";
      context.fillText(`${text} mm`, x + 5, y);
    }
  }

  // Open in the middle, so that what it points at is seen.
  crosshair(context, { x0, y0, dx, dy, width, height }) {
    const { cross } = this.viewer;
    // To the middle of a pixel of the screen, where a line is sharp.
    const x = Math.floor(x0 + (width - cross[this.across] - 0.5) * dx) + 0.5;
    const y = Math.floor(y0 + (height - cross[this.down] - 0.5) * dy) + 0.5;
    const gap = 7;
    const [right, bottom] = [x0 + width * dx, y0 + height * dy];
    context.strokeStyle = "rgba(255, 255, 255, 0.55)";
    context.lineWidth = 1;
    context.beginPath();
    for (const [a, b] of [[x0, x - gap], [x + gap, right]]) {
      if (a < b) (context.moveTo(a, y), context.lineTo(b, y));
    }
    for (const [a, b] of [[y0, y - gap], [y + gap, bottom]]) {
      if (a < b) (context.moveTo(x, a), context.lineTo(x, b));
    }
    context.stroke();
  }

  letters(context, { x0, y0, dx, dy, width, height }) {
    const [left, right, top, bottom] = brainjax.Plane.LETTERS[this.name];
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const away = 11;
    context.font = "600 12px system-ui, sans-serif";
    context.fillStyle = "#8fa0b5";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(left, Math.max(x0 - away, away), h / 2);
    context.fillText(right, Math.min(x0 + width * dx + away, w - away), h / 2);
    context.fillText(top, w / 2, Math.max(y0 - away, away));
    context.fillText(bottom, w / 2, Math.min(y0 + height * dy + away, h - away));
    context.textAlign = "left";
    context.font = "11px system-ui, sans-serif";
    context.fillText(this.name[0].toUpperCase() + this.name.slice(1), 8, 14);
  }
};
