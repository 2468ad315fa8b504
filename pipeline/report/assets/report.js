// Draws the report's charts with Observable Plot, each when it comes into view.
// Everything that comes from data is set as text, never as markup.
"use strict";
(() => {
  const colours = ["var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)"];
  const style = { background: "transparent", fontSize: "12px", overflow: "visible" };
  const short = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);
  const percent = (share) =>
    share > 0.999 && share < 1 ? "> 99.9 %"
      : (share * 100).toLocaleString("en", { maximumFractionDigits: share < 0.01 ? 2 : 1 }) + " %";
  const figure = (value) =>
    value === null || value === undefined ? "–"
      : typeof value === "string" ? value
      : Number.isInteger(value) ? value.toLocaleString("en")
      : Number(value.toPrecision(5)).toLocaleString("en", { maximumSignificantDigits: 5 });

  const tick = (value) =>
    Math.abs(value) >= 1e6
      ? new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 6 }).format(value)
      : figure(value);

  function make(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      entry.target.draw();
    }
  }, { rootMargin: "300px" });

  function whenSeen(node, draw) {
    node.draw = draw;
    watcher.observe(node);
  }

  // ------------------------------------------------------- figures that carry their data
  const kinds = {
    lines(spec, width) {
      const names = spec.lines.map((line) => line.name);
      const points = spec.lines.flatMap((line) => line.points.map(([x, y]) => ({ x, y, name: line.name })));
      return Plot.plot({
        width, height: Math.min(300, width * 0.62), style, marginLeft: 54, marginBottom: 42, grid: true,
        x: { label: spec.x, labelOffset: 38, tickFormat: tick, ticks: 6 }, y: { label: spec.y },
        color: { domain: names, range: colours, legend: true },
        ariaLabel: spec.y + " over " + spec.x,
        marks: [
          Plot.lineY(points, { x: "x", y: "y", stroke: "name", z: "name", strokeWidth: 1.8 }),
          Plot.dot(points.length < 60 ? points : [], { x: "x", y: "y", fill: "name", z: "name", r: 2.5 }),
          Plot.tip(points, Plot.pointer({ x: "x", y: "y", title: (d) => `${d.name}\n${spec.x} ${figure(d.x)}\n${spec.y} ${figure(d.y)}`, fill: "var(--paper)" })),
        ],
      });
    },
    waterfall(spec, width) {
      const names = spec.steps.map((step) => step.name);
      return Plot.plot({
        width, height: 26 * names.length + 50, style, marginRight: 80, marginBottom: 46,
        marginLeft: 16 + 7 * Math.max(...names.map((name) => name.length)),
        x: { label: "seconds since the start", labelOffset: 42, grid: true }, y: { domain: names, label: null },
        color: { domain: ["done", "cached", "failed", "stopped", "skipped", "running"],
                 range: ["var(--c1)", "var(--c3)", "var(--bad)", "var(--warn)", "var(--c5)", "var(--c4)"] },
        ariaLabel: "time of each step",
        marks: [
          Plot.barX(spec.steps, { y: "name", x1: "start", x2: "end", fill: "state", rx: 2, insetTop: 3, insetBottom: 3 }),
          Plot.text(spec.steps, { y: "name", x: "end", text: (d) => d.label, textAnchor: "start", dx: 4 }),
        ],
      });
    },
  };

  for (const node of document.querySelectorAll("figure[data-plot]")) {
    whenSeen(node, () => {
      const spec = JSON.parse(node.dataset.plot);
      const width = Math.max(280, Math.min(node.clientWidth || 600, spec.kind === "waterfall" ? 1000 : 560));
      const drawn = kinds[spec.kind](spec, width);
      node.replaceChildren(drawn);
    });
  }

  // --------------------------------------------------------------- the columns of the data
  const holder = document.getElementById("columns-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const cards = document.getElementById("columns");
  const search = document.getElementById("columns-search");
  const order = document.getElementById("columns-order");
  const more = document.getElementById("columns-more");
  const count = document.getElementById("columns-count");
  const PAGE = 24;
  let shown = [];
  let drawnCards = 0;

  function chart(column, width) {
    const series = column.series.filter((one) => one.rows > 0);
    const colourOf = (name) => colours[data.series.indexOf(name) % colours.length];
    const label = `distribution of ${column.name} in ${series.map((one) => one.name).join(", ")}`;
    const buckets = series.flatMap((one) => (one.buckets || []).map(([low, high, share, height]) => ({ low, high, share, height, name: one.name })));
    if (buckets.length) {
      return Plot.plot({
        width, height: 52 * series.length + 44, style, marginLeft: 8, marginRight: 12, marginTop: 6,
        x: { label: null, ticks: 3, tickFormat: tick },
        y: { axis: null }, fy: { domain: series.map((one) => one.name), axis: null, padding: 0.15 },
        ariaLabel: label,
        marks: [
          Plot.rectY(buckets, { x1: "low", x2: "high", y: "height", fy: "name", fill: (d) => colourOf(d.name), insetLeft: 0.5, insetRight: 0.5,
            title: (d) => `${d.name}: ${figure(d.low)} to ${figure(d.high)}\n${percent(d.share)} of the rows` }),
          Plot.ruleY([0], { stroke: "currentColor", strokeOpacity: 0.4 }),
        ],
      });
    }
    // By number: two long texts may be cut to the same one.
    const names = column.values || [];
    const values = series.flatMap((one) => (one.shares || []).map((share, index) => ({ index, share, name: one.name })));
    if (!values.length) return null;
    const told = (d) => `${d.name}: ${names[d.index]}\n${percent(d.share)} of the ${column.of}`;
    return Plot.plot({
      width, height: names.length * (10 * series.length + 8) + 34, style, marginLeft: 124, marginTop: 4,
      x: { label: null, percent: true, ticks: 3, tickFormat: (v) => v + " %" },
      fy: { domain: names.map((_, index) => index), label: null, tickFormat: (index) => short(names[index], 16), padding: 0.2 },
      y: { domain: series.map((one) => one.name), axis: null },
      ariaLabel: label,
      marks: [
        Plot.barX(values.filter((d) => d.share !== null), { x: "share", y: "name", fy: "index", fill: (d) => colourOf(d.name), title: told }),
        Plot.text(values.filter((d) => d.share === null), { x: 0, y: "name", fy: "index", text: () => "?", textAnchor: "start", dx: 3, fill: (d) => colourOf(d.name) }),
      ],
    });
  }

  function card(column) {
    const box = make("article", { class: "card" });
    box.append(make("h3", {}, column.name));
    const note = make("p", {}, column.kind + (column.drift ? ` · distance ${figure(column.drift.distance)}` : ""));
    if (column.flags.length) note.append(" · ", make("span", { class: "flag" }, column.flags.join(", ")));
    box.append(note);
    const plot = make("div", { class: "plot" });
    box.append(plot);
    whenSeen(plot, () => {
      const drawn = chart(column, Math.max(240, plot.clientWidth));
      plot.replaceChildren(drawn || make("p", {}, column.masked ? "values are masked" : "no values to draw"));
    });
    const body = make("tbody");
    for (const [name, read] of data.facts) {
      const cells = column.series.map((one) => (read === "missing" || read === "zeros" ? (one[read] === null ? "–" : percent(one[read])) : figure(one[read])));
      if (cells.every((cell) => cell === "–")) continue;
      body.append(make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((cell) => make("td", { class: "n" }, cell))));
    }
    const heads = column.series.map((one) => make("th", { scope: "col", class: "n" }, one.name));
    const clipped = column.series.find((one) => one.beyond > 0);
    if (clipped) box.append(make("p", {}, `${percent(clipped.beyond)} of the rows of ${clipped.name} are beyond the picture`));
    const drawn = (column.values || []).length;
    const distinct = Math.max(0, ...column.series.map((one) => one.distinct || 0));
    if (drawn && drawn < distinct) box.append(make("p", {}, `${drawn} of ${figure(distinct)} values are drawn`));
    for (const one of column.series.filter((each) => each.at_most !== undefined)) {
      box.append(make("p", {}, `?: not listed in the statistics of ${one.name}, at most ${percent(one.at_most)} of the ${column.of}`));
    }
    box.append(make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...heads)), body));
    return box;
  }

  function addPage() {
    for (const column of shown.slice(drawnCards, drawnCards + PAGE)) cards.append(card(column));
    drawnCards = Math.min(drawnCards + PAGE, shown.length);
    more.hidden = drawnCards >= shown.length;
    more.textContent = `show ${Math.min(PAGE, shown.length - drawnCards)} more of ${shown.length - drawnCards}`;
    count.textContent = `${drawnCards} of ${shown.length} columns`;
  }

  const orders = {
    flags: (a, b) => b.rank - a.rank,
    name: (a, b) => a.name.localeCompare(b.name),
    missing: (a, b) => Math.max(...b.series.map((s) => s.missing)) - Math.max(...a.series.map((s) => s.missing)),
    drift: (a, b) => (b.drift ? b.drift.distance : -1) - (a.drift ? a.drift.distance : -1),
  };

  function refresh() {
    const wanted = search.value.trim().toLowerCase();
    shown = data.columns.filter((column) => column.name.toLowerCase().includes(wanted)).sort(orders[order.value]);
    cards.replaceChildren();
    drawnCards = 0;
    addPage();
  }

  search.addEventListener("input", refresh);
  order.addEventListener("change", refresh);
  more.addEventListener("click", addPage);
  refresh();
})();
