"use strict";

// Tables: a press on a header sorts by its column, another one the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const upward = header.getAttribute("aria-sort") !== "ascending";
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", upward ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((one, other) => compared(one.cells[column], other.cells[column], upward ? 1 : -1));
    table.tBodies[0].append(...rows);
  }));
}

function compared(one, other, sign) {
  const [a, b] = [one.dataset.value, other.dataset.value];
  if (a === undefined) return sign * one.textContent.localeCompare(other.textContent);
  // What has no value stays at the end.
  if (a === "" || b === "") return (a === "") - (b === "");
  return sign * (Number(a) - Number(b));
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => {
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    const told = button.textContent;
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = told; }, 1500);
  });
}

const gallery = document.getElementById("gallery-data");
if (gallery) showGallery(JSON.parse(gallery.textContent));

function made(tag, classes, text) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}

function showGallery(data) {
  const patient = document.getElementById("patient"), radius = document.getElementById("radius");
  data.patients.forEach((one, number) => patient.append(new Option(`test image ${one.index}`, number)));
  const views = data.models.map((model) => makeView(model));
  document.getElementById("views").append(...views.map((view) => view.root));
  const update = () => {
    const one = data.patients[patient.value], step = Number(radius.value), text = data.steps[step];
    document.getElementById("radius-shown").textContent = step ? text : "clean";
    radius.setAttribute("aria-valuetext", step ? `epsilon ${text}` : "clean");
    document.getElementById("present").textContent = `Findings that are there: ${one.present.join(", ") || "none"}.`;
    views.forEach((view, number) => drawView(view, data, one, number, step));
  };
  patient.addEventListener("change", update);
  radius.addEventListener("input", update);
  update();
}

function makeView(model) {
  const root = made("div", `view m${model.colour % 6}`), shots = made("div", "shots");
  const view = { root, model, answers: made("ul", "answers"), drawn: 0 };
  for (const [key, tag] of [["clean", "img"], ["attacked", "img"], ["change", "canvas"]]) {
    const figure = made("figure"), caption = made("figcaption");
    view[key] = made(tag);
    view[`${key}Caption`] = caption;
    figure.append(view[key], caption);
    shots.append(figure);
  }
  view.change.setAttribute("role", "img");
  root.append(made("h3", "", model.name), shots, view.answers);
  return view;
}

function drawView(view, data, one, number, step) {
  const source = (text) => `data:image/png;base64,${text}`;
  view.clean.src = source(one.clean);
  view.attacked.src = step ? source(one.attacked[number][step - 1]) : view.clean.src;
  view.clean.alt = `test image ${one.index}, clean`;
  view.attacked.alt = step ? `the same image attacked with epsilon ${data.steps[step]}` : view.clean.alt;
  view.cleanCaption.textContent = "clean";
  view.attackedCaption.textContent = step ? `attacked, ${data.steps[step]}` : "not attacked";
  const turn = ++view.drawn;
  Promise.all([view.clean.decode(), view.attacked.decode()]).then(() => {
    if (turn === view.drawn) drawChange(view, Math.round(data.radii[step] * 255));
  }, () => {});
  drawAnswers(view, data, one, one.answers[number][step]);
}

// The perturbation, so that the whole radius spans the grey scale: gray is no change.
function drawChange(view, levels) {
  const canvas = view.change, width = view.clean.naturalWidth, height = view.clean.naturalHeight;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const pixels = (image) => {
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, width, height);
  };
  const before = pixels(view.clean).data, after = pixels(view.attacked), scale = levels ? 127 / levels : 1;
  for (let at = 0; at < before.length; at += 4) {
    for (let channel = at; channel < at + 3; channel++) {
      after.data[channel] = 128 + scale * (after.data[channel] - before[channel]);
    }
  }
  context.putImageData(after, 0, 0);
  const factor = levels ? `perturbation, ×${scale.toFixed(0)}` : "no perturbation";
  view.changeCaption.textContent = factor;
  canvas.setAttribute("aria-label", factor);
}

function drawAnswers(view, data, one, answers) {
  const names = data.label_names, present = new Set(one.present);
  const cuts = view.model.thresholds, most = answers.indexOf(Math.max(...answers));
  // The same order at every radius and in every model: what is there, then what the strongest attack changes most.
  const moved = (label) => Math.max(...one.answers.map((all) => Math.abs(all.at(-1)[label] - all[0][label])));
  const order = one.order ?? names.map((_, label) => label).sort((a, b) => present.has(names[b]) - present.has(names[a])
    || moved(b) - moved(a));
  view.answers.replaceChildren(...order.slice(0, 7).map((label) => {
    const item = made("li"), there = present.has(names[label]), track = made("span", "track");
    const named = cuts ? answers[label] >= cuts[label] : label === most;
    const fill = made("span", "fill");
    fill.style.width = `${100 * answers[label]}%`;
    track.append(fill);
    if (cuts) {
      const cut = made("span", "cut");
      cut.style.left = `${100 * cuts[label]}%`;
      track.append(cut);
    }
    const told = named ? (there ? "found" : "invented") : there ? "missed" : "";
    const classes = named !== there ? "wrong" : there ? "said" : "quiet";
    const right = made("span", classes, `${(100 * answers[label]).toFixed(1)} % ${told}`);
    item.append(made("span", "name", `${there ? "✓\u00a0" : ""}${names[label]}`), track, right);
    return item;
  }));
}
