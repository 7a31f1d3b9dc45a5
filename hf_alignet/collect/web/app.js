"use strict";
// The trials of a study in the browser. No other address than the one of this page is asked for anything.
//
// Times come from the clock of the page, which never goes back: the onset is the time of the first frame after the one
// that shows the pictures, and an answer has the time of its event. An answer is kept in this browser until the server
// has stored it, so that a lost connection, or a page that is closed, loses nothing.
(() => {
  const byId = (id) => document.getElementById(id);
  const main = byId("study");
  const tab = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const PRELOADED = 8; // trials
  const KEYS = { ArrowLeft: 0, ArrowUp: 1, ArrowDown: 1, ArrowRight: 2, 1: 0, 2: 1, 3: 2 };
  const buttons = [0, 1, 2].map((place) => byId(`picture-${place}`));
  let state = null; // what the server, or the folder, says about the session
  let isStopped = false;
  let isSending = false;
  let wake = () => {};

  // ---- what is kept in this browser

  const memory = {}; // where a browser keeps nothing, until the page is closed
  const read = (name) => {
    try {
      return JSON.parse(localStorage.getItem(name)) ?? memory[name] ?? null;
    } catch {
      return memory[name] ?? null;
    }
  };
  const write = (name, value) => {
    memory[name] = value;
    try {
      localStorage.setItem(name, JSON.stringify(value));
    } catch {
      // refused by the settings of the browser: the answers are sent at once all the same
    }
  };
  const waiting = () => read(`waiting:${state.session}`) || [];

  // ---- the server, or a folder without one

  async function post(address, content) {
    const response = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(content),
    });
    if (response.status === 429 || response.status >= 500) throw new Error(`status ${response.status}`);
    return response.json();
  }

  const server = {
    open: () => post("api/open", { tab }),
    send: (answer) => post("api/answer", { tab, ...answer }),
    picture: (number) => `pictures/${number}`,
    done: () => location.assign("done"),
  };

  const folder = {
    async open() {
      const study = await (await fetch("study.json")).json();
      const session = read(`session:${study.study}`) || (await this.consented(study));
      const trials = await (await fetch(`sets/${session.trial_set}.json`)).json();
      this.session = session;
      main.hidden = false;
      return { ...study, trials, session: session.file, next: session.answers.length };
    },
    consented(study) {
      const form = byId("consent");
      form.hidden = false;
      main.hidden = true;
      return new Promise((resolve) =>
        form.addEventListener("submit", (event) => {
          event.preventDefault();
          const query = new URLSearchParams(location.search);
          const asked = Number.parseInt(query.get("set") ?? "", 10);
          const given = [...new FormData(form)].filter(([name, value]) => name.startsWith("about_") && value);
          const session = {
            study: study.study,
            file: tab,
            trial_set: asked >= 0 && asked < study.num_sets ? asked : Math.floor(Math.random() * study.num_sets),
            identifiers: Object.fromEntries(study.platform.map((n) => [n, query.get(n)]).filter(([, value]) => value)),
            demographics: Object.fromEntries(given.map(([name, value]) => [name.slice(6), value])),
            answers: [],
          };
          write(`session:${study.study}`, session);
          form.hidden = true;
          resolve(session);
        }),
      );
    },
    async send({ place, odd, rt }) {
      if (place === this.session.answers.length) this.session.answers.push([odd, rt]);
      write(`session:${state.study}`, this.session);
      return { next: this.session.answers.length };
    },
    picture: (number) => `pictures/${String(number).padStart(6, "0")}.webp`,
    async done() {
      const text = JSON.stringify(this.session);
      const address = main.dataset.post;
      if (address) {
        await persist(async () => {
          const sent = await fetch(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: text });
          if (!sent.ok) throw new Error(`status ${sent.status}`);
        });
      } else {
        const link = byId("download");
        link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
        link.download = `${this.session.file}.json`;
        link.hidden = false;
        link.click();
      }
      main.hidden = true;
      byId("debriefing").hidden = false;
    },
  };
  const study = main.dataset.mode === "static" ? folder : server;

  // ---- time and connection

  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

  const failing = new Set();

  async function persist(step) {
    const told = (fails) => {
      failing[fails ? "add" : "delete"](step);
      byId("connection").hidden = failing.size === 0;
    };
    for (let wait = 250; ; wait = Math.min(2 * wait, 8000)) {
      try {
        const found = await step();
        told(false);
        return found;
      } catch {
        told(true);
        await Promise.race([pause(wait), new Promise((resolve) => (wake = resolve))]);
      }
    }
  }

  function stop(text) {
    isStopped = true;
    show(text, "Go on here", () => location.reload());
  }

  async function sendAll() {
    if (isSending || isStopped) return;
    isSending = true;
    for (let left = waiting(); left.length && !isStopped; left = waiting()) {
      const told = await persist(() => study.send(left[0]));
      if (told.refused === "taken_over") stop("This study is open in another tab or window.");
      else if (told.refused === "out_of_order") location.reload();
      else if (told.refused) isStopped = location.assign("done") ?? true;
      else write(`waiting:${state.session}`, waiting().filter((answer) => answer.place >= told.next));
    }
    isSending = false;
  }

  // ---- screens

  function show(text, label, next) {
    byId("trial").hidden = true;
    byId("text").replaceChildren(...(typeof text === "string" ? [document.createTextNode(text)] : text));
    byId("go").textContent = label;
    byId("go").onclick = next;
    byId("screen").hidden = false;
    byId("go").focus();
  }

  const screen = (text, label) =>
    new Promise((resolve) => show(text, label, () => ((byId("screen").hidden = true), resolve())));

  const loaded = (number) =>
    persist(async () => {
      const image = new Image();
      image.src = study.picture(number);
      await image.decode();
      return image;
    });

  function preload(place) {
    for (const { pictures } of state.trials.slice(place, place + PRELOADED))
      for (const number of pictures) new Image().src = study.picture(number);
  }

  async function ask(trial) {
    const images = await Promise.all(trial.pictures.map(loaded));
    byId("trial").hidden = false;
    byId("fixation").hidden = false;
    byId("pictures").classList.remove("open");
    images.forEach((image, place) => {
      image.alt = `Picture ${place + 1} of 3`;
      buttons[place].replaceChildren(image);
      buttons[place].className = "";
    });
    await pause(1000 * state.protocol.fixation);
    await frame(); // also waits until the tab is in front
    byId("fixation").hidden = true;
    byId("pictures").classList.remove("away");
    const onset = await frame();
    return answered(onset);
  }

  function answered(onset) {
    const { earliest, latest } = state.protocol;
    return new Promise((resolve) => {
      const listening = new AbortController();
      const finish = (odd, rt) => {
        listening.abort();
        clearTimeout(opening);
        clearTimeout(ending);
        resolve({ odd, rt });
      };
      const choose = (odd, event) => {
        const rt = (event.timeStamp - onset) / 1000;
        if (!isStopped && rt >= earliest && rt <= latest) finish(odd, rt);
      };
      const left = (seconds) => Math.max(0, 1000 * seconds - (performance.now() - onset));
      const opening = setTimeout(() => byId("pictures").classList.add("open"), left(earliest));
      const ending = setTimeout(() => finish(null, null), left(latest));
      const options = { signal: listening.signal };
      buttons.forEach((button, place) => {
        button.addEventListener("pointerdown", (event) => event.button === 0 && choose(place, event), options);
        button.addEventListener("click", (event) => event.detail === 0 && choose(place, event), options); // by key
      });
      document.addEventListener(
        "keydown",
        (event) => {
          if (!(event.key in KEYS) || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
          event.preventDefault();
          choose(KEYS[event.key], event);
        },
        options,
      );
    });
  }

  async function feedback(trial, odd) {
    if (odd !== null) buttons[odd].classList.add("chosen");
    if (trial.right !== undefined) buttons[trial.right].classList.add("right");
    const answer = trial.right === undefined ? "Thank you." : odd === trial.right ? "Yes, this one is the odd one out." : "The marked picture is the odd one out.";
    byId("feedback").textContent = odd === null ? "Time is up. Please choose a picture." : answer;
    await pause(1000 * state.protocol.feedback);
    byId("feedback").textContent = "";
  }

  async function run(from) {
    const { trials, practice, protocol } = state;
    const numTrials = trials.length - practice;
    const progress = byId("progress");
    progress.max = trials.length;
    for (let place = from; place < trials.length && !isStopped; place++) {
      progress.value = place;
      preload(place);
      if (place === from) await screen([...byId("instructions").content.cloneNode(true).childNodes], place ? "Go on" : "Begin");
      const done = place - practice;
      if (done === 0 && practice) await screen("The practice is over. Now the study begins.", "Begin the study");
      if (protocol.pauses_after.includes(done) && place !== from)
        await screen(`You have done ${done} of ${numTrials}. Take a rest, and go on when you like.`, "Go on");
      const { odd, rt } = await ask(trials[place]);
      if (isStopped) return;
      write(`waiting:${state.session}`, [...waiting(), { place, odd, rt }]);
      sendAll();
      if (place < practice) await feedback(trials[place], odd);
      byId("trial").hidden = true;
      byId("pictures").classList.add("away");
    }
    progress.value = trials.length;
    while (!isStopped && waiting().length) {
      sendAll(); // comes back at once while an answer is on its way: without a pause the page would stand still for ever
      await pause(50);
    }
    if (!isStopped) await study.done();
  }

  async function begin() {
    state = await persist(() => study.open());
    if (state.refused) return location.assign(state.refused === "unknown" ? "." : "done");
    write(`tab:${state.session}`, tab);
    addEventListener("storage", (event) => {
      if (event.key === `tab:${state.session}` && event.newValue !== JSON.stringify(tab))
        stop("This study is open in another tab or window.");
    });
    addEventListener("online", () => wake());
    addEventListener("pageshow", (event) => event.persisted && location.reload());
    // what this browser has and the server lacks, without a gap
    let next = state.next;
    const left = waiting().filter((answer) => answer.place >= state.next && answer.place === next++);
    write(`waiting:${state.session}`, left);
    sendAll();
    await run(state.next + left.length);
  }

  begin();
})();
