-- page/style.lua: the page's style sheet.

return [[
:root {
  color-scheme: light dark;
  --text: #1a1d21; --soft: #565d66; --ground: #fbfbfa; --card: #ffffff; --line: #d5d8dc;
  --link: #0b5cad; --accent: #2f6f9f; --bad: #b3261e; --bad-ground: #fdecea; --good: #1e6b3a;
  --warn: #8a5300;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e6e8ea; --soft: #a4abb3; --ground: #15181b; --card: #1d2125; --line: #3a4048;
    --link: #86b9ee; --accent: #6ba6d3; --bad: #ff8a80; --bad-ground: #3b1f1d; --good: #7fd19b;
    --warn: #f0b45c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 2px; }
.skip { position: absolute; left: -100vw; top: 0; padding: .5rem 1rem; background: var(--card); }
.skip:focus { left: 0; z-index: 1; }
body > header, main, footer { max-width: 80rem; margin: 0 auto; padding: 0 1.25rem; }
body > header {
  display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1.5rem; padding-top: .75rem;
  padding-bottom: .75rem; border-bottom: 1px solid var(--line);
}
.brand { font-weight: 700; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 0; padding: 0;
  list-style: none; }
nav a { display: inline-block; padding: .35rem 0; text-decoration: none; }
nav a:hover { text-decoration: underline; }
nav a[aria-current] { color: var(--text); font-weight: 600;
  border-bottom: 2px solid var(--accent); }
header form { margin-left: auto; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 1.5rem 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.125rem; margin: 2rem 0 .5rem; }
footer { margin-top: 2.5rem; padding-top: .75rem; padding-bottom: 2rem; color: var(--soft);
  font-size: .875rem; }
table { width: 100%; border-collapse: collapse; background: var(--card); }
th, td { padding: .45rem .75rem .45rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
th:first-child, td:first-child { padding-left: .75rem; }
th { font-size: .8125rem; color: var(--soft); font-weight: 600; white-space: nowrap; }
caption { text-align: left; color: var(--soft); font-size: .875rem; padding: .5rem .75rem .1rem; }
.frame { background: var(--card); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
time, .whole { white-space: nowrap; }
.id, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  font-size: .8125rem; overflow-wrap: anywhere; }
.message { overflow-wrap: anywhere; }
.frame { border: 1px solid var(--line); border-radius: 6px; overflow-x: auto; }
.frame table tr:last-child td { border-bottom: 0; }
.state { font-weight: 600; white-space: nowrap; }
.bad { color: var(--bad); } .good { color: var(--good); } .warn { color: var(--warn); }
.soft { color: var(--soft); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .75rem;
  margin: .25rem 0; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 36rem;
  overflow-y: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem;
  margin: 1rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .6rem .75rem; }
.tiles b { display: block; font-size: 1.375rem; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: .875rem; }
form.filters { display: flex; flex-wrap: wrap; gap: .75rem; align-items: end; margin: 0 0 1rem; }
label { display: block; font-size: .8125rem; color: var(--soft); }
input, select, button, .button { font: inherit; color: var(--text); background: var(--card);
  border: 1px solid var(--soft); border-radius: 5px; padding: .4rem .6rem; min-height: 2.5rem; }
input, select { width: 100%; }
.filters div { flex: 1 1 9rem; } .filters div.wide { flex-grow: 2; }
.filters div.go { flex: 0 0 auto; display: flex; gap: .75rem; align-items: center; }
button, .button { cursor: pointer; font-weight: 600; display: inline-block; text-decoration: none; }
button.main { background: var(--accent); border-color: var(--accent); color: var(--ground); }
button.plain { border: 0; background: none; color: var(--link); padding: .35rem 0;
  font-weight: 400; }
td button { min-height: 2rem; padding: .15rem .6rem; }
.note { border-left: 4px solid var(--accent); background: var(--card); padding: .6rem .9rem;
  margin: 1rem 0; overflow-wrap: anywhere; }
.note.wrong { border-color: var(--bad); background: var(--bad-ground); }
.pages { display: flex; gap: .75rem; margin: 1rem 0; }
details > summary { cursor: pointer; padding: .35rem 0; }
.login { max-width: 24rem; } .login input { margin-bottom: 1rem; }
.chart { width: 100%; height: auto; display: block; }
.chart .bar { fill: var(--accent); } .chart .fail { fill: var(--bad); }
.chart line { stroke: var(--line); } .chart text { fill: var(--soft); font-size: 9px; }
.key { display: inline-block; width: .8rem; height: .8rem; margin-right: .35rem;
  background: var(--accent); }
.key.fail { background: var(--bad); margin-left: 1rem; }
@media (max-width: 44rem) {
  body > header, main, footer { padding-left: .9rem; padding-right: .9rem; }
  header form { margin-left: 0; }
  .frame { border: 0; overflow: visible; background: none; }
  .cards caption { display: block; padding: 0 0 .4rem; }
  .cards, .cards tbody, .cards tr, .cards td { display: block; }
  .cards, .frame .cards { background: none; }
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden;
    clip-path: inset(50%); }
  .cards tr { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
    margin-bottom: .75rem; padding: .4rem .75rem; }
  .cards td, .cards td:first-child { border: 0; padding: .15rem 0; display: grid;
    grid-template-columns: 6.5rem minmax(0, 1fr); gap: .5rem; text-align: left;
    white-space: normal; }
  .cards td::before { content: attr(data-label); color: var(--soft); font-size: .8125rem; }
  .cards td.none { display: none; }
  dl { grid-template-columns: 6.5rem minmax(0, 1fr); gap: .3rem .5rem; }
  dt { font-size: .875rem; }
  .chart text { font-size: 22px; }
}
]]
