"use strict";

// "Fool it yourself": the reader's own attack on the models of the gallery, computed here by `network.js`.

showFool(JSON.parse(document.getElementById("gallery-data").textContent));

function showFool(gallery) {
  const part = (name) => document.getElementById(`fool-${name}`);
  const [patient, goal, steps, radius, told] = ["patient", "goal", "steps", "radius", "told"].map(part);
  const models = gallery.models.filter((model) => model.network);
  const networks = models.map((model) => readNetwork(model.network)), views = models.map(makeView);
  gallery.patients.forEach((one, number) => patient.append(new Option(`test image ${one.index}`, number)));
  part("views").append(...views.map((view) => view.root));
  let turn = 0;  // an attack that isn't the latest any more ends

  async function attack(count) {
    told.textContent = "";
    part("progress").value = 0;
    const mine = ++turn, one = gallery.patients[patient.value], levels = Number(radius.value);
    const finding = Number(goal.value), present = one.present.includes(gallery.label_names[finding]);
    const clean = await pixelsOf(one.clean, networks[0].shape);
    if (mine !== turn) return;
    const before = networks.map((network) => probabilities(network, clean));
    const data = { ...gallery, models, radii: [0, levels / 255], steps: ["clean", `${levels}/255`] };
    const order = ordered(gallery.label_names, finding, one.present, before[0]);
    const draw = (number, image) => {
      const now = image ? probabilities(networks[number], image) : before[number];
      const shown = { ...one, attacked: models.map(() => [image && pictureOf(image, networks[0].shape)]), order };
      shown.answers = models.map((_, other) => [before[other], other === number ? now : before[other]]);
      drawView(views[number], data, shown, number, image ? 1 : 0);
      return now;
    };
    models.forEach((_, number) => draw(number));
    if (!count) return;
    const loss = crossEntropy(finding, present), after = [...before];
    const runs = networks.map((network) => attackSteps(network, clean, loss, levels / 255, count));
    for (let step = 1; step <= count; step++) {
      for (const [number, run] of runs.entries()) {
        after[number] = draw(number, run.next().value.map(toLevel));
        await new Promise((resume) => setTimeout(resume));  // the page stays responsive
        if (mine !== turn) return;
      }
      part("progress").value = step / count;
    }
    told.replaceChildren(...models.map((model, number) =>
      made("p", "", sentence(model, gallery.label_names[finding], finding, before[number], after[number]))));
  }

  const clear = () => {
    const text = `${radius.value}/255`;
    part("radius-shown").textContent = text;
    radius.setAttribute("aria-valuetext", `epsilon ${text}`);
    attack(0);
  };
  const offer = () => {
    const one = gallery.patients[patient.value];
    const there = (name) => one.present.includes(name);
    const labels = gallery.label_names.map((name, label) => [name, label]).sort((a, b) => there(b[0]) - there(a[0]));
    goal.replaceChildren(...labels.map(([name, label]) => new Option(`${there(name) ? "hide" : "invent"} ${name}`, label)));
    clear();
  };
  patient.addEventListener("change", offer);
  for (const control of [goal, steps]) control.addEventListener("change", clear);
  radius.addEventListener("input", clear);
  part("attack").addEventListener("click", () => attack(Number(steps.value)));
  offer();
}

const probabilities = (network, image) => [...logitsOf(network, image)].map(sigmoid);

// What an 8-bit file holds of a value; a radius of whole grey levels isn't left by it.
const toLevel = (value) => Math.round(255 * value) / 255;

// The chosen finding, what is there, then by how likely each was: the same order at every step.
function ordered(names, finding, present, before) {
  const rank = (label) => (label === finding ? 4 : 0) + (present.includes(names[label]) ? 2 : 0) + before[label];
  return names.map((_, label) => label).sort((a, b) => rank(b) - rank(a));
}

function sentence(model, name, finding, ...answers) {
  const [before, after] = answers.map((all) => ({
    percent: `${(100 * all[finding]).toFixed(1)}\u00a0%`,
    found: all[finding] >= model.thresholds[finding],
  }));
  const verdict = before.found === after.found ? `still ${after.found ? "" : "not "}found`
    : after.found ? "now found" : "no longer found";
  return `${model.name}: ${name} ${before.percent} → ${after.percent}, ${verdict}.`;
}

function canvasOf(width, height) {
  const canvas = made("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas.getContext("2d", { willReadFrequently: true });
}

async function pixelsOf(text, [height, width, channels]) {
  const image = new Image();
  image.src = `data:image/png;base64,${text}`;
  await image.decode();
  const context = canvasOf(width, height);
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return Float64Array.from({ length: height * width * channels },
    (_, at) => data[4 * Math.floor(at / channels) + at % channels] / 255);
}

function pictureOf(image, [height, width, channels]) {
  const context = canvasOf(width, height), drawn = context.createImageData(width, height);
  for (let at = 0; at < drawn.data.length; at++) {
    const pixel = at >> 2, channel = Math.min(at & 3, channels - 1);
    drawn.data[at] = (at & 3) === 3 ? 255 : Math.round(255 * image[pixel * channels + channel]);
  }
  context.putImageData(drawn, 0, 0);
  return context.canvas.toDataURL().split(",")[1];
}
