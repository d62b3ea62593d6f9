// What Dash calls in the browser, and how scans come in.
"use strict";

(() => {
  const { server, viewer } = brainjax;
  const set = (id, props) => dash_clientside.set_props(id, props);
  const ENDINGS = ".nii,.gz,.mgh,.mgz";
  let limit = 0;
  let bar = null;

  // Runs something that gives a view, and shows it or what went wrong.
  async function open(get) {
    viewer.problem(null);
    viewer.opening = performance.now();
    document.body.classList.add("busy");
    try {
      viewer.show(await get());
      set("progress", { children: [] });
    } catch (error) {
      viewer.problem(error);
    } finally {
      document.body.classList.remove("busy");
      bar.hidden = true;
    }
  }

  function upload(files) {
    if (!files.length) return;
    bar.hidden = false;
    set("offered", { value: null });
    open(() => server.upload([...files], limit, (done) => (bar.value = done)));
  }

  function mount() {
    const root = document.getElementById("upload");
    root.innerHTML = `
      <label class="button">Open files…<input type="file" multiple accept="${ENDINGS}"></label>
      <p class="hint">or drop them anywhere: NIfTI, one scan or the contrasts of one patient</p>
      <progress max="1" value="0" hidden></progress>`;
    bar = root.querySelector("progress");
    const input = root.querySelector("input");
    input.onchange = () => {
      upload(input.files);
      input.value = ""; // so that the same file may be chosen again
    };
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      upload(event.dataTransfer.files);
    });
    document.getElementById("results").addEventListener("click", (event) => {
      const row = event.target.closest("[data-point]");
      if (row && viewer.view) viewer.find(row.dataset.point.split(",").map(Number));
    });
  }

  let restored = false;

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    brainjax: {
      begin: async (bytes) => {
        limit = bytes;
        mount();
        viewer.start();
        try {
          const { session, view } = await server.begin();
          restored = Boolean(view);
          set("session", { data: session });
          if (view) {
            viewer.opening = performance.now();
            viewer.show(view);
          }
        } catch (error) {
          viewer.problem(error);
        }
      },
      offer: (index, session) => {
        if (index === null || index === undefined || !session) return;
        if (restored) restored = false; // what was open before the reload stays
        else open(() => server.offered(index));
      },
      view: (view) => viewer.show(view),
      contrast: (name) => viewer.contrast(name),
      window: (value) => viewer.levels(value),
      auto: (clicks) => clicks && viewer.auto(),
      opacity: (values, ids) => ids.forEach(({ layer }, i) => viewer.overlay(layer, values[i] / 100)),
    },
  });
})();
