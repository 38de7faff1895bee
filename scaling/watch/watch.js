"use strict";
// Asks the server again and again, and shows what it says. `short`, `digits`, `power`, `axis` and `layout` are those of the report.

const find = selector => document.querySelector(selector);
const SECONDS = {progress: 2, law: 10};
const form = find("#choices");
let latest = {runs: []};

function element(tag, content, more = {}) {
  const made = Object.assign(document.createElement(tag), more);
  made.append(...[content].flat().filter(each => each != null));
  return made;
}

async function ask(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  return answer.json();
}

const colourOf = parameters => {
  const sizes = [...new Set(latest.runs.map(run => run.parameters))].sort((a, b) => a - b);
  return `hsl(${260 - 200 * sizes.indexOf(parameters) / Math.max(1, sizes.length - 1)} 60% 36%)`;
};

function showProgress(said) {
  latest = said;
  find("h1").textContent = document.title = said.name;
  find("#asof").textContent = `As of ${new Date().toLocaleTimeString()}`;
  find("#lines").replaceChildren(...said.lines.map(line => element("li", line)));
  find("#share").value = said.share;
  find("#failures").replaceChildren(...said.failures.map(line => element("li", line, {className: "serious"})),
    ...said.warnings.map(line => element("li", line, {className: "warning"})));
  find("#table tbody").replaceChildren(...said.runs.map(run => {
    const link = element("a", element("code", run.run), {href: `files/${encodeURIComponent(run.run)}/log.txt`, title: "its log"});
    const cells = [[run.name, "words"], [run.state + (run.role === "holdout" ? ", held out" : ""), "words"], [`${Math.round(100 * run.fraction)} %`],
      [digits(run.loss, 5)], [digits(run.train_loss, 5)], [run.tokens_per_second == null ? "–" : Math.round(run.tokens_per_second).toLocaleString("en")],
      [run.left ?? "–"], [run.reason, "words reason"]];
    return element("tr", [element("th", link, {scope: "row", className: "words"}), ...cells.map(([text, kind]) => element("td", text, {className: kind ?? ""}))]);
  }));
  const rungs = [...new Set(said.runs.map(run => short(run.parameters)))];
  if (form.rung.options.length !== rungs.length + 1)
    form.rung.replaceChildren(element("option", "all", {value: ""}), ...rungs.map(rung => element("option", rung)));
}

function drawCurves(curves) {
  const choice = {log: form.log.checked};
  const runs = latest.runs.filter(run => (!form.rung.value || short(run.parameters) === form.rung.value) && curves[run.run]?.tokens.length);
  const traces = runs.flatMap(run => {
    const {tokens, train_loss, loss} = curves[run.run], colour = run.role === "holdout" ? ORANGE : colourOf(run.parameters);
    const text = `${run.run}<br>${run.name}<br>${run.state}`, shared = {type: "scatter", legendgroup: run.run, showlegend: false, line: {color: colour, width: 1.2}};
    const there = tokens.map((_, i) => i).filter(i => loss[i] != null);
    return [{...shared, mode: "lines", x: tokens, y: train_loss, opacity: 0.45, hoverinfo: "skip"},
      {...shared, mode: "lines+markers", x: there.map(i => tokens[i]), y: there.map(i => loss[i]), marker: {size: 6, color: colour}, text: there.map(() => text),
        hovertemplate: "%{text}<br>loss %{y:.4f} after %{x:.3s} tokens<extra></extra>"}];
  });
  return Plotly.react(find("#figure-curves .plot"), traces, layout(axis("training tokens", "count", choice), axis("loss (nats per token)", "loss", choice)), SETTINGS);
}

function drawLaw(law) {
  if (law.error) {
    find("#law").textContent = `There is no law yet: ${law.error}.`;
    return;
  }
  const {history, formula, budget, level} = law, last = history.at(-1);
  const estimates = Object.entries(law.estimates).map(([name, each]) => `${name} ${digits(each.value, 3)} (${digits(each.low, 3)} to ${digits(each.high, 3)})`);
  find("#law").textContent = `${formula} from ${last.runs} runs: ${estimates.join(", ")}. The figure: the loss of the compute-optimal run of ${power(budget)} FLOPs, `
    + `now ${digits(last.loss)} (${digits(last.low)} to ${digits(last.high)}, ${Math.round(100 * level)} %).`;
  const runs = history.map(row => row.runs);
  const band = {type: "scatter", mode: "lines", x: [...runs, ...[...runs].reverse()], y: [...history.map(row => row.high), ...history.map(row => row.low).reverse()],
    fill: "toself", fillcolor: "#0067a326", line: {width: 0}, hoverinfo: "skip", showlegend: false};
  const line = {type: "scatter", mode: "lines+markers", x: runs, y: history.map(row => row.loss), line: {color: BLUE, width: 2}, showlegend: false,
    text: history.map(row => `${digits(row.low)} to ${digits(row.high)}`), hovertemplate: "%{x} runs<br>loss %{y:.4f}<br>%{text}<extra></extra>"};
  const choice = {log: false};
  Plotly.react(find("#figure-law .plot"), [band, line], layout({...axis("runs in the fit", "linear", choice), dtick: Math.ceil(runs.at(-1) / 10)},
    axis("predicted loss (nats per token)", "linear", choice)), SETTINGS);
}

async function repeat(seconds, act) {
  try {
    await act();
  } catch (error) {
    find("#asof").textContent = `No answer (${error.message}); asking again`;
  }
  setTimeout(() => repeat(seconds, act), 1000 * seconds);
}

const refresh = async () => {
  showProgress(await ask("progress.json"));
  await drawCurves(await ask("curves.json"));
};
form.addEventListener("change", refresh);
form.addEventListener("submit", event => event.preventDefault());
repeat(SECONDS.progress, refresh);
repeat(SECONDS.law, async () => drawLaw(await ask("law.json")));
