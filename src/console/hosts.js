// The cluster's machines.

import { get } from "./api.js";
import { h, mount } from "./dom.js";

export async function hosts(main) {
  const [list, status] = await Promise.all([get("/host"), get("/status")]);
  mount(main,
    h("h1", "Hosts"),
    h("table",
      h("thead", h("tr", ["Host", "State", "Address", "Version", "Users online"].map((title) => h("th", title)))),
      h("tbody", list.map((host) => h("tr", { "data-host": host.name },
        h("td", host.name, host.id === status.current_host && h("span.dim", " this one")),
        h("td", h(`span.badge${host.status === "online" ? ".on" : ".off"}`, host.status)),
        h("td.mono", host.public_addr ?? host.local_addr ?? ""),
        h("td", host.version ?? ""),
        h("td", String(host.users_online ?? 0)))))));
}
