// The cluster's machines.

import { get } from "./api.js";
import { h, mount } from "./dom.js";

// With more hosts than these, none has its load shown.
const MEASURED = 50;

// How busy a host's machine was in the last minute that was measured.
async function load(host) {
  if (host.status !== "online") return "";
  const { cpu, mem } = await get(`/host/${host.id}/usage/1m`);
  if (!cpu.length) return "";
  const percent = (list) => `${Math.round(list[list.length - 1][1] * 100)} %`;
  return `${percent(cpu)} CPU, ${percent(mem)} memory`;
}

export async function hosts(main) {
  const [list, status] = await Promise.all([get("/host"), get("/status")]);
  // Figures are no reason not to show the hosts, nor to ask hundreds of times.
  const loads = list.length > MEASURED ? [] : await Promise.all(list.map((host) => load(host).catch(() => "")));
  mount(main,
    h("h1", "Hosts"),
    h("table",
      h("thead", h("tr", ["Host", "State", "Address", "Version", "Users online", "Load"].map((title) => h("th", title)))),
      h("tbody", list.map((host, place) => h("tr", { "data-host": host.name },
        h("td", host.name, host.id === status.current_host && h("span.dim", " this one")),
        h("td", h(`span.badge${host.status === "online" ? ".on" : ".off"}`, host.status)),
        h("td.mono", host.public_addr ?? host.local_addr ?? ""),
        h("td", host.version ?? ""),
        h("td", String(host.users_online ?? 0)),
        h("td", loads[place] ?? ""))))));
}
