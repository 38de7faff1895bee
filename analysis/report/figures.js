"use strict";
// One function for each figure: (data, choice) => {traces, layout}. Nothing is computed here but what a choice changes.
// `choice` is {n: column that counts N, c: "6ND" or "flops", rung: one size or "", log: boolean, low, high: ends of the window}.

const SETTINGS = {  // nothing is sent anywhere: no button offers to upload a chart
  responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["lasso2d"], toImageButtonOptions: {format: "svg"},
};
const INK = "#1b1f24", SOFT = "#57606a", LINE = "#d8dde3", BLUE = "#0067a3", ORANGE = "#ad4500";
const PROCEDURES = ["#0067a3", "#ad4500", "#1a7a4c", "#7a3e9d"];

function short(value) {
  for (const [factor, suffix] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]])
    if (value >= factor * 0.9995) return Number((value / factor).toPrecision(3)) + suffix;
  return value == null ? "–" : String(Number(value.toPrecision(3)));
}

const power = value => value == null ? "–" : value.toExponential(2).replace("e+", "e");
const digits = (value, count = 4) => value == null ? "–" : value && Math.abs(value) < 1e-3 ? value.toExponential(count - 1) : String(Number(value.toPrecision(count)));

// Round places for about six ticks between the ends of some values: Plotly labels too few of a logarithmic axis within one decade.
function places(values) {
  const [low, high] = values.reduce(([least, most], value) => value == null ? [least, most] : [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  const rough = (high - low) / 6 || high / 10, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find(each => each * unit >= rough) * unit;
  return Array.from({length: 12}, (_, i) => Number(((Math.floor(low / step) + i - 1) * step).toPrecision(6))).filter(value => value > 0);
}

function axis(title, kind, choice, values = []) {
  const log = choice.log && kind !== "linear";
  return {
    title: {text: title, standoff: 10}, type: log ? "log" : "linear", gridcolor: LINE, linecolor: SOFT, zeroline: false, automargin: true,
    exponentformat: kind === "flops" ? "power" : "B", minexponent: 3, nticks: 7, ticks: "outside", tickcolor: LINE,
    ...(log && values.length ? {tickmode: "array", tickvals: places(values)} : {}),
  };
}

function layout(x, y, more = {}) {
  return {
    margin: {l: 62, r: 12, t: 8, b: 56}, font: {family: "system-ui, sans-serif", size: 13, color: INK}, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "#ffffff", modebar: {bgcolor: "rgba(255, 255, 255, 0.8)", color: SOFT, activecolor: INK}, hovermode: "closest", hoverlabel: {align: "left", bgcolor: "#ffffff", font: {color: INK}},
    legend: {orientation: "h", y: -0.2, yanchor: "top", x: 0, font: {size: 12}}, xaxis: x, yaxis: y, ...more,
  };
}

const of = (run, choice) => run.counts[choice.n];
const compute = (run, choice, tokens, flops) => choice.c === "6ND" ? 6 * of(run, choice) * tokens : flops;
const total = (run, choice) => compute(run, choice, run.tokens, run.flops);
const inRung = (run, choice) => !choice.rung || run.rung === choice.rung;
const counts = run => run.loss != null && (run.excluded === "" || run.excluded === "holdout");
const held = run => run.role === "holdout";

function words(run, choice) {
  const labels = Object.entries(run.labels).map(([name, value]) => `${name} ${String(value).slice(0, 60)}`);
  return [`<b>${run.run}</b>${held(run) ? ", held out" : ""}${run.excluded && !held(run) ? `, ${run.state}` : ""}`, ...labels,
    `N ${short(of(run, choice))}, D ${short(run.tokens)}, C ${power(total(run, choice))}`, `loss ${digits(run.loss, 5)}`].join("<br>");
}

function points(runs, choice, x, y, more = {}) {
  return {
    type: "scatter", mode: "markers", x: runs.map(x), y: runs.map(y), customdata: runs.map(run => run.run), hoverinfo: "text",
    text: runs.map(run => words(run, choice)),
    marker: {color: runs.map(run => run.colour), size: runs.map(run => held(run) ? 14 : 8), symbol: runs.map(run => held(run) ? "star" : "circle")},
    ...more,
  };
}

const cLabel = choice => `training compute, ${choice.c === "6ND" ? "6 N D" : "as recorded"} (FLOPs)`;
const LOSS = "held-out loss (nats per token)";

// A line at the loss that each known source of the data has on the held-out tokens, from end to end of some traces.
function sources(data, traces) {
  const xs = traces.flatMap(trace => trace.x).filter(value => value != null);
  return data.sources.map(({source_loss, entropy}) => ({
    type: "scatter", mode: "lines", name: `the source itself, ${digits(source_loss)} (its entropy: ${digits(entropy)})`, hoverinfo: "name",
    x: [xs.reduce((a, b) => Math.min(a, b)), xs.reduce((a, b) => Math.max(a, b))], y: [source_loss, source_loss], line: {color: ORANGE, width: 1.5, dash: "dot"},
  }));
}

const FIGURES = {
  curves(data, choice) {
    const seen = new Set();
    const traces = [...data.runs].sort((a, b) => of(a, choice) - of(b, choice)).filter(run => inRung(run, choice)).map(run => {
      const first = !seen.has(run.rung);
      seen.add(run.rung);
      const {tokens, flops, loss} = run.curve;
      return {
        type: "scatter", mode: "lines+markers", name: run.rung, legendgroup: run.rung, showlegend: first, customdata: loss.map(() => run.run),
        x: tokens.map((each, i) => compute(run, choice, each, flops[i])), y: loss, hoverinfo: "text",
        text: loss.map((each, i) => `${words(run, choice)}<br>here ${digits(each, 5)} after ${short(tokens[i])} tokens`),
        line: {color: held(run) ? ORANGE : run.colour, width: 1.6, dash: held(run) ? "dash" : "solid"},
        marker: {size: loss.map((_, i) => i === loss.length - 1 ? 7 : 4)},
      };
    });
    traces.push(...sources(data, traces));
    return {traces, layout: layout(axis(cLabel(choice), "flops", choice), axis(LOSS, "loss", choice, traces.flatMap(trace => trace.y)))};
  },

  law(data, choice) {
    const fit = data.fits[choice.n];
    const runs = data.runs.filter(run => counts(run) && inRung(run, choice));
    const colour = Object.fromEntries(data.runs.map(run => [run.rung, run.colour]));
    const lines = fit.lines.filter(line => !choice.rung || line.rung === choice.rung).map(line => ({
      type: "scatter", mode: "lines", x: fit.tokens, y: line.loss, name: short(line.size), legendgroup: line.rung,
      line: {color: colour[line.rung], width: 1.6}, hoverinfo: "skip",
    }));
    lines.push(...sources(data, lines));
    return {traces: [...lines, points(runs, choice, run => run.tokens, run => run.loss, {name: "measured", showlegend: false})],
      layout: layout(axis("training tokens", "count", choice), axis(LOSS, "loss", choice, lines.flatMap(line => line.y)))};
  },

  residuals(data, choice) {
    const fit = data.fits[choice.n];
    const runs = data.runs.filter(run => run.run in fit.residuals && inRung(run, choice));
    const band = [-1, 1].map(side => side * fit.noise);
    return {traces: [points(runs, choice, run => total(run, choice), run => fit.residuals[run.run])], layout: layout(
      axis(cLabel(choice), "flops", choice), axis("measured over fitted loss (%)", "linear", choice), {shapes: [
        {type: "rect", xref: "paper", x0: 0, x1: 1, y0: band[0], y1: band[1], fillcolor: "#eceff2", line: {width: 0}, layer: "below"},
        {type: "line", xref: "paper", x0: 0, x1: 1, y0: 0, y1: 0, line: {color: SOFT, width: 1}, layer: "below"}],
      annotations: [{xref: "paper", x: 1, y: band[1], yanchor: "bottom", xanchor: "right", showarrow: false, font: {size: 12, color: SOFT},
        text: `±1 standard deviation, ${digits(fit.noise, 2)} %`}]})};
  },

  windows(data, choice) {
    const {edges, runs, sizes, fits} = data.windows;
    const fit = fits.find(each => each.low === choice.low && each.high === choice.high);
    const known = Object.fromEntries(data.runs.map(run => [run.run, run]));
    const part = (name, colour, symbol, chosen) => {
      const where = runs.map((_, i) => i).filter(i => fit && chosen(sizes[i]) && known[runs[i]]);
      return {type: "scatter", mode: "markers", name, x: where.map(i => sizes[i]), y: where.map(i => fit.errors[i]), hoverinfo: "text",
        customdata: where.map(i => runs[i]), marker: {color: colour, symbol, size: 9},
        text: where.map(i => `${words(known[runs[i]], choice)}<br>${digits(fit.errors[i], 3)} % above the prediction`)};
    };
    const [low, high] = [edges[choice.low], edges[choice.high]], slack = 1.03;
    return {traces: [part("fitted", BLUE, "circle", size => size >= low && size <= high), part("larger, predicted", ORANGE, "diamond", size => size > high),
      part("smaller, predicted", SOFT, "triangle-down", size => size < low)],
    layout: layout({...axis("6 N D (FLOPs)", "flops", choice), range: choice.log ? [edges[0] / 1.4, edges.at(-1) * 1.4].map(Math.log10) : undefined},
      axis("measured over predicted loss (%)", "linear", choice),
      {dragmode: "select", selectdirection: "h", shapes: [
        {type: "rect", yref: "paper", y0: 0, y1: 1, x0: low / slack, x1: high * slack, fillcolor: "#dcebf5", line: {width: 0}, layer: "below"},
        {type: "line", xref: "paper", x0: 0, x1: 1, y0: 0, y1: 0, line: {color: SOFT, width: 1}, layer: "below"}]})};
  },

  surface(data, choice) {
    const {parameters, tokens, loss} = data.surface, best = data.optimum, fitted = {...choice, n: data.convention};
    const runs = data.runs.filter(run => counts(run) && inRung(run, choice));
    const look = {colorscale: "Cividis", reversescale: true, cmin: Math.min(...loss.flat()), cmax: Math.max(...loss.flat())};
    const marked = points(runs, fitted, run => of(run, fitted), run => run.tokens, {showlegend: false});
    marked.marker = {...marked.marker, ...look, color: runs.map(run => run.loss), line: {color: "#ffffff", width: 1.5}, size: runs.map(run => held(run) ? 16 : 11)};
    const inside = best.budget.map((_, i) => i).filter(i => best.parameters[i] <= parameters.at(-1) && best.parameters[i] >= parameters[0]
      && best.tokens[i] <= tokens.at(-1) && best.tokens[i] >= tokens[0]);
    return {traces: [
      {type: "contour", x: parameters, y: tokens, z: loss, colorscale: look.colorscale, reversescale: true, zmin: look.cmin, zmax: look.cmax, ncontours: 16,
        line: {width: 0.6, color: "#ffffff"}, colorbar: {title: {text: "loss", side: "right"}, thickness: 12, outlinewidth: 0},
        hovertemplate: "N %{x:.3s}<br>D %{y:.3s}<br>loss %{z:.4f}<extra></extra>"},
      {type: "scatter", mode: "lines", name: "compute-optimal", x: inside.map(i => best.parameters[i]), y: inside.map(i => best.tokens[i]),
        line: {color: ORANGE, dash: "dash", width: 2.5}, hoverinfo: "name"}, marked],
    layout: layout({...axis(data.conventions[data.convention], "count", choice), showgrid: false}, {...axis("training tokens", "count", choice), showgrid: false})};
  },

  isoflops(data, choice) {
    const known = Object.fromEntries(data.runs.map(run => [run.run, run])), fitted = {...choice, n: data.convention};
    const {groups, optima} = data.isoflops, used = groups.filter(group => group.kept);
    const traces = groups.flatMap(group => {
      const place = used.indexOf(group), colour = place < 0 ? "#8a929b" : `hsl(${250 - 210 * place / Math.max(1, used.length - 1)} 60% 38%)`;
      const name = `${power(group.budget)}${group.kept ? "" : ", refused"}`;
      const measured = {type: "scatter", mode: "markers", x: group.n, y: group.loss, name, legendgroup: name, customdata: group.runs, hoverinfo: "text",
        text: group.runs.map(run => words(known[run], fitted)), marker: {color: colour, size: 8, symbol: group.kept ? "circle" : "circle-open"}};
      return group.line ? [measured, {type: "scatter", mode: "lines", x: group.line.n, y: group.line.loss, legendgroup: name, showlegend: false,
        line: {color: colour, width: 1.5}, hoverinfo: "skip"}] : [measured];
    });
    traces.push({type: "scatter", mode: "markers", name: "minimum", x: optima.parameters, y: optima.loss, marker: {color: INK, symbol: "diamond", size: 9},
      error_x: {type: "data", symmetric: false, array: optima.parameters_high.map((each, i) => each - optima.parameters[i]),
        arrayminus: optima.parameters_low.map((each, i) => optima.parameters[i] - each), color: INK, thickness: 1.3},
      hovertemplate: "N* %{x:.3s}<br>loss %{y:.4f}<extra>minimum</extra>"});
    return {traces, layout: layout(axis(data.conventions[data.convention], "count", choice), axis(LOSS, "loss", choice, groups.flatMap(group => group.loss)))};
  },

  frontiers(data, choice) {
    const panels = [["parameters", "x", "y"], ["tokens", "x2", "y2"]];
    const traces = Object.entries(data.frontiers).flatMap(([name, lines], number) => panels.flatMap(([quantity, xaxis, yaxis]) => {
      const colour = PROCEDURES[number % PROCEDURES.length], shared = {legendgroup: name, xaxis, yaxis, showlegend: false};
      const band = {type: "scatter", x: [...lines.budget, ...[...lines.budget].reverse()], y: [...lines[`${quantity}_low`], ...[...lines[`${quantity}_high`]].reverse()],
        fill: "toself", fillcolor: `${colour}26`, line: {width: 0}, mode: "lines", hoverinfo: "skip", ...shared};
      const line = {type: "scatter", mode: "lines", x: lines.budget, y: lines[quantity], name, line: {color: colour, width: 2}, ...shared,
        showlegend: quantity === "parameters", hovertemplate: `${name}<br>C %{x:.3~e}<br>${quantity} %{y:.3s}<extra></extra>`};
      const found = lines.optima ? [{type: "scatter", mode: "markers", x: lines.optima.budget, y: lines.optima[quantity], marker: {color: colour, size: 6},
        hovertemplate: `${name}: optimum<br>C %{x:.3~e}<br>${quantity} %{y:.3s}<extra></extra>`, ...shared}] : [];
      return [band, line, ...found];
    }));
    const x = {...axis("compute C (FLOPs)", "flops", choice), nticks: 4};
    const beyond = {type: "rect", yref: "paper", y0: 0, y1: 1, x0: data.largest, x1: Math.max(...Object.values(data.frontiers).flatMap(each => each.budget)),
      fillcolor: "#f1f3f5", line: {width: 0}, layer: "below"};
    return {traces, layout: layout({...x, domain: [0, 0.43]}, axis("N*", "count", choice), {
      xaxis2: {...x, domain: [0.57, 1], anchor: "y2"}, yaxis2: {...axis("D*", "count", choice), anchor: "x2"},
      shapes: [beyond, {...beyond, xref: "x2", yref: "paper"}]})};
  },

  profiles(data, choice) {
    const names = [...new Set(data.profiles.map(row => row.parameter))];
    const traces = names.map((name, number) => {
      const rows = data.profiles.filter(row => row.parameter === name).sort((a, b) => a.level - b.level), centre = data.parameters[name];
      const sides = [...[...rows].reverse().map(row => [row.low, row.level]), ...rows.map(row => [row.high, row.level])].filter(([value]) => value != null && value > 0);
      return {type: "scatter", mode: "lines+markers", name, x: sides.map(([value]) => value / centre), y: sides.map(([, level]) => 100 * level),
        line: {color: [...PROCEDURES, "#6b5b00"][number % 5]}, marker: {size: 5}, text: sides.map(([value]) => digits(value)),
        hovertemplate: `${name} = %{text}<br>refused at %{y:.0f} %<extra></extra>`};
    });
    const level = 100 * data.level;
    return {traces, layout: layout(axis("value over the estimate", "count", choice), {...axis("refused at (%)", "linear", choice), range: [0, 101]}, {
      shapes: [{type: "line", xref: "paper", x0: 0, x1: 1, y0: level, y1: level, line: {color: SOFT, width: 1, dash: "dash"}}]})};
  },

  collapse(data, choice) {
    const low = data.parameters.E;
    const traces = data.runs.filter(run => run.excluded === "" && inRung(run, choice) && run.curve.loss.length > 1).map(run => {
      const {tokens, loss} = run.curve;
      return {type: "scatter", mode: "lines+markers", showlegend: false, customdata: loss.map(() => run.run), x: tokens.map(each => each / tokens.at(-1)),
        y: loss.map(each => (each - low) / (loss.at(-1) - low)), line: {color: run.colour, width: 1.5}, marker: {size: 4}, hoverinfo: "text",
        text: loss.map(() => words(run, choice))};
    });
    return {traces, layout: layout(axis("share of the run's tokens", "linear", choice), axis("loss above E over its final value", "loss", choice, traces.flatMap(trace => trace.y)))};
  },

  forecast(data, choice) {
    const rows = data.forecast, names = rows.map(row => row.run);
    const forecast = {type: "scatter", mode: "markers", name: `forecast, ${Math.round(100 * data.level)} % interval`, x: rows.map(row => row.loss), y: names,
      customdata: names, marker: {color: BLUE, size: 10, symbol: "circle"}, error_x: {type: "data", symmetric: false, color: BLUE, thickness: 2, width: 8,
        array: rows.map(row => row.high - row.loss), arrayminus: rows.map(row => row.loss - row.low)},
      text: rows.map(row => `${digits(row.low)} to ${digits(row.high)}`), hovertemplate: "%{y}<br>forecast %{x:.4f}<br>%{text}<extra></extra>"};
    const measured = {type: "scatter", mode: "markers", name: "measured", x: rows.map(row => row.measured), y: names, customdata: names,
      marker: {color: ORANGE, size: 14, symbol: "star"}, hovertemplate: "%{y}<br>measured %{x:.4f}<extra></extra>"};
    return {traces: [forecast, measured], layout: layout(axis(LOSS, "linear", choice), {type: "category", automargin: true, gridcolor: LINE, title: {text: "run"}})};
  },
};
