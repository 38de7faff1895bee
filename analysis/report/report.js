"use strict";
// The page: unpacks Plotly and the numbers, keeps the reader's choices, draws, and makes tables sortable and runs open.

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

async function unpack(id) {
  const bytes = Uint8Array.from(atob(find(`#${id}`).textContent), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function element(tag, content, more = {}) {
  const made = Object.assign(document.createElement(tag), more);
  made.append(...[content].flat().filter(each => each != null));
  return made;
}

// --- figures

function drawAll(data, choice) {
  return Promise.all(all("figure").map(figure => {
    const name = figure.id.replace("figure-", "");
    const {traces, layout} = FIGURES[name](data, choice);
    if (name === "law") find(".said", figure).textContent = `With N as ${data.conventions[choice.n]}: ${listed(data.fits[choice.n].parameters)}.`;
    return Plotly.react(find(".plot", figure), traces, layout, SETTINGS);
  }));
}

function startFigures(data) {
  const form = find("#choices"), edges = data.windows?.edges ?? [];
  const choice = {low: 0, high: Math.max(0, edges.length - 3), log: true, rung: "", n: data.convention, c: "6ND"};
  const choose = () => {
    Object.assign(choice, {n: form.n.value, c: form.c.value, rung: form.rung.value, log: form.log.checked});
    return drawAll(data, choice);
  };
  form.n.value = data.convention;
  form.hidden = false;
  form.addEventListener("change", choose);
  form.addEventListener("submit", event => event.preventDefault());
  if (find("#figure-windows")) startWindow(data, choice);
  return choose().then(() => all(".plot").forEach(plot => plot.on("plotly_click", event => {
    const id = event.points[0].customdata;
    if (typeof id === "string") openRecord(data, id);
  })));
}

function startWindow(data, choice) {
  const figure = find("#figure-windows"), {edges, fits} = data.windows;
  const ends = {low: find("input[name=low]", figure), high: find("input[name=high]", figure)};
  const nearest = size => edges.reduce((best, edge, i) => Math.abs(Math.log(edge / size)) < Math.abs(Math.log(edges[best] / size)) ? i : best, 0);
  const show = (low, high) => {
    Object.assign(choice, {low: Math.min(low, high), high: Math.max(low, high)});
    for (const [name, input] of Object.entries(ends)) {
      input.max = edges.length - 1;
      input.value = choice[name];
      input.nextElementSibling.value = `${power(edges[choice[name]])} FLOPs`;
      input.setAttribute("aria-valuetext", input.nextElementSibling.value);
    }
    find(".said", figure).textContent = verdict(data, choice);
    const drawn = FIGURES.windows(data, choice);
    return Plotly.react(find(".plot", figure), drawn.traces, drawn.layout, SETTINGS);
  };
  const first = fits.filter(fit => fit.low === 0 && fit.high < edges.length - 1).at(-1) ?? fits[0];
  show(first.low, first.high).then(plot => plot.on("plotly_selected", event => {
    if (event?.range) show(...event.range.x.map(nearest));
  }));
  for (const input of Object.values(ends)) input.addEventListener("input", () => show(Number(ends.low.value), Number(ends.high.value)));
}

const listed = parameters => Object.entries(parameters).map(([name, value]) => `${name} ${digits(value, 3)}`).join(", ");

function verdict(data, {low, high}) {
  const {edges, sizes, fits} = data.windows, fit = fits.find(each => each.low === low && each.high === high);
  const inside = sizes.filter(size => size >= edges[low] && size <= edges[high]).length;
  if (!fit) return `The ${inside} runs of this range cannot carry the law: widen it.`;
  const errors = fit.errors.filter((_, i) => sizes[i] > edges[high]);
  const squares = errors.reduce((sum, error) => sum + error * error, 0), mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
  const beyond = errors.length ? ` The ${errors.length} larger runs are off by ${digits(Math.sqrt(squares / errors.length), 2)} % (root mean square), `
    + `${digits(Math.abs(mean), 2)} % ${mean > 0 ? "above" : "below"} on average.` : " No run is larger.";
  return `${inside} runs: ${listed(fit.parameters)}.${beyond}`;
}

// --- the record of a run

function openRecord(data, id) {
  const run = data.runs.find(each => each.run === id), dialog = find("#record");
  if (!run) return;
  const facts = {state: run.state, role: run.role, "not fitted because": run.excluded, ...run.labels, ...run.counts, tokens: short(run.tokens),
    FLOPs: power(run.flops), loss: digits(run.loss, 6), "bits per byte": digits(run.bits_per_byte)};
  const list = Object.entries(facts).filter(([, value]) => value !== "" && value != null)
    .flatMap(([name, value]) => [element("dt", name.replaceAll("_", " ")), element("dd", typeof value === "number" ? short(value) : String(value))]);
  const record = Object.entries(run.record).map(([name, content]) => element("details", [element("summary", name),
    element("pre", JSON.stringify(content, null, 1), {tabIndex: 0})]));
  const files = Object.keys(run.record).length ? [element("p", ["Beside this page: ", ...["run.json", "curve.jsonl", "status.json", "log.txt"].flatMap(name =>
    [element("a", name, {href: `${encodeURIComponent(id)}/${name}`}), " "])])] : [];
  find("#record-title").textContent = `Run ${id}`;
  find("#record > div").replaceChildren(element("dl", list), ...record, ...files);
  dialog.showModal();
}

// --- tables

function startTable(data) {
  const table = find("#table"), body = find("tbody", table), rows = all("tr", body);
  const filter = find("#filter"), said = find("output", filter);
  for (const row of rows) {
    const code = find("code", row);
    const button = element("button", code.cloneNode(true), {type: "button", title: "open the record"});
    code.replaceWith(button);
    button.addEventListener("click", () => openRecord(data, row.dataset.run));
  }
  all("thead th", table).forEach((head, column) => {
    const button = element("button", head.textContent, {type: "button"});
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      all("thead th", table).forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const order = (a, b) => "value" in a.cells[column].dataset
        ? (value(a) === "" ? Infinity : Number(value(a))) - (value(b) === "" ? Infinity : Number(value(b))) || 0 : value(a).localeCompare(value(b));
      rows.sort((a, b) => down ? order(b, a) : order(a, b));
      body.append(...rows);
    });
  });
  const narrow = () => {
    const text = filter.text.value.toLowerCase(), which = filter.which.value;
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(text) || Boolean(which && row.dataset.which !== which);
    said.value = `${rows.filter(row => !row.hidden).length} of ${rows.length} runs`;
  };
  filter.hidden = false;
  filter.addEventListener("input", narrow);
  filter.addEventListener("submit", event => event.preventDefault());
  narrow();
}

