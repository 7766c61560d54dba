"""The looks and the script of the review page; it loads nothing from anywhere."""

POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the browser may load: nothing but what is in the file."""

STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 0 auto; padding: 0 1rem 4rem; }
h1 { line-height: 1.2; } h3, h4, p { margin: .4rem 0; } h4 { font-size: .9rem; font-weight: 600; }
.note { border-inline-start: 4px solid #E69F00; background: var(--soft); padding: .5rem 1rem; max-width: 60rem; }
.bar { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center;
  padding: .6rem 0; background: Canvas; border-bottom: 1px solid var(--line); }
article { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; margin: 1rem 0;
  content-visibility: auto; contain-intrinsic-size: auto 28rem; scroll-margin-top: 4rem; }
article.changed { border-color: #0072B2; box-shadow: inset 4px 0 #0072B2; }
.sides { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 1rem 2rem;
  background: linear-gradient(var(--line), var(--line)) center / 1px 100% no-repeat; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(9rem, 100%), 1fr)); gap: .6rem; }
figure { margin: 0; max-width: 100%; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption, .lost { font-size: .75rem; line-height: 1.35; opacity: .8; overflow-wrap: anywhere; }
.lost { border: 1px dashed var(--line); border-radius: 4px; padding: .5rem; }
.facts { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; margin: .6rem 0; font-variant-numeric: tabular-nums; }
.facts div { display: flex; gap: .4rem; } dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; }
fieldset { border: 0; padding: 0; margin: .6rem 0 0; display: flex; flex-wrap: wrap;
  align-items: baseline; gap: .3rem 1.2rem; }
legend { float: inline-start; padding: 0; margin-inline-end: 1rem; }
label, button, select, input, summary { font: inherit; } input:invalid { outline: 2px solid #D55E00; }
:focus-visible { outline: 3px solid #0072B2; outline-offset: 2px; }
textarea { width: 100%; height: 16rem; box-sizing: border-box; font: .8rem/1.4 ui-monospace, monospace; }
@media (max-width: 40rem) { body { padding: 0 .5rem 4rem; } article { padding: .5rem; } .sides { gap: .5rem 1rem; } }
"""

SCRIPT = r"""
"use strict";
const byId = id => document.getElementById(id), read = id => JSON.parse(byId(id).textContent);
const clips = read("clips"), lines = read("table"), first = lines.findIndex(line => !line.startsWith("#")) + 1;
const pairs = new Map([...document.querySelectorAll("article")].map(one => [first + Number(one.dataset.row), one]));
const quoted = text => text.includes('"') ? '"' + text.replaceAll('"', '""') + '"' : text;
const fields = pair => ({target: pair.querySelector("input[list]"), yes: pair.querySelector("input[value=yes]"),
  no: pair.querySelector("input[value=no]")});

// The table as edited: of a row on the page only target and keep can have changed; a gloss has no tab in it.
const line = (text, place) => {
  if (!pairs.has(place)) return text;
  const {target, yes} = fields(pairs.get(place)), cells = text.split("\t");
  if (target.value !== target.defaultValue && target.validity.valid) cells[1] = quoted(target.value || "-");
  cells[2] = yes.checked ? "yes" : "no";
  return cells.join("\t");
};
const update = () => {
  let changed = 0;
  for (const pair of pairs.values()) {
    const {target, yes, no} = fields(pair);
    if (target.value === "" || target.value === "-") no.checked = true;
    const is = target.value !== target.defaultValue || yes.checked !== yes.defaultChecked;
    pair.classList.toggle("changed", is);
    changed += is;
  }
  byId("text").value = lines.map(line).join("\n") + "\n";
  const wrong = document.querySelectorAll("article input:invalid").length;
  byId("status").textContent = (changed === 1 ? "1 row changed" : changed + " rows changed") +
    (wrong ? ", " + wrong + " with a target that is no gloss (it has a space) and isn't taken" : "");
  window.onbeforeunload = changed ? event => event.preventDefault() : null;
};
document.addEventListener("change", event => { if (event.target.closest("article")) update(); });
byId("download").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([byId("text").value], {type: "text/tab-separated-values"}));
  link.download = "mapping.tsv";
  link.click();
};
byId("copy").onclick = () => navigator.clipboard.writeText(byId("text").value)
  .then(() => { byId("status").textContent = "copied"; })
  .catch(() => { byId("as-text").open = true; byId("text").select(); });

// A clip is unpacked when it comes near the window. Its tempo is in the file: a duration in each of its ANMF chunks.
const paced = (address, slower) => {
  const bytes = Uint8Array.from(atob(address.split(",")[1]), letter => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  for (let at = 12, size; at + 24 <= bytes.length; at += 8 + size + size % 2) {
    size = view.getUint32(at + 4, true);
    if (view.getUint32(at) !== 0x414E4D46) continue;
    const milliseconds = slower ? view.getUint16(at + 20, true) * slower : 0xFFFFFF;
    view.setUint16(at + 20, milliseconds & 0xFFFF, true);
    view.setUint8(at + 22, milliseconds >> 16);
  }
  return URL.createObjectURL(new Blob([bytes], {type: "image/webp"}));
};
const tempo = byId("tempo");
const load = image => {
  if (image.src) URL.revokeObjectURL(image.src);
  image.src = paced(clips[image.dataset.clip], Number(tempo.value));
};
const near = new IntersectionObserver(seen => seen.filter(one => one.isIntersecting).forEach(one => {
  near.unobserve(one.target);
  load(one.target);
}), {rootMargin: "300px"});
if (matchMedia("(prefers-reduced-motion: reduce)").matches) tempo.value = "0";
tempo.onchange = () => document.querySelectorAll("img[src]").forEach(load);
document.querySelectorAll("img[data-clip]").forEach(image => near.observe(image));
update();
"""
