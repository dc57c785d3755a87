// What happened.

import { get } from "./api.js";
import { h, mount } from "./dom.js";

export async function log(main) {
  const entries = await get("/log");
  mount(main,
    h("h1", "Log"),
    entries.length === 0 && h("p.hint", "Nothing has happened yet."),
    h("table", h("tbody", entries.map((entry) => h("tr",
      h("td.dim.mono", new Date(entry.timestamp * 1000).toLocaleString()),
      h("td", entry.message))))));
}
