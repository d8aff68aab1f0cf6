"""One look for all pages: colours for dark and light, spacing, and the few lines of script."""

from __future__ import annotations

from typing import Final

from nicegui import ui

_CSS: Final = """
:root, body.body--light {
  --ground: #eef2f6; --card: #ffffff; --line: #d3dce5; --ink: #14202b; --soft: #4b5b6a;
  --water: #0b62a8; --water-soft: #dcebf8; --good: #0a6b3d; --good-soft: #d9f2e4;
  --bad: #a3222a; --bad-soft: #fbe0e0; --calm: #4b5b6a; --calm-soft: #e6ebf0; --warn: #7a4d00;
  --warn-soft: #fdf0d2;
}
body.body--dark {
  --ground: #0f151b; --card: #18212b; --line: #2c3a47; --ink: #e8eef4; --soft: #a9b8c6;
  --water: #76b9f5; --water-soft: #15334c; --good: #6fd8a3; --good-soft: #12382a;
  --bad: #ff9d96; --bad-soft: #47201f; --calm: #b4c1cd; --calm-soft: #27333f; --warn: #f3c765;
  --warn-soft: #3b2f12;
}
body { background: var(--ground) !important; color: var(--ink) !important;
  font-family: system-ui, "Segoe UI", Roboto, sans-serif; }
.nicegui-content { padding: 0; }
a { color: var(--water); }
:focus-visible { outline: 3px solid var(--water); outline-offset: 2px; }
.hr-header { background: var(--card) !important; color: var(--ink) !important;
  border-bottom: 1px solid var(--line); height: 56px; padding: 0 12px !important; }
.hr-brand { font-weight: 700; letter-spacing: .02em; white-space: nowrap; }
.hr-drawer { background: var(--card) !important; color: var(--ink) !important;
  border-right: 1px solid var(--line); }
.q-drawer__content { display: flex; flex-direction: column; gap: 2px; padding: 12px !important; }
.hr-nav { display: block; width: 100%; box-sizing: border-box; padding: 9px 14px;
  border-radius: 8px; color: var(--ink) !important;
  text-decoration: none !important; }
.hr-nav:hover { background: var(--calm-soft); }
.hr-nav.here { background: var(--water-soft); color: var(--ink) !important; font-weight: 600; }
.hr-main { width: 100%; max-width: 1480px; margin: 0 auto; padding: 16px; gap: 16px; }
.hr-main h1 { font-size: 1.4rem; line-height: 1.3; font-weight: 650; margin: 0; }
.hr-main h2 { font-size: 1rem; line-height: 1.3; font-weight: 650; margin: 0; }
.hr-card { background: var(--card) !important; color: var(--ink) !important; width: 100%;
  border: 1px solid var(--line); border-radius: 12px; box-shadow: none !important;
  padding: 14px 16px; gap: 10px; min-width: 0; }
.hr-soft { color: var(--soft); }
.hr-small { font-size: .83rem; line-height: 1.45; }
.hr-mono { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .8rem; }
.hr-pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .78rem;
  white-space: pre; overflow: auto; max-height: 340px; background: var(--ground);
  border: 1px solid var(--line); border-radius: 8px; padding: 10px; width: 100%; margin: 0; }
.hr-wrap { white-space: pre-wrap; overflow-wrap: anywhere; }
.hr-text { overflow-wrap: anywhere; min-width: 0; }
.hr-num { font-variant-numeric: tabular-nums; white-space: nowrap; }
.hr-chip { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: .8rem;
  line-height: 1.55; font-weight: 600; white-space: nowrap; background: var(--calm-soft);
  color: var(--calm); }
.hr-positive { background: var(--good-soft); color: var(--good); }
.hr-negative { background: var(--bad-soft); color: var(--bad); }
.hr-warn { background: var(--warn-soft); color: var(--warn); }
.hr-live { background: var(--water-soft); color: var(--ink); }
.hr-status { max-width: 44vw; overflow: hidden; text-overflow: ellipsis; }
.hr-banner { position: fixed; left: 0; right: 0; bottom: 0; z-index: 3000; padding: 10px 16px;
  background: var(--bad-soft); color: var(--ink); border-top: 2px solid var(--bad);
  text-align: center; }
.hr-grid { display: grid; gap: 14px; width: 100%;
  grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); }
.hr-two { display: grid; gap: 16px; width: 100%; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 1000px) { .hr-two { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); } }
.hr-two > *, .hr-grid > * { min-width: 0; }
.hr-row { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; width: 100%; }
.hr-between { justify-content: space-between; }
.hr-headline { display: flex; gap: 8px; align-items: baseline; width: 100%; min-width: 0; }
.hr-one-line { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0;
  flex: 1; }
.hr-spark { width: 100%; height: 64px; display: block; }
.hr-stream { height: 480px; width: 100%; }
.hr-scroll { overflow-x: auto; width: 100%; }
.hr-scroll .q-table__middle { overflow: visible; }
.hr-scroll .q-table__container { overflow: visible; }
.hr-word { display: inline-block; padding: 1px 4px; margin: 1px; border-radius: 4px; }
.hr-big { font-size: 1.25rem; line-height: 1.5; }
.q-table__container { background: transparent !important; color: inherit !important; }
.q-table th { color: var(--soft); font-size: .8rem; }
.q-table td { font-size: .85rem; }
.q-table tbody td.hr-cell-text { white-space: normal; overflow-wrap: anywhere; min-width: 300px;
  width: 60%; }
.hr-cell-positive { color: var(--good) !important; font-weight: 600; }
.hr-cell-negative { color: var(--bad) !important; font-weight: 600; }
.q-field__label, .q-field__native, .q-field__input { color: var(--ink) !important; }
.q-field__label { opacity: 1; color: var(--soft) !important; }
.q-field--outlined .q-field__control:before { border-color: var(--soft) !important; }
.q-btn { text-transform: none; }
.hr-button { background: var(--card) !important; color: var(--ink) !important;
  border: 1px solid var(--soft); border-radius: 8px; box-shadow: none !important; }
.hr-button:before { box-shadow: none !important; border: 0; }
.hr-main-button { background: #0b62a8 !important; color: #fff !important; border-radius: 8px;
  box-shadow: none !important; }
.hr-danger { background: #a3222a !important; color: #fff !important; border-radius: 8px; }
.hr-map text { fill: var(--ink); font-family: system-ui, sans-serif; }
.hr-map .name { font-size: 15px; font-weight: 600; }
.hr-map .value { font-size: 14px; font-variant-numeric: tabular-nums; }
.hr-map .soft { fill: var(--soft); }
.hr-map .channel { fill: var(--water-soft); stroke: var(--water); stroke-width: 1.3; }
.hr-map .flow { fill: none; stroke: var(--water); stroke-width: 2; opacity: .55; }
.hr-map .rim { fill: var(--card); stroke: var(--water); stroke-width: 3; }
.hr-map .spokes { stroke: var(--water); stroke-width: 2.5; }
.hr-map .hub { fill: var(--water); }
.hr-map .turning .spokes { animation: hr-turn 5s linear infinite; transform-box: fill-box;
  transform-origin: center; }
@keyframes hr-turn { to { transform: rotate(360deg); } }
@media (prefers-reduced-motion: reduce) { .hr-map .turning .spokes { animation: none; } }
.hr-map svg { width: 100%; height: auto; display: block; }
.hr-map .tall { display: none; }
@media (max-width: 759px) {
  .hr-map .wide { display: none; } .hr-map .tall { display: block; max-width: 420px;
    margin: 0 auto; }
  .hr-main { padding: 12px; }
  .hr-stream { height: 420px; }
}
"""
_SCRIPT: Final = """<script>
window.headrace = {
  fill(values) {
    for (const [name, text] of Object.entries(values))
      for (const one of document.getElementsByClassName(name)) one.textContent = text;
  },
  turn(wheels) {
    for (const [name, on] of Object.entries(wheels))
      for (const one of document.getElementsByClassName(name)) one.classList.toggle("turning", on);
  },
  theme(name) {
    document.cookie = `headrace_theme=${name}; path=/; max-age=31536000; samesite=lax`;
    location.reload();
  },
  async leave(csrf) {
    await fetch("/logout", {method: "POST", headers: {"X-CSRF-Token": csrf}});
    location.assign("/login");
  },
};
if (!document.cookie.includes("headrace_theme=")) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.cookie =
    `headrace_theme=${dark ? "dark" : "light"}; path=/; max-age=31536000; samesite=lax`;
  if (dark && document.cookie.includes("headrace_theme=")) location.reload();
}
</script>"""


def install() -> None:
    """Give every page the look; once a process."""
    ui.add_css(_CSS, shared=True)
    ui.add_head_html(_SCRIPT, shared=True)


def colours(*, dark: bool) -> dict[str, str]:
    """Colours for charts, which take no style sheet."""
    if dark:
        return {
            "ink": "#e8eef4",
            "soft": "#a9b8c6",
            "line": "#2c3a47",
            "water": "#76b9f5",
            "positive": "#4cbf87",
            "neutral": "#7f90a1",
            "negative": "#f0776f",
            "card": "#18212b",
        }
    return {
        "ink": "#14202b",
        "soft": "#4b5b6a",
        "line": "#d3dce5",
        "water": "#0b62a8",
        "positive": "#1e8f5a",
        "neutral": "#8494a4",
        "negative": "#c2393f",
        "card": "#ffffff",
    }
