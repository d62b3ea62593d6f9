"""The look of the HTML report: light and dark, wide and narrow, screen and paper."""

STYLE = """
:root{color-scheme:light dark;--paper:#f4f5f7;--card:#fff;--ink:#15181d;--soft:#5b6470;--line:#dfe3e8;
--accent:#0b64a8;--well:#eef1f4;--warn:#fff4d6;--warnline:#d99a00;--warnink:#5c4300;--bad:#b3261e;--good:#12743b;
--first:#0b64a8;--second:#c2570c}
@media (prefers-color-scheme:dark){:root{--paper:#0e1115;--card:#171b21;--ink:#e8eaed;--soft:#9aa4b0;--line:#2a313a;
--accent:#6cb6ff;--well:#1f252d;--warn:#332a10;--warnline:#c99a2e;--warnink:#f3dfae;--bad:#ff8a80;--good:#6fd08c;
--first:#56a8e8;--second:#f0914a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
.wide{max-width:1180px;margin:0 auto;padding:0 20px}
header{padding:26px 0 14px}
header .wide{display:flex;flex-wrap:wrap;gap:8px 24px;align-items:flex-end;justify-content:space-between}
h1{font-size:26px;line-height:1.2;margin:0;overflow-wrap:anywhere;letter-spacing:-.01em}
.over{font-size:12px;letter-spacing:.09em;text-transform:uppercase;color:var(--soft);margin:0 0 4px;font-weight:600}
.when{color:var(--soft);font-size:13px;margin:2px 0 0}
.research{border:1.5px solid var(--bad);color:var(--bad);border-radius:999px;padding:5px 14px;font-weight:650;font-size:13px}
h2{font-size:17px;margin:0 0 12px;letter-spacing:-.005em}
h3{font-size:14px;margin:18px 0 8px}
section,.note{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:0 0 16px}
p{margin:0 0 10px}
.soft{color:var(--soft);font-size:13px}
.note{background:var(--warn);border-color:var(--warnline);border-left-width:6px;color:var(--warnink);padding:13px 18px}
.note h2{font-size:15px;margin:0 0 4px}
.note ul{margin:0;padding-left:18px}.note li{margin:3px 0;overflow-wrap:anywhere}
.note.failed{border-color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(172px,1fr));gap:12px;margin:0 0 16px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:13px 16px}
.tile .over{margin:0;font-size:11.5px;letter-spacing:.05em}.tile b{display:block;font-size:23px;line-height:1.25;font-weight:650;overflow-wrap:anywhere;
font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:0 16px;align-items:start}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600;color:var(--soft);font-size:12.5px;overflow-wrap:normal}
thead th,thead+tbody td:first-child{white-space:nowrap}
tr:last-child>td,tr:last-child>th{border-bottom:0}
td.n,th.n{text-align:right;white-space:nowrap}
td.n:last-child,th.n:last-child{padding-right:0}
td.n+td:not(.n),th.n+th:not(.n){padding-left:16px}
.facts th{width:34%;font-size:13.5px}
.dot{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px;vertical-align:-1px}
.badge{display:inline-block;border-radius:999px;padding:0 9px;font-size:12px;font-weight:600;border:1px solid currentColor}
.done{color:var(--good)}.given{color:var(--accent)}.skipped{color:var(--soft)}.failed .badge,.badge.failed{color:var(--bad)}
.bars{display:grid;grid-template-columns:minmax(96px,auto) 1fr 54px;gap:3px 10px;align-items:center;font-size:14px}
.bars .name{grid-row:span var(--ways);align-self:center;font-weight:600;overflow-wrap:anywhere}
.bars .rule{grid-column:1/-1;border-top:1px solid var(--line);margin:4px 0}
.track{background:var(--well);border-radius:4px;height:13px;overflow:hidden}
.track i{display:block;height:100%;border-radius:4px;min-width:1px}
.way0{background:var(--first)}.way1{background:var(--second)}
.bars .n{text-align:right;font-variant-numeric:tabular-nums;font-size:13px}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--soft);margin:10px 0 0}
.sw{position:absolute;opacity:0;pointer-events:none;width:1px;height:1px}
.tools{position:sticky;top:0;z-index:3;background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:9px 14px;margin:0 0 16px;display:flex;flex-wrap:wrap;gap:8px 22px;align-items:center;font-size:13.5px}
.group{display:flex;flex-wrap:wrap;gap:6px;align-items:center}
.group>b{font-size:12px;color:var(--soft);font-weight:600;margin-right:2px}
label{cursor:pointer;border:1px solid var(--line);border-radius:999px;padding:3px 12px;user-select:none;background:var(--card)}
.mosaic{display:grid;grid-template-columns:repeat(auto-fill,minmax(158px,1fr));gap:8px}
.three{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,230px),1fr));gap:8px;align-items:end}
.slice{margin:0;background:#000;border-radius:8px;overflow:hidden;cursor:zoom-in;align-self:stretch;display:flex;
flex-direction:column;justify-content:center;position:relative}
.slice svg{display:block;width:100%;height:auto;max-height:78vh}
.slice figcaption,.side figcaption{position:absolute;left:4px;top:4px;color:#eef1f4;font-size:11.5px;line-height:1.35;
background:rgba(0,0,0,.62);border-radius:4px;padding:1px 5px;pointer-events:none}
.slice .hung{position:absolute;left:4px;top:50%;transform:translateY(-50%);color:#eef1f4;font-size:11px;background:rgba(0,0,0,.5);
border-radius:4px;padding:0 3px;pointer-events:none}
.slice.big{grid-column:1/-1;cursor:zoom-out}
path,line{vector-effect:non-scaling-stroke}
.o{fill:none;stroke-width:1.5;stroke-linejoin:round}.f{stroke:none;fill-rule:evenodd}.fills{opacity:.3}
.d{stroke:#fff;stroke-width:1.6;stroke-dasharray:5 3}
.bar2cm{stroke:#e8eaed;stroke-width:2;fill:none}
.numbers{display:grid;grid-template-columns:repeat(auto-fill,minmax(148px,1fr));gap:10px 20px;margin:12px 0 0}
.numbers dt{color:var(--soft);font-size:.84em;font-weight:600}.numbers dd{margin:0;font-variant-numeric:tabular-nums}
.numbers span{display:block;color:var(--soft);font-size:.92em}
.lesion{border-top:1px solid var(--line);padding-top:14px;margin-top:16px}
.lesion:first-of-type{border-top:0;padding-top:0;margin-top:0}
.lesion h3{margin-top:0}
.scene{background:#0b0d10;border-radius:10px;position:relative;overflow:hidden}
.scene canvas{display:block;width:100%;height:400px;cursor:grab;touch-action:pan-y}
.scene .hint{position:absolute;right:10px;bottom:6px;color:#9aa4b0;font-size:11.5px;pointer-events:none}
.sides{display:grid;grid-template-columns:repeat(4,1fr);gap:6px;margin-top:6px}
.side{margin:0;position:relative;background:#0b0d10;border-radius:8px;overflow:hidden}
.side img,.picture img{display:block;width:100%;height:auto}
.glass{display:flex;border:0;padding:0;align-items:center;gap:10px;margin-top:8px;font-size:13px;color:var(--soft)}
.glass input{flex:1;max-width:240px;accent-color:var(--accent)}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:12px}
.picture{margin:0}.picture figcaption{font-size:13px;color:var(--soft);margin-top:4px;overflow-wrap:anywhere}
.picture img{border-radius:8px;background:#000}
.scale{height:10px;border-radius:5px;max-width:260px;flex:1}
.scaled{display:flex;align-items:center;gap:10px;font-size:12.5px;color:var(--soft);margin:8px 0 0}
details{border-top:1px solid var(--line);padding:9px 0}
details:first-of-type{border-top:0}
summary{cursor:pointer;font-weight:600;overflow-wrap:anywhere}
summary .soft{font-weight:400}
details .facts{margin-top:8px}
footer{color:var(--soft);font-size:13px;padding:4px 0 40px}
@media (max-width:560px){body{font-size:14px}.wide{padding:0 12px}section{padding:14px}h1{font-size:21px}
.tiles{grid-template-columns:1fr 1fr;gap:8px}.tile b{font-size:19px}.mosaic{grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:5px}
.tools{position:static}.scene canvas{height:290px}.sides{grid-template-columns:1fr 1fr}}
@media print{:root{color-scheme:light;--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--well:#e8e8e8;--warn:#fff4d6;
--warnline:#d99a00;--warnink:#3d2c00;--bad:#b3261e;--good:#12743b;--accent:#0b64a8;--first:#0b64a8;--second:#c2570c}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{font-size:11px}.tools,.hint,.glass{display:none}.wide{max-width:none;padding:0}
section,.tile,.note{break-inside:auto;border-radius:6px}.slice,.tile,.lesion,tr,.side{break-inside:avoid}
h2,h3{break-after:avoid}.mosaic{grid-template-columns:repeat(6,1fr);gap:4px}.three{grid-template-columns:repeat(3,1fr)}
.pair{grid-template-columns:1fr 1fr;break-inside:avoid}.scene canvas{height:230px}}
"""


