"""How the page looks: the report's colours and type, laid over Gradio's plainest theme; no font is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "Menlo", "Consolas", "monospace")

BRAND = (
    '<svg viewBox="0 0 34 20" aria-hidden="true"><path class="a" d="M1 4c8 0 8 12 16 12s8-12 16-12"/>'
    '<path class="b" d="M1 16c8 0 8-12 16-12s8 12 16 12"/></svg>'
)

CSS = """
:root {
  --page: #f6f6f3; --card: #fff; --ink: #1b1d22; --muted: #5d6470; --line: #e3e4e0; --soft: #f1f1ed;
  --accent: #1d5fa8; --bad: #b4430a; --warn: #fff6e0; --warn-line: #e2b84c;
  --of-image: #c27c00; --of-text: #0072b2; --of-both: #3b4252; --for: #00966c; --against: #b03496;
}
.dark {
  --page: #121419; --card: #1a1d24; --ink: #eceef2; --muted: #a0a8b5; --line: #2d323c; --soft: #22262f;
  --accent: #7db7f0; --bad: #f2935c; --warn: #2b2514; --warn-line: #8a6d1d;
  --of-image: #f0ad2e; --of-text: #5cb3ec; --of-both: #c9cfda; --for: #1fb58a; --against: #d56bc0;
}
body, gradio-app { background: var(--page) !important; }
.gradio-container { max-width: 1200px !important; margin: 0 auto !important;
  padding: 22px 24px 48px !important; background: none !important;
  color: var(--ink); font-size: 15px; line-height: 1.5; }
.gradio-container .main, .gradio-container main { padding: 0 !important; max-width: none !important; }
.gradio-container p, .gradio-container h2, .gradio-container h3 { margin: 0; color: inherit; }
.gradio-container footer { display: none !important; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.quiet { color: var(--muted) !important; }
.html-container { padding: 0 !important; }
#columns { gap: 20px; }
#notice:not(:has(.notice)) { display: none; }
#answer { gap: 14px; }
svg .a { stroke: var(--of-image); } svg .b { stroke: var(--of-text); }
.brand svg, .empty svg { fill: none; stroke-width: 3.4; stroke-linecap: round; flex: none; }
.brand { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 10px; padding: 0 0 6px; }
.brand svg { width: 34px; }
.brand h1 { font-size: 17px; font-weight: 700; margin: 0; color: var(--ink); }
.brand span { color: var(--muted); overflow-wrap: anywhere; }

#ask { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 18px; gap: 14px; }
#ask .block { border: 0; background: none; padding: 0; box-shadow: none; overflow: visible; border-radius: 10px; }
#ask .form { border: 0; background: none; box-shadow: none; }
#picture { min-height: 200px; display: flex; flex-direction: column; }
#picture .image-container { flex: 1; min-height: 0; height: auto; }
#picture [data-testid="block-label"], #title [data-testid="block-info"], #title label > span {
  position: static; background: none; border: 0; box-shadow: none; padding: 0 0 6px; margin: 0;
  color: var(--ink); font-weight: 600; font-size: 14px; }
#picture [data-testid="block-label"] svg, #picture [data-testid="block-label"] span:has(svg) { display: none; }
#picture .image-container, #picture .upload-container, #picture button.center { border-radius: 10px; }
#picture .wrap { color: var(--muted); font-size: 15px; }
#picture button:has(.wrap) { border: 1.5px dashed var(--muted); background: var(--soft); min-height: 200px; }
#picture .icon-button-wrapper { right: 0; top: -4px; border: 0; box-shadow: none; background: none; }
#picture .icon-button-wrapper button { width: 32px; height: 32px; color: var(--ink); }
#picture img { border-radius: 10px; }
#title textarea, #title input { border: 1px solid var(--line); border-radius: 10px; background: var(--soft);
  color: var(--ink); padding: 10px 12px; font-size: 16px; box-shadow: none; }
