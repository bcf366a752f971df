// Where pictures come from: a file, a drop, the clipboard, the camera. Each ends in `give(blob, name)`.

const $ = (id) => document.getElementById(id);

const firstPicture = (items) => Array.from(items ?? []).find((file) => file.type.startsWith("image/"));

/** Call `give` with each picture that comes in, and `refuse` with words where something else does. */
export function listen(give, refuse) {
  files(give);
  drops(give, refuse);
  pastes(give);
  camera(give, refuse);
}

function files(give) {
  $("file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    if (file) give(file, file.name);
    target.value = ""; // the same file may come again
  });
}

function drops(give, refuse) {
  let inside = 0; // enters and leaves of all elements: they come in pairs
  const over = (change) => {
    inside = change === 0 ? 0 : inside + change;
    document.body.classList.toggle("over", inside > 0);
  };
  addEventListener("dragenter", () => over(1));
  addEventListener("dragleave", () => over(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(0);
    const file = firstPicture(event.dataTransfer.files);
    if (file) give(file, file.name);
    else refuse("What was dropped is no picture: drop a file of one.");
  });
}

function pastes(give) {
  addEventListener("paste", (event) => {
    const file = firstPicture(event.clipboardData?.files);
    if (!file) return; // text goes where it belongs
    event.preventDefault();
    give(file, "pasted picture");
  });
}

function camera(give, refuse) {
  const [dialog, video] = [$("viewfinder"), $("video")];
  if (!navigator.mediaDevices?.getUserMedia) {
    $("camera").hidden = true; // browsers have it on https and localhost alone
    return;
  }
  const stop = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  };
  $("camera").addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      dialog.showModal();
    } catch (error) {
      stop();
      refuse(`There is no picture of the camera (${error.message}): allow it, or choose a file.`);
    }
  });
  $("shoot").addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    if (!canvas.width) return; // it has not shown anything yet
    canvas.getContext("2d").drawImage(video, 0, 0);
    dialog.close();
    canvas.toBlob((blob) => give(blob, "camera picture"));
  });
  $("put-away").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
}
