// The map: one canvas a model, with the same pictures in the same view. Gradio runs this with `element`, its part of
// the page. Places come from `./map/…` when the map is first seen, and small pictures when the pointer rests on one.
const panels = element.querySelector(".panels");
const select = element.querySelector("select");
const card = element.querySelector(".card");
const legend = element.querySelector(".legend");
let data = null;
let view = { x: 0, y: 0, zoom: 1 };
let chosen = -1;
let half = 1;
let order = [];
const canvases = [];

async function load() {
  legend.textContent = "loading …";
  const answer = await fetch(`./map/${select.value}.json`);
  if (!answer.ok) {
    legend.textContent = "The map could not be loaded.";
    return;
  }
  data = await answer.json();
  chosen = -1;
  half = data.half;
  // Rows of one kind stand together: in a mixed order none of them hides the others
  const stride = [7919, 7907, 7901].find((prime) => data.rows.length % prime);
  order = data.rows.map((_, i) => (i * stride) % data.rows.length);
  panels.replaceChildren();
  canvases.length = 0;
  for (const model of data.models) addPanel(model);
  legend.replaceChildren(...data.groups.map((name, group) => {
    const item = document.createElement("span");
    const dot = document.createElement("i");
    dot.style.background = data.colours[group];
    item.append(dot, name);
    return item;
  }));
  reset();
}

function addPanel(model) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = model.name;
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-roledescription", "map");
  canvas.setAttribute("aria-label", `${model.name}: ${data.rows.length} pictures by ${data.axes}. Arrow keys go from ` +
    "picture to picture, plus and minus zoom, 0 shows all.");
  figure.append(caption, canvas);
  panels.append(figure);
  const panel = { canvas, model };
  canvases.push(panel);
  listen(panel);
  new ResizeObserver(() => draw(panel)).observe(canvas);
}

function scale(canvas) {
  return (Math.min(canvas.clientWidth, canvas.clientHeight) / 2 / half) * view.zoom;
}

function toScreen(panel, i) {
  const s = scale(panel.canvas);
  return [
    panel.canvas.clientWidth / 2 + (panel.model.x[i] - view.x) * s,
    panel.canvas.clientHeight / 2 - (panel.model.y[i] - view.y) * s,
  ];
}

function draw(panel) {
  const { canvas, model } = panel;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const size = Math.min(7, 2 + Math.sqrt(view.zoom));
  pen.globalAlpha = 0.75;
  for (const i of order) {
    const [x, y] = toScreen(panel, i);
    if (x < -9 || y < -9 || x > canvas.clientWidth + 9 || y > canvas.clientHeight + 9) continue;
    pen.fillStyle = data.colours[data.group[i]];
    pen.beginPath();
    pen.arc(x, y, size, 0, 7);
    pen.fill();
  }
  if (chosen >= 0) {
    const [x, y] = toScreen(panel, chosen);
    pen.globalAlpha = 1;
    pen.lineWidth = 3;
    pen.strokeStyle = getComputedStyle(canvas).color;
    pen.beginPath();
    pen.arc(x, y, size + 5, 0, 7);
    pen.stroke();
  }
}

function drawAll() {
  canvases.forEach(draw);
}

function reset() {
  view = { x: 0, y: 0, zoom: 1 };
  drawAll();
}

function zoom(factor, panel, at) {
  const before = view.zoom;
  view.zoom = Math.min(200, Math.max(0.5, before * factor));
  if (panel && at) {
    // What is under the pointer stays there
    const s = scale(panel.canvas);
    const change = view.zoom / before - 1;
    view.x += ((at[0] - panel.canvas.clientWidth / 2) / s) * change;
    view.y -= ((at[1] - panel.canvas.clientHeight / 2) / s) * change;
  }
  drawAll();
}

function nearest(panel, at, most) {
  let best = -1;
  let least = most * most;
  for (let i = 0; i < panel.model.x.length; i++) {
    const [x, y] = toScreen(panel, i);
    const distance = (x - at[0]) ** 2 + (y - at[1]) ** 2;
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

function choose(i) {
  if (i === chosen || i < 0) return;
  chosen = i;
  const image = card.querySelector("img");
  const name = data.labels[data.label[i]];
  image.src = `./thumbnail/${data.key}/${data.rows[i]}.jpg`;
  image.alt = name;
  image.hidden = false;
  const group = data.groups.length > 1 ? `, ${data.groups[data.group[i]]}` : "";
  card.querySelector("p").textContent = `${name}${group}, row ${data.rows[i]}`;
  drawAll();
}

function step(panel, dx, dy) {
  // The nearest picture that lies in this direction, within 45 degrees
  if (chosen < 0) return choose(nearest(panel, [panel.canvas.clientWidth / 2, panel.canvas.clientHeight / 2], 1e9));
  const [x0, y0] = toScreen(panel, chosen);
  let best = -1;
  let least = Infinity;
  for (let i = 0; i < panel.model.x.length; i++) {
    const [x, y] = toScreen(panel, i);
    const along = (x - x0) * dx + (y - y0) * dy;
    const across = Math.abs((x - x0) * dy) + Math.abs((y - y0) * dx);
    if (i === chosen || along <= 0 || across > along) continue;
    const distance = along + 2 * across;
    if (distance < least) [best, least] = [i, distance];
  }
  choose(best);
  const [x, y] = toScreen(panel, chosen);
  if (x < 0 || y < 0 || x > panel.canvas.clientWidth || y > panel.canvas.clientHeight) {
    view.x = panel.model.x[chosen];
    view.y = panel.model.y[chosen];
    drawAll();
  }
}

function listen(panel) {
  const { canvas } = panel;
  const fingers = new Map();
  let spread = 0;
  const at = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    spread = 0;
    choose(nearest(panel, at(event), 20));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return choose(nearest(panel, at(event), 14));
    const last = fingers.get(event.pointerId);
    fingers.set(event.pointerId, at(event));
    if (fingers.size === 1) {
      const s = scale(canvas);
      view.x -= (event.offsetX - last[0]) / s;
      view.y += (event.offsetY - last[1]) / s;
      drawAll();
    } else {
      const [one, other] = [...fingers.values()];
      const now = Math.hypot(one[0] - other[0], one[1] - other[1]);
      if (spread) zoom(now / spread, panel, [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2]);
      spread = now;
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      fingers.delete(event.pointerId);
      spread = 0;
    });
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), panel, at(event));
  }, { passive: false });
  const keys = {
    ArrowLeft: () => step(panel, -1, 0),
    ArrowRight: () => step(panel, 1, 0),
    ArrowUp: () => step(panel, 0, -1),
    ArrowDown: () => step(panel, 0, 1),
    "+": () => zoomToChosen(1.5),
    "=": () => zoomToChosen(1.5),
    "-": () => zoomToChosen(1 / 1.5),
    0: reset,
  };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });

  function zoomToChosen(factor) {
    zoom(factor, panel, chosen >= 0 ? toScreen(panel, chosen) : null);
  }
}

element.querySelector(".in").addEventListener("click", () => zoom(1.5));
element.querySelector(".out").addEventListener("click", () => zoom(1 / 1.5));
element.querySelector(".all").addEventListener("click", reset);
select.addEventListener("change", load);
const seen = new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  seen.disconnect();
  load();
});
seen.observe(panels);
