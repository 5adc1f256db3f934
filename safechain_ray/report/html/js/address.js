// The sample that is read, in the page's address: `#sample=<sample_id>`, so that a link opens it.

const IN_ADDRESS = "#sample=";

function sampleInAddress() {
  const { hash } = location;
  if (!hash.startsWith(IN_ADDRESS)) return null;
  try {
    return decodeURIComponent(hash.slice(IN_ADDRESS.length));
  } catch {
    return hash.slice(IN_ADDRESS.length); // a lone %
  }
}

function linkTo(id) {
  return `${location.href.split("#")[0]}${IN_ADDRESS}${encodeURIComponent(id)}`;
}

// How a sample that was opened enters the history:
// - choose: the reader chose it, so Back returns to the one before;
// - step: the reader goes from one to the next, so all of them are one step of Back;
// - follow: a filter opened it, so it only replaces another sample.
function putInAddress(id, visit) {
  const before = sampleInAddress();
  if (before === id || (visit === "follow" && before === null)) return;
  const replaces = before !== null && visit !== "choose";
  try {
    if (replaces) history.replaceState(null, "", linkTo(id));
    else history.pushState(null, "", linkTo(id));
  } catch {
    // A sandboxed frame, or more changes than the browser allows. The address stays behind, reading does not.
  }
}

// Copies the link, or shows it in a field where the browser has no clipboard for this page.
async function copyLink(id, place) {
  const link = linkTo(id);
  try {
    await navigator.clipboard.writeText(link);
    fill(place, ["Link copied."]);
  } catch {
    const field = make("input", { type: "text", readonly: true, "aria-label": "Link to this sample", value: link });
    fill(place, ["The browser allows no copying here. Copy this link: ", field]);
    field.select();
  }
}
