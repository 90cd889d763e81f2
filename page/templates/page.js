"use strict";
const $ = (id) => document.getElementById(id);
const make = (tag, text, attributes = {}) => {
  const made = document.createElement(tag);
  if (text !== null && text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};

// How old the page's facts are.
const asOf = $("as-of");
function age() {
  const minutes = Math.max(0, Math.round((Date.now() - Date.parse(asOf.dateTime)) / 60000));
  const [number, unit] = minutes < 120 ? [minutes, "minute"]
    : minutes < 2880 ? [Math.round(minutes / 60), "hour"] : [Math.round(minutes / 1440), "day"];
  $("age").textContent = minutes < 1 ? ", just now" : `, ${number} ${unit}${number === 1 ? "" : "s"} ago`;
}
age();
setInterval(age, 30000);

// Paper shows what is folded away, too.
const folded = new Set();
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details:not([open])")) { folded.add(one); one.open = true; }
});
addEventListener("afterprint", () => { for (const one of folded) one.open = false; folded.clear(); });

// A column's two distributions.
const dialog = $("distribution");
if (dialog) {
  const data = JSON.parse($("distributions").textContent);
  const judged = data.names.map((_, at) => at).filter((at) => data.windows[at]);
  const choice = $("distribution-month");
  let column = null;
  for (const at of judged) choice.append(make("option", data.names[at], { value: at }));
  const percent = (thousandths) => `${(thousandths / 10).toFixed(thousandths < 100 ? 1 : 0)}%`;

  const ofWindow = (shares, window) => {
    const there = window.filter((at) => shares[at]);
    const rows = there.reduce((sum, at) => sum + data.rows[at], 0);
    return there.length ? shares[there[0]].map((_, bin) =>
      there.reduce((sum, at) => sum + shares[at][bin] * data.rows[at], 0) / rows) : null;
  };

  const show = () => {
    const found = data.columns[column], at = Number(choice.value), window = data.windows[at];
    const before = ofWindow(found.shares, window), now = found.shares[at], month = data.names[at];
    const [way, value, drifted, p, alarm] = found.measured[at] || [];
    const [method, limit] = found.methods[way] || [];
    const first = data.names[window[0]], last = data.names[window.at(-1)];
    const span = window.length > 1 ? `${first} to ${last}` : first;
    $("distribution-title").textContent = column;
    $("distribution-words").textContent = method === undefined ? "Not measured in this month."
      : `${method}: ${value === null ? "no result" : value.toPrecision(3)}, limit ${limit}: ${drifted ? "drifted" : "not drifted"}${p === undefined || p === null ? "" : `; p-value ${p.toPrecision(2)}`}${alarm ? ", an alarm" : ""}.`;
    const body = $("distribution-bars");
    body.replaceChildren();
    if (!before || !now) {
      body.append(make("p", "The rows of these months are not here any more.", { class: "note" }));
      return;
    }
    const table = make("table", null, { class: "bars" });
    const head = table.createTHead().insertRow();
    for (const text of ["Value", `Window, ${span}`, month]) head.append(make("th", text, { scope: "col" }));
    const rows = table.createTBody();
    const most = Math.max(1, ...before, ...now);
    found.bins.forEach((bin, at) => {
      if (!before[at] && !now[at] && bin.startsWith("(")) return;
      const row = rows.insertRow();
      row.append(make("th", bin, { scope: "row" }));
      for (const [share, kind] of [[before[at], "a"], [now[at], "b"]]) {
        const cell = row.insertCell(), bar = make("i", null, { class: kind });
        bar.style.width = `${(70 * share) / most}%`;
        cell.append(bar, percent(share));
      }
    });
    body.append(table);
  };

  const open = (name, at) => {
    if (!Object.hasOwn(data.columns, name)) return;
    column = name;
    choice.value = at;
    show();
    if (!dialog.open) dialog.showModal();
  };
  choice.addEventListener("change", show);
  $("distribution-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  for (const table of document.querySelectorAll(".heat")) {
    // The newest month is on the right. To ask a table that is folded away for its width would lay it out.
    const toNewest = () => { table.parentElement.scrollLeft = table.scrollWidth; };
    const details = table.closest("details");
    if (details) details.addEventListener("toggle", toNewest);
    else requestAnimationFrame(() => setTimeout(toNewest));
    table.addEventListener("click", (event) => {
      const cell = event.target.closest("td, tbody th");
      if (!cell) return;
      const name = cell.parentElement.querySelector("button").textContent;
      open(name, cell.tagName === "TD" ? judged[cell.cellIndex - 1] : judged.at(-1));
    });
  }
}

