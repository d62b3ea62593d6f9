// What Dash calls in the browser, and how scans come in.
"use strict";

(() => {
  const { server, viewer } = brainjax;
  const set = (id, props) => dash_clientside.set_props(id, props);
  const ENDINGS = ".nii,.gz,.mgh,.mgz";
  let limit = 0;
  let bar = null;
  let seen = null; // which of the offered scans is open
  let wanted = null; // and which was asked for last
  let last = Promise.resolve(); // of what opens scans
  let asking = 0; // how many of them there are

  // Runs something that gives a view, and shows it or what went wrong. One after the other, in the order in which they
  // were asked for: what is open on the server is what is seen here.
  function open(get, offered) {
    const asked = performance.now();
    const turn = ++asking;
    wanted = offered;
    document.body.classList.add("busy");
    last = last.then(async () => {
      try {
        if (offered === null || turn === asking) {
          viewer.problem(null);
          viewer.show(await get(), asked);
          seen = offered;
          viewer.problem(null); // nor what was refused meanwhile
        } // else another of the offered was chosen before it was this one's turn
      } catch (error) {
        viewer.problem(error);
      }
      if (turn !== asking) return;
      document.body.classList.remove("busy");
      wanted = seen;
      set("offered", { value: seen });
    });
    return last;
  }

  async function upload(list) {
    const files = [...list]; // which is emptied soon
    if (!files.length) return;
    if (!bar.hidden) {
      viewer.problem(new Error("Other files are still coming in; wait for them, then choose these again."));
      return;
    }
    bar.hidden = false;
    bar.value = 0;
    await open(() => server.upload(files, limit, (done) => (bar.value = done)), null);
    bar.hidden = true;
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

  // Also called with what is chosen in the list by the page itself.
  function offer(index, session) {
    if (index === null || index === undefined || !session) return;
    if (restored) {
      restored = false; // what was open before the reload stays
      set("offered", { value: seen });
    } else if (index !== wanted) {
      open(() => server.offered(index), index);
    }
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    brainjax: {
      begin: async (bytes) => {
        limit = bytes;
        mount();
        viewer.start();
        try {
          const asked = performance.now();
          const { session, view, offered } = await server.begin();
          restored = Boolean(view);
          seen = wanted = offered;
          set("session", { data: session });
          if (view) viewer.show(view, asked);
        } catch (error) {
          viewer.problem(error);
        }
      },
      offer,
      view: (view) => viewer.more(view),
      contrast: (name) => viewer.contrast(name),
      window: (value) => viewer.levels(value),
      auto: (clicks) => clicks && viewer.auto(),
      opacity: (values, ids) => ids.forEach(({ layer }, i) => viewer.overlay(layer, values[i] / 100)),
    },
  });
})();
