"""The style sheet of a report page. Its colors are those of the plots."""

from lectures_jax.report.theme import DARK, GRID, INK, MUTED, PAPER

_LIGHT = {"ink": INK, "muted": MUTED, "line": GRID, "paper": PAPER}
_LIGHT_TINTS = {"card": "#f4f6f9", "link": "#1a5fbf", "alert": "#b3261e"}
_DARK_TINTS = {"card": "#252b35", "link": "#8bb8ff", "alert": "#ff8a80"}


def _variables(colors: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colors.items())


_DARK = {name: DARK[value] for name, value in _LIGHT.items()}

STYLE = (
    f"""
:root{{color-scheme:light dark;{_variables(_LIGHT | _LIGHT_TINTS)}}}
@media (prefers-color-scheme:dark){{:root{{{_variables(_DARK | _DARK_TINTS)}}}}}
"""
    + """
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:84rem;padding:2.5rem 1rem 3rem;background:var(--paper);
  color:var(--ink);font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",
  sans-serif;overflow-wrap:anywhere}
h1,h2{line-height:1.2;text-wrap:balance;letter-spacing:-.015em}
h1{margin:0 0 .5rem;font-size:clamp(1.6rem,1.2rem + 1.8vw,2.4rem)}
h2{margin:0 0 .4rem;font-size:1.3rem}
p{margin:.4rem 0;max-width:44rem;text-wrap:pretty}
a{color:var(--link)}
.files{margin-top:1rem;color:var(--muted);font-size:.95rem}
.lead{color:var(--muted);font-size:1.08rem}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.75rem;
  margin:1.5rem 0 0}
.numbers div{display:flex;flex-direction:column-reverse;padding:.8rem 1rem;
  background:var(--card);border-radius:.6rem}
.numbers dt{color:var(--muted);font-size:.86rem}
.numbers dd{margin:0;font-size:1.6rem;font-weight:650;line-height:1.25;
  font-variant-numeric:tabular-nums}
nav{margin:1.5rem 0 0;padding:.7rem 0;border-block:1px solid var(--line);font-size:.95rem}
nav ol{display:flex;flex-wrap:wrap;gap:.35rem 1.2rem;margin:0;padding:0;list-style:none}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
section{padding-top:2.2rem;scroll-margin-top:0}
section>p,details>p{color:var(--muted)}
summary{cursor:pointer}
summary h2{display:inline}
.figures{display:flex;flex-wrap:wrap;gap:1.4rem 1.25rem;margin-top:1rem;align-items:flex-start}
figure{margin:0;max-width:100%}
figure.plot{width:max(min(100%,27.5rem),calc(50% - .65rem));max-width:31rem}
figure svg,figure img{display:block;width:100%;height:auto}
figure img{border-radius:3px}
.pixels{image-rendering:pixelated}
figcaption{margin-top:.4rem;color:var(--muted);font-size:.88rem;line-height:1.4}
.scroll{overflow-x:auto;margin-top:1rem;max-width:100%;overflow-wrap:normal}
table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums}
th,td{padding:.38rem 1.4rem .38rem 0;text-align:left;vertical-align:top;
  border-bottom:1px solid var(--line)}
thead th{color:var(--muted);font-weight:600;white-space:nowrap}
tbody th{font-weight:500}
td:not(.number){min-width:9rem}
.number{text-align:right;white-space:nowrap}
.alert,.alert a{color:var(--alert)}
footer{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--muted);
  font-size:.86rem}
footer dl{display:flex;flex-wrap:wrap;gap:.2rem 1.4rem;margin:0}
footer div{display:flex;gap:.4rem}
footer dt::after{content:":"}
footer dd{margin:0;color:var(--ink)}
@media (min-width:70rem){
  body{display:grid;grid-template-columns:11rem minmax(0,1fr);gap:0 3rem;padding-inline:2rem}
  header,footer{grid-column:1/-1}
  nav{border:0;margin:0;padding:2.4rem 0 0}
  nav ol{position:sticky;top:1.5rem;flex-direction:column;gap:.5rem}
}
@media print{nav{display:none}body{display:block}}
"""
)
