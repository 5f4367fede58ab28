"""The page of the gallery: one HTML file without a script that needs nothing else."""

from string import Template

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<style>
:root { --back: #f4f4f8; --card: #fff; --text: #1d1d28; --soft: #5f5f70; --line: #dcdce6; --good: #1d7a4c;
  --bad: #b03a3a; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14141b; --card: #1d1d26; --text: #ececf4; --soft: #a2a2b4; --line: #353542; --good: #5cc48f;
    --bad: #ef8a8a; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 20px; background: var(--back); color: var(--text);
  font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 20px; margin: 0; }
header p { margin: 2px 0 16px; color: var(--soft); }
article { display: grid; grid-template-columns: 300px 1fr; gap: 16px; margin-bottom: 14px; padding: 14px;
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
figure { margin: 0; display: flex; flex-wrap: wrap; gap: 6px; align-content: flex-start; }
figure img { max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 4px; }
figure img.tiny { width: 6rem; image-rendering: pixelated; }
.away { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
.text { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.prompt { font-weight: 600; margin-bottom: 8px; }
.facts { display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 10px; font-size: 12px; }
.facts span, .numbers span { padding: 1px 7px; border: 1px solid var(--line); border-radius: 9px; color: var(--soft);
  font-variant-numeric: tabular-nums; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; }
section { border-top: 3px solid var(--line); padding-top: 6px; min-width: 0; }
section.chosen { border-color: var(--good); }
section.rejected { border-color: var(--bad); }
h2 { font-size: 12px; margin: 0 0 4px; color: var(--soft); }
.chosen h2 { color: var(--good); }
.rejected h2 { color: var(--bad); }
.note { margin: 8px 0 0; font-size: 13px; color: var(--soft); white-space: pre-wrap; overflow-wrap: anywhere; }
.note b { color: var(--text); font-weight: 600; }
.numbers { font-size: 12px; margin-top: 8px; display: flex; flex-wrap: wrap; gap: 6px; }
code { font-size: 11px; color: var(--soft); overflow-wrap: anywhere; }
@media (max-width: 760px) { article, .sides { grid-template-columns: 1fr; } }
</style>
</head>
<body>
<header><h1>$title</h1><p>$shown</p></header>
<main>
$cards
</main>
</body>
</html>
""")

CARD = Template("""<article id="$pair">
<figure>$images</figure>
<div>
<p class="text prompt">$prompt</p>
<div class="facts">$facts</div>
<div class="sides">$sides</div>
<code>$pair</code>
</div>
</article>""")

SIDE = Template("""<section class="$side"><h2>$side</h2>
<p class="text">$text</p>$notes<div class="numbers">$numbers</div></section>""")