function startBudget(data) {
  const form = find("#budget"), best = data.optimum;
  if (!form || !best) return;
  form.hidden = false;
  form.addEventListener("submit", event => {
    event.preventDefault();
    const budget = Number(form.flops.value), said = find("output", form), {budget: known} = best;
    if (!(budget >= known[0] && budget <= known.at(-1))) {
      said.value = `from ${power(known[0])} to ${power(known.at(-1))}`;
      return;
    }
    const after = Math.max(1, known.findIndex(each => each >= budget));
    const share = Math.log(budget / known[after - 1]) / Math.log(known[after] / known[after - 1]);
    const at = name => Math.exp((1 - share) * Math.log(best[name][after - 1]) + share * Math.log(best[name][after]));
    const cell = (name, form) => element("td", [form(at(name)), element("br"), element("span", `${form(at(`${name}_low`))} – ${form(at(`${name}_high`))}`, {className: "soft"})]);
    const head = element("th", [power(budget), element("br"), element("span", `${digits(budget / data.largest, 3)} x data`, {className: "soft"})], {scope: "row"});
    find("#optimum tbody").append(element("tr", [head, cell("parameters", short), cell("tokens", short), cell("tokens_per_parameter", value => digits(value, 3)), cell("loss", digits)]));
    said.value = "added";
  });
}

// --- downloads

function save(name, text, type) {
  const link = element("a", "", {download: name, href: URL.createObjectURL(new Blob([text], {type}))});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1e4);
}

function startDownloads(data) {
  const name = find("h1").textContent;
  const curves = () => ["run,tokens,flops,loss", ...data.runs.flatMap(run => run.curve.loss.map((loss, i) =>
    [run.run, run.curve.tokens[i], run.curve.flops[i] ?? "", loss].join(",")))].join("\n") + "\n";
  find("#download-curves").addEventListener("click", () => save(`${name}-curves.csv`, curves(), "text/csv"));
  find("#download-all").addEventListener("click", () => save(`${name}.json`, JSON.stringify(data), "application/json"));
  all(".downloads li").forEach(item => { item.hidden = false; });
}

(async () => {
  try {
    const data = JSON.parse(await unpack("numbers"));
    startTable(data);
    startBudget(data);
    startDownloads(data);
    document.head.append(element("script", await unpack("plotly")));
    await startFigures(data);
    document.documentElement.dataset.drawn = "yes";
  } catch (error) {
    Object.assign(find("#failed"), {hidden: false, textContent: `The figures could not be drawn: ${error.message}. They need a browser of 2023 or newer.`});
    throw error;
  }
})();
