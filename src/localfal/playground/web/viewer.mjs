// Pictures in full size, one after the other, alone or beside the photos they were made of.
import { $, el, say } from "./dom.mjs";
import { bytes, shown } from "./media.mjs";

const dialog = $("#viewer");
let pictures = [];
let at = 0;

export async function openViewer(list, index, photos, compare) {
  pictures = list;
  const beside = await photos.catch(() => []);
  $("#viewer-photos").replaceChildren(...beside.map((photo) => el("img", { src: photo.url, alt: `Photo ${photo.name}` })));
  $("#viewer-photos").dataset.columns = String(Math.min(3, Math.ceil(Math.sqrt(beside.length))));
  $("#viewer-compare").hidden = beside.length === 0;
  toggle(compare && beside.length > 0);
  const several = pictures.length > 1;
  for (const name of ["#viewer-previous", "#viewer-next"]) $(name).hidden = !several;
  show(Math.max(0, index));
  dialog.showModal();
}

function show(index) {
  at = (index + pictures.length) % pictures.length;
  const item = pictures[at];
  const image = $("#viewer-image");
  image.src = shown(item.url);
  image.alt = item.label;
  const about = [pictures.length > 1 && `${at + 1} of ${pictures.length}`, item.width && item.height && `${item.width} × ${item.height}`, item.size && bytes(item.size)].filter(Boolean).join(" · ");
  $("#viewer-about").textContent = about || item.name;
  const link = $("#viewer-download");
  link.href = shown(item.url);
  link.download = item.name;
  if (dialog.open) say(item.label);
}

function toggle(on) {
  dialog.classList.toggle("comparing", on);
  $("#viewer-photos").hidden = !on;
  $("#viewer-compare").setAttribute("aria-pressed", String(on));
}

$("#viewer-previous").addEventListener("click", () => show(at - 1));
$("#viewer-next").addEventListener("click", () => show(at + 1));
$("#viewer-close").addEventListener("click", () => dialog.close());
$("#viewer-compare").addEventListener("click", () => toggle(!dialog.classList.contains("comparing")));
dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.id === "viewer-stage") dialog.close(); });
dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = {
    ArrowLeft: () => show(at - 1),
    ArrowRight: () => show(at + 1),
    Home: () => show(0),
    End: () => show(-1),
    c: () => { if (!$("#viewer-compare").hidden) $("#viewer-compare").click(); },
    d: () => $("#viewer-download").click(),
  };
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