def switches(contrasts: int, planes: int, overlays: dict[str, str]) -> str:
    """The rules that show what is chosen: one contrast, one plane, the outlines that are ticked.

    Args:
        contrasts, planes: how many there are of each.
        overlays: CSS class -> colour.
    """
    rules = []
    for group, count in (("k", contrasts), ("p", planes)):
        for i in range(count):
            rules.append(f"#{group}{i}:not(:checked)~main .{group}{i}{{display:none}}")
            rules.append(_chosen(f"{group}{i}"))
    for name, colour in overlays.items():
        rules.append(f".o.{name}{{stroke:{colour}}}.f.{name}{{fill:{colour}}}")
        rules.append(f"#{name}:not(:checked)~main .{name}{{display:none}}" + _chosen(name))
    rules.append("#fill:not(:checked)~main .fills{display:none}")
    rules.append(_chosen("fill"))
    return "".join(rules)


def _chosen(name: str) -> str:
    label = f'~main label[for="{name}"]'
    return (
        f"#{name}:checked{label}{{border-color:var(--accent);box-shadow:inset 0 0 0 1px var(--accent)}}"
        f"#{name}:not(:checked){label}{{color:var(--soft)}}"
        f"#{name}:focus-visible{label}{{outline:2px solid var(--accent);outline-offset:2px}}"
    )
