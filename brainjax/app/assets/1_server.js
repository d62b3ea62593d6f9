// The session of this page, and what it asks the server. Dash loads these files in the order of their names.
"use strict";

window.brainjax = {};

brainjax.server = (() => {
  const KEY = "brainjax-session";
  const SIGN_MS = 60000; // between signs that the page is still there
  const LEFT_MS = 1000; // until a page that was left has given up its session
  let session = null;

  async function ask(path, options = {}) {
    let response;
    try {
      response = await fetch(`/api/${path}`, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer; is it still running?");
    }
    if (response.ok) return response;
    const said = await response.json().catch(() => ({}));
    const problem = new Error(said.error || `The server answered ${response.status}.`);
    problem.status = response.status;
    throw problem;
  }

  const json = async (path, method = "POST") => (await ask(path, { method })).json();

  // Whether this page alone has a session; from then on it does, for as long as it is open. A page that is left gives
  // its session up a moment after the next begins. Browsers lock nothing for pages over http from another machine.
  const alone = (name) =>
    !navigator.locks ||
    new Promise((resolve) => {
      const hold = () => (resolve(true), new Promise(() => {}));
      const waiting = new AbortController();
      setTimeout(() => waiting.abort(), LEFT_MS);
      navigator.locks.request(`${KEY}-${name}`, { signal: waiting.signal }, hold).catch(() => resolve(false));
    });

  // A reload finds its session again; another tab gets its own, also one that is a copy of this with all it stores.
  async function begin() {
    session = sessionStorage.getItem(KEY);
    const mine = session && (await alone(session));
    let known = mine && (await json(session, "GET").catch(() => null));
    if (!known) {
      session = (await json("sessions")).session;
      known = { view: null, offered: null };
      await alone(session);
    }
    sessionStorage.setItem(KEY, session);
    setInterval(() => json(session, "GET").catch(() => {}), SIGN_MS);
    addEventListener("pagehide", () => navigator.sendBeacon(`/api/${session}/leave`));
    addEventListener("pageshow", () => json(session, "GET").catch(() => {}));
    return { session, ...known };
  }

  // fetch tells nothing of how far an upload is.
  function send(file, batch, progress) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", `/api/${session}/upload/${batch}`);
      request.setRequestHeader("X-Name", encodeURIComponent(file.name));
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (event) => progress(event.loaded);
      request.onload = () => {
        if (request.status === 200) return resolve();
        let said = null;
        try {
          said = JSON.parse(request.responseText).error;
        } catch (error) {
          // an answer of the server's own, without words for the user
        }
        reject(new Error(said || `The server refused ${file.name} (${request.status}).`));
      };
      request.onerror = () => reject(new Error(`${file.name}: the upload broke off.`));
      request.send(file);
    });
  }

  // Files of one patient -> what there is to see.
  async function upload(files, limit, progress) {
    for (const file of files) {
      if (file.size > limit) {
        const mib = Math.floor(limit / 2 ** 20);
        throw new Error(`${file.name}: it is larger than ${mib} MiB, all that this server takes`);
      }
    }
    const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
    let before = 0;
    const { batch } = await json(`${session}/batch`);
    for (const file of files) {
      await send(file, batch, (loaded) => progress((before + loaded) / total));
      before += file.size;
    }
    progress(1);
    return json(`${session}/open/${batch}`);
  }

  return {
    begin,
    upload,
    offered: (index) => json(`${session}/offered/${index}`),
    slice: async (token, name, plane, index) =>
      (await ask(`${session}/slice/${token}/${name}/${plane}/${index}`)).arrayBuffer(),
  };
})();