#title :is(textarea, input):focus-visible { outline-offset: -2px !important; }
#title textarea::placeholder { color: var(--muted); opacity: 1; }
#actions { gap: 10px; flex-wrap: nowrap; }
#actions button { min-width: 0; border-radius: 10px; font-size: 15px; font-weight: 600; min-height: 44px; }
#answer-button { background: var(--accent); color: var(--card); border: 0; flex: 2; }
#clear-button { background: none; color: var(--ink); border: 1px solid var(--line); flex: 1; }
.gradio-container :is(button, textarea, input):focus-visible {
  outline: 2px solid var(--accent) !important; outline-offset: 2px; }
#examples { gap: 8px; padding-top: 4px; }
#examples .over { padding-bottom: 2px; }
.example { justify-content: flex-start !important; text-align: left; gap: 12px; font-weight: 400 !important;
  font-size: 14px !important; line-height: 1.35; color: var(--ink) !important; background: var(--soft) !important;
  border: 1px solid transparent !important; border-radius: 10px !important; padding: 6px 12px 6px 6px !important;
  min-height: 56px; white-space: normal;
  overflow-wrap: anywhere; box-shadow: none !important; }
.example:hover { border-color: var(--muted) !important; }
.example::before { content: ""; flex: none; width: 44px; height: 44px; border-radius: 7px;
  background: var(--line) center / cover; }

.notice { background: var(--warn); border: 1px solid var(--warn-line); border-radius: 10px; padding: 10px 14px;
  color: var(--ink); overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 20px 22px;
  color: var(--ink); }
.card + .card { margin-top: 16px; }
.over { color: var(--muted) !important; font-size: 13px; font-weight: 400 !important; }
.card h2 { font-size: clamp(28px, 4.4vw, 40px); line-height: 1.15; letter-spacing: -.022em; font-weight: 700;
  overflow-wrap: anywhere; }
