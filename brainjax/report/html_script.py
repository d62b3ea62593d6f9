"""What moves in the HTML report; without it all is still there, only still.

Slices grow when they are clicked, details open for the printer, and the brain can be turned: WebGL without a library.
Surfaces are drawn from the innermost outwards, each first into the depth buffer alone, so that of each the nearest
layer is blended once.
"""

SCRIPT = """
"use strict";
const slices = (event) => {
  const slice = event.target.closest && event.target.closest("figure.slice");
  if (slice) slice.classList.toggle("big");
};
addEventListener("click", slices);
addEventListener("keydown", (event) => { if (event.key === "Enter") slices(event); });
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});

const VERTEX = `attribute vec3 place, normal; uniform mat3 turn; uniform vec3 middle; uniform vec2 zoom;
varying vec3 n; void main() { vec3 p = turn * (place - middle); n = turn * normal;
gl_Position = vec4(p.x * zoom.x, p.y * zoom.y, p.z * 0.5, 1.0); }`;
const FRAGMENT = `precision mediump float; uniform vec3 colour; uniform float opacity; varying vec3 n;
void main() { vec3 m = normalize(n); float light = max(dot(m, normalize(vec3(-0.35, 0.5, -0.8))), 0.0);
float rim = pow(1.0 - clamp(-m.z, 0.0, 1.0), 2.0);
gl_FragColor = vec4(colour * (0.35 + 0.65 * light) + 0.24 * pow(light, 24.0), mix(opacity, 1.0, 0.6 * rim)); }`;

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;

const scene = (box) => {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl", {preserveDrawingBuffer: true});
  if (!gl) return;
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return;
  gl.useProgram(program);
  const at = (name) => gl.getUniformLocation(program, name);
  const put = (kind, data) => {
    const buffer = gl.createBuffer();
    gl.bindBuffer(kind, buffer);
    gl.bufferData(kind, data, gl.STATIC_DRAW);
    return buffer;
  };
  const meshes = [...box.querySelectorAll(".mesh")].map((one) => {
    const face = new Uint16Array(bytes(one.dataset.face));
    return {
      place: put(gl.ARRAY_BUFFER, new Uint16Array(bytes(one.dataset.place))),
      normal: put(gl.ARRAY_BUFFER, new Int8Array(bytes(one.dataset.normal))),
      face: put(gl.ELEMENT_ARRAY_BUFFER, face),
      count: face.length,
      colour: one.dataset.colour.split(" ").map((c) => c / 255),
      opacity: Number(one.dataset.opacity),
    };
  });
  const places = ["place", "normal"].map((name) => gl.getAttribLocation(program, name));
  places.forEach((place) => gl.enableVertexAttribArray(place));
  gl.enable(gl.DEPTH_TEST);
  gl.depthFunc(gl.LEQUAL);
  gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE);
  gl.clearColor(0.043, 0.051, 0.063, 1);
  gl.uniform3fv(at("middle"), box.dataset.middle.split(" ").map(Number));
  let yaw = Number(box.dataset.yaw), pitch = 0.2, waiting = false;
  const draw = () => {
    waiting = false;
    const dense = Math.min(devicePixelRatio || 1, 2);
    const [width, height] = [canvas.clientWidth * dense, canvas.clientHeight * dense].map(Math.round);
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const fit = 1.9 * Math.min(width / box.dataset.wide, height / box.dataset.tall);
    gl.uniform2f(at("zoom"), fit / width, fit / height);
    // Seen from the front the patient's right is on the left, up is up, and depth grows to the back.
    const [c, s, d, e] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    gl.uniformMatrix3fv(at("turn"), false, [-c, -s * e, -s * d, s, -c * e, -c * d, 0, d, -e]);
    for (const one of meshes) {
      [["place", 3, gl.UNSIGNED_SHORT], ["normal", 3, gl.BYTE]].forEach(([name, size, kind], i) => {
        gl.bindBuffer(gl.ARRAY_BUFFER, one[name]);
        gl.vertexAttribPointer(places[i], size, kind, true, 0, 0);
      });
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, one.face);
      gl.uniform3fv(at("colour"), one.colour);
      gl.uniform1f(at("opacity"), one.opacity);
      for (const seen of [false, true]) {
        gl.colorMask(seen, seen, seen, seen);
        (seen ? gl.enable : gl.disable).call(gl, gl.BLEND);
        gl.drawElements(gl.TRIANGLES, one.count, gl.UNSIGNED_SHORT, 0);
      }
    }
  };
  const later = () => {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  };
  const move = (x, y) => {
    yaw += x;
    pitch = Math.max(-1.57, Math.min(1.57, pitch + y));
    later();
  };
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "brain and tumour in 3D; arrow keys turn them");
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) move(event.movementX * 0.01, event.pointerType === "touch" ? 0 : event.movementY * 0.01);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1]}[event.key];
    if (!step) return;
    event.preventDefault();
    move(...step);
  });
  box.prepend(canvas);
  const hint = document.createElement("span");
  hint.className = "hint";
  hint.textContent = "drag to turn";
  box.append(hint);
  const glass = document.getElementById("glass");
  if (glass) {
    glass.closest(".glass").hidden = false;
    glass.addEventListener("input", () => { meshes[meshes.length - 1].opacity = glass.value / 100; later(); });
  }
  addEventListener("resize", later);
  draw();
};
for (const box of document.querySelectorAll(".scene")) scene(box);
"""
