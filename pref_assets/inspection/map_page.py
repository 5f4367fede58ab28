"""The page of the map: one HTML file that needs nothing else, drawn on a canvas."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>__TITLE__</title>
<style>
:root { --back: #fff; --text: #1d1d28; --soft: #6b6b7b; --line: #dcdce6; --panel: #f7f7fb; --ring: #111; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14141b; --text: #ececf4; --soft: #9a9aab; --line: #33333f; --panel: #1c1c25; --ring: #fff; }
}
* { box-sizing: border-box; }
body { margin: 0; display: grid; grid-template-columns: 1fr 330px; height: 100vh; background: var(--back);
  color: var(--text); font: 14px/1.4 system-ui, sans-serif; }
#stage { position: relative; overflow: hidden; }
canvas { position: absolute; inset: 0; width: 100%; height: 100%; cursor: crosshair; touch-action: none; }
aside { border-left: 1px solid var(--line); background: var(--panel); padding: 14px 16px; overflow-y: auto; }
h1 { font-size: 16px; margin: 0 0 2px; }
p { margin: 0 0 10px; color: var(--soft); }
label { display: block; font-size: 12px; color: var(--soft); margin: 8px 0 2px; }
select, input { width: 100%; padding: 5px 6px; border: 1px solid var(--line); border-radius: 5px; font: inherit;
  background: var(--back); color: var(--text); }
#legend { margin-top: 12px; }
#legend button { display: grid; grid-template-columns: 14px 1fr auto; gap: 8px; width: 100%; text-align: left;
  border: 0; background: none; color: inherit; font: inherit; padding: 3px 4px; border-radius: 4px; cursor: pointer; }
#legend button:hover, #legend button:focus-visible { background: var(--line); }
#legend button.off { opacity: .35; }
#legend i { width: 12px; height: 12px; border-radius: 50%; margin-top: 4px; }
#legend span:last-child { color: var(--soft); font-variant-numeric: tabular-nums; }
#tip { position: absolute; max-width: 420px; padding: 9px 11px; border: 1px solid var(--line); border-radius: 6px;
  background: var(--back); box-shadow: 0 4px 18px rgb(0 0 0 / .18); pointer-events: none; display: none;
  font-size: 13px; }
#tip div { margin-top: 5px; white-space: pre-wrap; overflow-wrap: anywhere; }
#tip b { color: var(--soft); font-weight: 600; }
@media (max-width: 760px) {
  body { grid-template-columns: 1fr; grid-template-rows: 60vh auto; height: auto; }
  aside { border-left: 0; border-top: 1px solid var(--line); }
}
</style>
</head>
<body>
<div id="stage"><canvas aria-label="Points of the map"></canvas><div id="tip"></div></div>
<aside>
<h1>__TITLE__</h1>
<p id="shown"></p>
<label for="view">Clusters</label><select id="view"></select>
<label for="subset">Mark the pairs of a subset</label><select id="subset"></select>
<label for="find">Mark pairs that say</label><input id="find" type="search" placeholder="a word">
<p id="counts" style="margin-top:8px"></p>
<div id="legend"></div>
<p style="margin-top:12px">Wheel or pinch zooms, dragging moves, a double click shows all. Click a cluster to see it
alone.</p>
</aside>
<script id="data" type="application/json">__DATA__</script>
<script>
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const canvas = document.querySelector("canvas"), pen = canvas.getContext("2d"), tip = $("tip");
const n = DATA.points.length, spoken = DATA.points.map(p => [p.prompt, p.chosen, p.rejected].join(" ").toLowerCase());
let view = DATA.views[0], marked = null, only = new Set(), zoom = 1, shiftX = 0, shiftY = 0, over = -1;

const dark = window.matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => show());
function colour(cluster) {
  if (cluster < 0) return "#9a9aa5";
  const light = [46, 60, 36][Math.floor(cluster / 8) % 3] + (dark.matches ? 16 : 0);
  return `hsl(${(cluster * 137.508 + 250) % 360} ${cluster % 2 ? 62 : 72}% ${light}%)`;
}
function fill(select, names) {
  select.replaceChildren(...names.map((name, i) => new Option(name, i)));
}
function box() {
  const width = canvas.clientWidth, height = canvas.clientHeight, side = Math.min(width, height) * 0.92;
  return {width, height, side, left: (width - side) / 2, top: (height - side) / 2};
}
function place(i) {
  const b = box();
  return [b.left + view.x[i] * b.side * zoom + shiftX, b.top + (1 - view.y[i]) * b.side * zoom + shiftY];
}
const visible = i => !only.size || only.has(view.cluster[i]);
function draw() {
  const ratio = window.devicePixelRatio || 1, b = box();
  canvas.width = b.width * ratio; canvas.height = b.height * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, b.width, b.height);
  const size = Math.max(1.6, Math.min(7, (n > 1500 ? 2.4 : 3.6) * Math.sqrt(zoom)));
  const ring = getComputedStyle(document.documentElement).getPropertyValue("--ring");
  for (const pass of [false, true]) {
    for (let i = 0; i < n; i++) {
      const on = !marked || marked.has(i);
      if (on !== pass) continue;
      const [x, y] = place(i);
      if (x < -9 || y < -9 || x > b.width + 9 || y > b.height + 9) continue;
      pen.globalAlpha = !visible(i) ? 0.06 : on ? 0.9 : 0.22;
      pen.fillStyle = colour(view.cluster[i]);
      pen.beginPath(); pen.arc(x, y, marked && on ? size * 1.35 : size, 0, 7); pen.fill();
      if (marked && on && visible(i)) { pen.lineWidth = 1.1; pen.strokeStyle = ring; pen.stroke(); }
    }
  }
  pen.globalAlpha = 1;
  if (over >= 0) {
    const [x, y] = place(over);
    pen.lineWidth = 2; pen.strokeStyle = ring; pen.beginPath(); pen.arc(x, y, size * 2, 0, 7); pen.stroke();
  }
}
function count() {
  const members = new Map(), hits = new Map();
  let all = 0;
  for (let i = 0; i < n; i++) {
    const c = view.cluster[i];
    members.set(c, (members.get(c) || 0) + 1);
    if (marked && marked.has(i)) { hits.set(c, (hits.get(c) || 0) + 1); all++; }
  }
  $("counts").textContent = marked ? `${all} of the ${n} points are marked` : "";
  $("legend").replaceChildren(...view.clusters.filter(c => members.has(c.number)).map(c => {
    const button = document.createElement("button"), dot = document.createElement("i");
    const name = document.createElement("span"), share = document.createElement("span");
    dot.style.background = colour(c.number);
    name.textContent = c.label || `cluster ${c.number}`;
    const total = members.get(c.number);
    share.textContent = marked ? `${hits.get(c.number) || 0} of ${total}` : `${total}`;
    button.append(dot, name, share);
    button.title = `cluster ${c.number}: ${c.size} members in all`;
    button.setAttribute("aria-pressed", only.has(c.number));
    button.className = only.size && !only.has(c.number) ? "off" : "";
    button.onclick = () => { only.has(c.number) ? only.delete(c.number) : only.add(c.number); show(); };
    return button;
  }));
}
function show() { count(); draw(); }
function mark() {
  const subset = DATA.subsets[$("subset").value - 1], word = $("find").value.trim().toLowerCase();
  marked = subset || word ? new Set() : null;
  if (marked) {
    const from = subset ? subset.picked : spoken.keys();
    for (const i of from) if (!word || spoken[i].includes(word)) marked.add(i);
  }
  show();
}
function nearest(x, y) {
  let best = -1, least = 14 * 14;
  for (let i = 0; i < n; i++) {
    if (!visible(i)) continue;
    const [a, b] = place(i), d = (a - x) ** 2 + (b - y) ** 2;
    if (d < least) { least = d; best = i; }
  }
  return best;
}
function line(name, text) {
  const div = document.createElement("div"), b = document.createElement("b");
  b.textContent = name + " ";
  div.append(b, text);
  return div;
}
function tell(event) {
  const r = canvas.getBoundingClientRect(), x = event.clientX - r.left, y = event.clientY - r.top;
  over = nearest(x, y);
  if (over < 0) { tip.style.display = "none"; draw(); return; }
  const p = DATA.points[over], known = view.clusters.find(c => c.number === view.cluster[over]);
  const subsets = DATA.subsets.filter(s => s.set.has(over)).map(s => s.name).join(", ");
  tip.replaceChildren(line("cluster", (known && known.label) || `${view.cluster[over]}`), line("prompt", p.prompt),
    line("chosen", p.chosen), line("rejected", p.rejected), line("in", subsets || "no subset"), line("pair", p.id));
  tip.style.display = "block";
  tip.style.left = Math.max(4, Math.min(x + 14, r.width - tip.offsetWidth - 8)) + "px";
  tip.style.top = Math.max(4, Math.min(y + 14, r.height - tip.offsetHeight - 8)) + "px";
  draw();
}
function zoomAt(x, y, factor) {
  const b = box(), next = Math.max(0.6, Math.min(60, zoom * factor)), f = next / zoom;
  shiftX = (x - b.left) - ((x - b.left) - shiftX) * f;
  shiftY = (y - b.top) - ((y - b.top) - shiftY) * f;
  zoom = next; draw();
}
function reset() { zoom = 1; shiftX = shiftY = 0; draw(); }

const fingers = new Map();
canvas.addEventListener("pointerdown", e => { canvas.setPointerCapture(e.pointerId); fingers.set(e.pointerId, e); });
canvas.addEventListener("pointermove", e => {
  const before = fingers.get(e.pointerId);
  if (!before) return tell(e);
  tip.style.display = "none";
  if (fingers.size === 1) { shiftX += e.clientX - before.clientX; shiftY += e.clientY - before.clientY; draw(); }
  else {
    const other = [...fingers.values()].find(f => f.pointerId !== e.pointerId), r = canvas.getBoundingClientRect();
    const span = f => Math.hypot(f.clientX - other.clientX, f.clientY - other.clientY);
    zoomAt((e.clientX + other.clientX) / 2 - r.left, (e.clientY + other.clientY) / 2 - r.top, span(e) / span(before));
  }
  fingers.set(e.pointerId, e);
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, e => fingers.delete(e.pointerId));
canvas.addEventListener("pointerleave", () => { over = -1; tip.style.display = "none"; draw(); });
canvas.addEventListener("wheel", e => {
  e.preventDefault();
  const r = canvas.getBoundingClientRect();
  zoomAt(e.clientX - r.left, e.clientY - r.top, Math.exp(-e.deltaY / 400));
}, {passive: false});
canvas.addEventListener("dblclick", reset);
window.addEventListener("resize", draw);
DATA.subsets.forEach(s => { s.set = new Set(s.picked); });
$("shown").textContent = DATA.shown;
fill($("view"), DATA.views.map(v => v.name));
fill($("subset"), ["none", ...DATA.subsets.map(s => `${s.name} (${s.size} pairs)`)]);
$("view").onchange = () => { view = DATA.views[$("view").value]; only = new Set(); over = -1; reset(); show(); };
$("subset").onchange = mark;
$("find").oninput = mark;
show();
</script>
</body>
</html>
"""
