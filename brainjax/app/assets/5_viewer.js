// The three planes together: crosshair, contrast, window and overlays, and the words about them.
"use strict";

brainjax.viewer = (() => {
  const KEPT = 1000; // measured times
  const viewer = {
    view: null, // what the server told of the scan
    slices: null,
    cross: [0, 0, 0], // voxel of the planes' grid, RAS+
    volume: null,
    window: [0, 1],
    opacity: {},
    planes: [],
    times: { first: [], slice: [] }, // ms from asking for a scan, or slice, until it is drawn
    opening: null, // when the scan was asked for that not all planes show yet
  };
  const set = (id, props) => dash_clientside.set_props(id, props);
  const element = (id) => document.getElementById(id);

  viewer.start = () => {
    viewer.planes = Object.keys(brainjax.Plane.AXES).map((name) => new brainjax.Plane(name, viewer));
  };

  // What the server tells of the scan that is seen: there is more to see. Of another it comes too late.
  viewer.more = (view) => {
    if (!view || !viewer.view) return;
    if (view.opened === viewer.view.opened) viewer.show(view);
    else if (viewer.opening === null) set("view", { data: viewer.view });
  };

  // Another scan, asked for at a time, or the same with more to see.
  viewer.show = (view, asked) => {
    if (viewer.view && view.token === viewer.view.token) return;
    const same = viewer.view && view.opened === viewer.view.opened;
    viewer.view = view;
    viewer.slices = new brainjax.Slices(view, same ? viewer.slices : null);
    if (same) {
      for (const layer of view.layers) viewer.opacity[layer.name] = layer.opacity;
    } else {
      viewer.opening = asked;
      viewer.planes.forEach((plane) => (plane.stop(), (plane.drawn = null)));
      // Nothing of the scan before stays beside this one, nor comes in late.
      for (const id of ["overlays", "results", "progress", "solid"]) set(id, { children: [] });
      set("view", { data: null });
      viewer.cross = view.shape.map((n) => Math.floor(n / 2));
      viewer.opacity = Object.fromEntries(view.layers.map((layer) => [layer.name, layer.opacity]));
      viewer.volume = view.volumes[0];
      set("contrast", {
        options: view.volumes.map((volume) => ({ label: volume.label, value: volume.name })),
        value: viewer.volume.name,
      });
      viewer.auto();
      element("name").textContent = view.name;
      element("notes").replaceChildren(
        ...view.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })),
      );
    }
    document.body.classList.add("open");
    viewer.move(viewer.cross);
  };

  viewer.move = (cross) => {
    viewer.cross = cross;
    const now = performance.now();
    for (const plane of viewer.planes) {
      if (plane.current()) plane.draw(); // the crosshair alone moves in it
      else plane.load(now);
    }
    viewer.tell();
  };

  // Arrays that the planes need just now.
  viewer.sources = () => [
    ...new Set([viewer.volume.name, ...viewer.visible().map((layer) => layer.source)]),
  ];

  // From the bottom up: masks above what would hide them.
  viewer.visible = () => {
    const seen = viewer.view.layers.filter((layer) => viewer.opacity[layer.name] > 0);
    return [...seen.filter((l) => l.kind === "heat"), ...seen.filter((l) => l.kind !== "heat")];
  };

  // Pixels per mm: the same in all planes, so that they are aligned; an enlarged one has its own.
  viewer.scale = (plane) => {
    const large = plane.root.classList.contains("large");
    return large ? plane.fit() : Math.min(...viewer.planes.map((other) => other.fit()));
  };

  viewer.enlarge = (plane) => {
    plane.root.classList.toggle("large");
    plane.root.parentElement.classList.toggle("one");
    viewer.draw();
  };

  viewer.draw = () => {
    if (!viewer.view) return;
    element("levels").textContent = viewer.window.join(" – ");
    viewer.planes.forEach((plane) => plane.draw());
  };

  // A plane has drawn what was asked for at a time.
  viewer.shown = (plane, asked) => {
    const now = performance.now();
    if (viewer.opening !== null) {
      if (viewer.planes.some((other) => !other.drawn)) return;
      viewer.times.first.push(now - viewer.opening);
      viewer.opening = null;
      set("view", { data: viewer.view }); // and now all that can wait
    } else {
      viewer.times.slice.push(now - asked);
    }
    for (const times of Object.values(viewer.times)) times.splice(0, times.length - KEPT);
    viewer.tell();
  };

  viewer.contrast = (name) => {
    if (!viewer.view || viewer.volume.name === name) return;
    viewer.volume = viewer.view.volumes.find((volume) => volume.name === name);
    viewer.auto();
    viewer.move(viewer.cross);
  };

  viewer.auto = () => {
    if (!viewer.volume) return;
    const { low, high, black, white, whole } = viewer.volume;
    const step = whole && high - low > 20 ? 1 : Number(((high - low) / 500).toPrecision(1)) || 1;
    const round = (x) => Number((Math.round(x / step) * step).toPrecision(6));
    const [min, max] = [Math.floor(low / step) * step, Math.ceil(high / step) * step];
    viewer.window = [round(black), Math.max(round(white), round(black) + step)];
    set("window", { min: round(min), max: Math.max(round(max), round(min) + step), step, value: viewer.window });
    viewer.draw();
  };

  viewer.levels = (value) => {
    if (!viewer.view || String(value) === String(viewer.window)) return;
    viewer.window = value;
    viewer.draw();
  };

  // Right button: sideways for contrast, up and down for brightness, as radiologists' consoles do.
  viewer.drag = (first, right, down) => {
    const { low, high } = viewer.volume;
    const unit = (high - low) / 600;
    const middle = (first.window[0] + first.window[1]) / 2 + down * unit;
    const half = Math.max((first.window[1] - first.window[0] + right * unit) / 2, unit / 2);
    const round = (x) => Number(Math.min(high, Math.max(low, x)).toPrecision(4));
    viewer.window = [round(middle - half), round(middle + half)];
    set("window", { value: viewer.window });
    viewer.draw();
  };

  viewer.overlay = (name, opacity) => {
    if (!viewer.view || viewer.opacity[name] === opacity) return;
    const before = viewer.sources().length;
    viewer.opacity[name] = opacity;
    if (viewer.sources().length > before) viewer.move(viewer.cross);
    else viewer.draw();
  };

  // World mm -> the crosshair.
  viewer.find = (point) => {
    const world = new DOMMatrix();
    const m = viewer.view.affine;
    for (let row = 0; row < 3; row++) {
      for (let column = 0; column < 4; column++) world[`m${column + 1}${row + 1}`] = m[row][column];
    }
    const at = world.inverse().transformPoint(new DOMPoint(...point));
    const within = (x, n) => Math.max(0, Math.min(n - 1, Math.round(x)));
    viewer.move([at.x, at.y, at.z].map((x, axis) => within(x, viewer.view.shape[axis])));
  };

  // Place and intensity of the crosshair.
  viewer.tell = () => {
    const { view, cross, volume } = viewer;
    const apply = (matrix) =>
      [0, 1, 2].map((row) => cross.reduce((sum, x, k) => sum + matrix[row][k] * x, matrix[row][3]));
    const names = ["RL", "AP", "SI"];
    const world = apply(view.affine)
      .map((mm, axis) => `${Math.abs(mm).toFixed(1)} ${names[axis][mm < 0 ? 1 : 0]}`)
      .join("  ");
    const words = [
      [world, "mm"],
      ["voxel", apply(view.index).map(Math.round).join(", ")],
    ];
    const [axial] = viewer.planes;
    const ready = axial.drawn && axial.drawn.index === cross[2] ? axial.drawn.values : {};
    const pixel = (view.shape[1] - 1 - cross[1]) * view.shape[0] + view.shape[0] - 1 - cross[0];
    if (ready[volume.name]) {
      const value = volume.offset + volume.step * ready[volume.name][pixel];
      words.push([volume.label, volume.whole ? Math.round(value) : Number(value.toPrecision(4))]);
    }
    for (const layer of viewer.visible()) {
      const values = ready[layer.source];
      if (!values) continue;
      const label = layer.label.toLowerCase();
      if (layer.kind === "heat") words.push([label, (values[pixel] / 255).toFixed(2)]);
      else if ((values[pixel] & layer.bits) === layer.value) words.push([label]);
    }
    element("place").textContent = words.map((part) => part.join(" ")).join("   ·   ");
  };

  viewer.problem = (error) => {
    set("message", { children: error ? error.message : "" });
  };

  return viewer;
})();