// What the server would say about a customer.
const form = $("customer");
if (form) {
  const answer = $("answer");
  const ask = async (address, body) => {
    const said = await fetch(address, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    return [said.ok, await said.json()];
  };
  const customer = () => {
    const id = form.elements.namedItem("by-id").value.trim();
    if (id) return { [form.dataset.id]: id };
    const found = Object.create(null); // a column may be called __proto__
    for (const field of form.querySelectorAll("[data-name]")) {
      const text = field.value, kind = field.dataset.type;
      found[field.dataset.name] = text === "" ? null
        : kind === "number" ? Number(text) : kind === "boolean" ? text === "true" : text;
    }
    return found;
  };
  const wrong = (said) => {
    answer.replaceChildren(make("p", said.detail || "The server did not answer.", { class: "wrong" }));
    const list = make("ul");
    for (const { field, reason } of said.errors || []) list.append(make("li", `${field} ${reason}`));
    if (list.children.length) answer.append(list);
  };
  const explained = (said) => {
    if (!said.contributions.length) return;
    answer.append(make("h3", "What moves it most"));
    const table = make("table", null, { class: "bars moves" });
    const head = table.createTHead().insertRow();
    for (const text of ["Column", "Value", said.unit === "log-odds" ? "Odds" : "Probability"]) head.append(make("th", text, { scope: "col" }));
    const rows = table.createTBody();
    const most = Math.max(...said.contributions.map((one) => Math.abs(one.contribution)), 1e-9);
    for (const one of said.contributions.slice(0, 6)) {
      const row = rows.insertRow(), by = one.contribution;
      row.append(make("th", one.column, { scope: "row" }));
      row.append(make("td", one.value === null ? "not known" : typeof one.value === "number" ? +one.value.toPrecision(4) : String(one.value)));
      const cell = row.insertCell(), bar = make("i", null, { class: by > 0 ? "b" : "a" });
      bar.style.width = `${(35 * Math.abs(by)) / most}%`;
      const size = said.unit === "log-odds" ? `×${Math.exp(by).toFixed(2)}` : `${by > 0 ? "+" : "−"}${Math.abs(by).toFixed(3)}`;
      cell.append(bar, `${by > 0 ? "▲ raises" : by < 0 ? "▼ lowers" : "no effect"} ${size}`);
    }
    answer.append(table, make("p", said.method, { class: "note" }));
  };
  let asked = 0; // an answer that comes after the next question is not shown
  const submit = async () => {
    const body = customer(), mine = ++asked;
    try {
      const [good, said] = await ask("predict", body);
      if (mine !== asked) return;
      if (!good) return wrong(said);
      const probability = `${(100 * said.churn_probability).toFixed(1)}%`;
      answer.replaceChildren(
        make("p", probability, { class: "big" }),
        make("p", `chance to churn: the answer is “${said.churn ? "churns" : "stays"}”, by version ${said.model_version}.`));
      const [known, why] = await ask("explain", body)
        .catch(() => [false, { detail: "What moves it could not be asked." }]);
      if (mine !== asked) return;
      if (!known) answer.append(make("p", why.detail || "What moves it is not known.", { class: "note" }));
      else if (why.model_version === said.model_version) explained(why);
      else answer.append(make("p", "The model has changed meanwhile: ask again.", { class: "note" }));
    } catch {
      if (mine === asked) wrong({ detail: "The server does not answer." });
    }
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  fetch("ready").then((said) => said.json()).then((ready) => {
    if (ready.model_version !== null && ready.model_version !== Number(form.dataset.version)) {
      $("moved").textContent = `The server answers with version ${ready.model_version}; this page is of version ${form.dataset.version}. It is made anew within seconds, or by make report: reload.`;
      $("moved").hidden = false;
    }
  }).catch(() => {});
}
