"use strict";
// Draws the figures that lie in the page as JSON: unpacks plotly, fits labels to the width, follows light, dark and print.

const NARROW_PX = 640;
const FONT_PX = 12;
const pen = document.createElement("canvas").getContext("2d");

function fontFamily() {
  return getComputedStyle(document.body).fontFamily;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

async function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = await unpacked(document.getElementById("plotly").textContent);
  document.head.append(script); // allowed by its hash in the content security policy
  if (typeof Plotly === "undefined") throw new Error("the plot library did not start");
}

function decoded(text) {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

function encoded(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function widthOf(text) {
  pen.font = `${FONT_PX}px ${fontFamily()}`;
  return pen.measureText(text).width;
}

// The longest beginning of an escaped text that is no wider than so many pixels.
function fitted(text, room) {
  const plain = decoded(text);
  if (widthOf(plain) <= room) return text;
  let length = plain.length;
  while (length > 1 && widthOf(plain.slice(0, length) + "…") > room) length -= 1;
  return encoded(plain.slice(0, length).trimEnd() + "…");
}

// The annotations for a plot of this width: wide ones dropped where it is narrow, row labels cut to what their value leaves.
function annotationsFor(layout, width) {
  const all = (layout.annotations || []).filter((note) => note.name !== "wide" || width >= NARROW_PX);
  const room = width - layout.margin.l - layout.margin.r;
  const values = new Map(all.filter((note) => note.name === "value").map((note) => [note.y, widthOf(decoded(note.text))]));
  return all.map((note) => {
    if (note.name === "label") return { ...note, text: fitted(note.text, room - (values.get(note.y) || 0) - 14) };
    if (note.name === "wide") return { ...note, text: fitted(note.text, layout.margin.r - 12) };
    return note;
  });
}

function layoutFor(figure, width) {
  const layout = structuredClone(figure.layout);
  const narrow = width < NARROW_PX && layout.meta ? layout.meta.narrow || {} : {};
  layout.margin = { ...layout.margin, ...narrow.margin };
  layout.annotations = annotationsFor(layout, width);
  layout.width = width;
  layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
  layout.font = { family: fontFamily(), size: FONT_PX, color: colour("--ink") };
  layout.hoverlabel = { bgcolor: colour("--card"), bordercolor: colour("--muted"), font: { color: colour("--ink") }, align: "left" };
  for (const key of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
    Object.assign(layout[key], { gridcolor: colour("--grid"), linecolor: colour("--muted"), tickcolor: colour("--muted") });
    layout[key].tickfont = { color: colour("--muted") };
    if (layout[key].title) layout[key].title.font = { color: colour("--muted"), size: FONT_PX };
  }
  for (const shape of layout.shapes || []) shape.line.color = colour("--ink");
  return layout;
}

// Marks that are neither a workload nor a part (error bars, ticks) are drawn in the ink of the page.
function dataFor(figure) {
  const ink = colour("--ink");
  return structuredClone(figure.data).map((trace) => {
    if (trace.error_x) trace.error_x.color = ink;
    if (trace.meta && trace.meta.ink) trace.marker.line.color = ink;
    return trace;
  });
}

function draw(figures) {
  const config = { displayModeBar: false, showTips: false, responsive: false, doubleClick: false };
  for (const [area, figure] of figures) {
    if (area.clientWidth) Plotly.react(area, dataFor(figure), layoutFor(figure, area.clientWidth), config);
  }
}

async function start() {
  const scripts = [...document.querySelectorAll("script[data-figure]")];
  const figures = scripts.map((script) => [document.getElementById(script.dataset.figure), JSON.parse(script.textContent)]);
  if (figures.length) {
    await loadPlotly();
    draw(figures);
  }
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => draw(figures), 120);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(figures));
  addEventListener("beforeprint", () => draw(figures));
  addEventListener("afterprint", () => draw(figures));
  document.documentElement.dataset.drawn = "yes";
}

start().catch((error) => {
  const note = document.getElementById("no-plots");
  note.textContent = `The plots could not be drawn in this browser (${error.message}); every number also stands in a table.`;
  note.hidden = false;
});
