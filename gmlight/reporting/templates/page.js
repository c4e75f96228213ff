"use strict";
for (const slider of document.querySelectorAll(".slider input")) {
  const pictures = slider.closest("section").querySelectorAll("img.picture");
  const output = slider.parentElement.querySelector("output");
  const show = () => {
    pictures.forEach((picture, i) => { picture.hidden = i !== Number(slider.value); });
    const text = pictures[slider.value].dataset.iteration + " outer iterations";
    output.textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };
  slider.addEventListener("input", show);
  show();
}
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
    const column = [...head.parentElement.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const compare = (a, b) => head.classList.contains("number")
      ? (a === "" ? -Infinity : Number(a)) - (b === "" ? -Infinity : Number(b)) : a.localeCompare(b, "en", {numeric: true});
    const rows = [...body.rows].sort((a, b) => (down ? -1 : 1) * compare(value(a), value(b)));
    body.append(...rows);
  });
}