.card .sureness { color: var(--muted); font-weight: 400; font-variant-numeric: tabular-nums; white-space: nowrap; }
.card .verdict { font-size: 17px; margin-top: 6px; }
.card .title { font-size: 17px; font-weight: 650; }
.columns { display: grid; gap: 14px 26px; margin-top: 18px; }
.columns.n3 { grid-template-columns: repeat(3, minmax(0, 1fr)); }
.card h3 { border: 0; padding: 0; margin: 0 !important; }
.card h2 { margin: 2px 0 0 !important; }
.card .column h3 { font-size: 14px; font-weight: 650; padding-bottom: 4px; border-bottom: 2px solid var(--hue); }
.column { --hue: var(--of-both); min-width: 0; }
.column.image { --hue: var(--of-image); }
.column.text { --hue: var(--of-text); }
.column table { width: 100%; border-collapse: collapse; margin-top: 6px; }
.column tbody, .column table { display: block; }
.column tr { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 1px 8px; padding: 3px 0; }
.card .column :is(table, tbody, tr, th, td) { border: 0 !important; background: none; }
.card .column :is(th, td) { padding: 0; font-weight: 400; font-size: 14px; text-align: left; color: var(--ink); }
.column th { overflow-wrap: anywhere; line-height: 1.3; }
.card .column .first :is(th, .share) { font-weight: 650; }
.card .column .share { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.column .bar { grid-column: 1 / -1; height: 6px; border-radius: 3px; overflow: hidden; }
.card .column td.bar { background: var(--soft) !important; }
.column .bar i { display: block; height: 6px; border-radius: 3px; background: var(--hue); min-width: 2px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 14px; margin-top: 4px !important; }
.legend i { display: inline-block; width: 14px; height: 14px; border-radius: 4px; margin-right: 7px;
  vertical-align: -2px; }
.legend .for { background: var(--for); } .legend .against { background: var(--against); }
.evidence { display: grid; grid-template-columns: minmax(0, 256px) minmax(0, 1fr); gap: 14px 24px; margin-top: 12px;
  align-items: start; }
.evidence.one { grid-template-columns: minmax(0, 1fr); }
.evidence figure { margin: 0; max-width: 256px; font-size: 14px; }
.frame { position: relative; border-radius: 10px; overflow: hidden; background: var(--line); }
.frame img { display: block; width: 100%; height: auto; margin: 0; border-radius: 0; }
.frame .heat { position: absolute; inset: 0; height: 100%; }
.bare .heat { display: none !important; }
.switch { display: inline-flex; align-items: center; gap: 8px; min-height: 36px; cursor: pointer; color: var(--ink); }
.switch input { width: 17px; height: 17px; accent-color: var(--accent); }
.words { font-size: 18px; line-height: 1.9; overflow-wrap: anywhere; }
.words mark { color: var(--ink); padding: 2px 5px; margin: 0 -1px; border-radius: 6px;
  -webkit-box-decoration-break: clone; box-decoration-break: clone;
  background: color-mix(in srgb, var(--tint) calc(var(--pull) * .62), transparent);
  box-shadow: inset 0 -2px 0 color-mix(in srgb, var(--tint) var(--pull), transparent); }
.words .for { --tint: var(--for); } .words .against { --tint: var(--against); }
.words + p { font-size: 14px; margin-top: 8px !important; }
#tabs button[role="tab"] { font-size: 15px; font-weight: 600; min-height: 40px; }
#tabs .tabitem { padding: 12px 0 0; border: 0; }
.ask-row { gap: 10px; align-items: stretch; padding-bottom: 14px; }
.ask-row button { flex: 0 0 auto; border-radius: 10px; font-weight: 600; min-height: 44px; font-size: 15px; }
.ask-row .primary { background: var(--accent); color: var(--card); border: 0; }
.ask-row input, .ask-row textarea { border: 1px solid var(--line); border-radius: 10px; background: var(--soft);
  color: var(--ink); padding: 10px 12px; font-size: 15px; box-shadow: none; }
.found { list-style: none; margin: 6px 0 0; padding: 0; }
.card .found li { display: grid; grid-template-columns: 72px minmax(0, 1fr) auto; gap: 14px; padding: 10px 0;
  align-items: center; border-top: 1px solid var(--line); margin: 0; }
.found li:first-child { border-top: 0; }
.found :is(img, .blank) { width: 72px; height: 72px; object-fit: cover; border-radius: 8px; margin: 0;
  background: var(--soft); display: block; }
.found .name { font-weight: 600; overflow-wrap: anywhere; }
.found .field { font-size: 14px; overflow-wrap: anywhere; }
.found .quiet { font-size: 14px; overflow-wrap: anywhere; }
.found .share { font-variant-numeric: tabular-nums; color: var(--muted); }
.card .said { font-size: clamp(22px, 3.2vw, 30px); }
.written { font-size: 16px; margin-top: 8px !important; white-space: pre-line; overflow-wrap: anywhere; }
.waiting { padding: 40px 24px; }
.empty { text-align: center; padding: 64px 24px; color: var(--muted); }
.empty svg { width: 74px; margin: 0 auto 14px; opacity: .8; }
.empty h2 { font-size: 22px; color: var(--ink); margin-bottom: 6px !important; }
@media (max-width: 760px) {
  .gradio-container { padding: 14px 12px 32px !important; }
  #ask, .card { padding: 14px; border-radius: 12px; }
  .columns.n3, .evidence { grid-template-columns: minmax(0, 1fr); }
  .evidence figure { max-width: none; }
  .empty { padding: 32px 16px; }
}
"""


def theme() -> gr.themes.Base:
    """Gradio's base theme with fonts that are there already."""
    import gradio as gr
    from gradio.themes.utils.fonts import Font

    return gr.themes.Base(
        primary_hue="blue", neutral_hue="stone", font=[Font(name) for name in FONTS], font_mono=[Font(n) for n in MONO]
    )
