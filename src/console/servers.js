// Servers: what they are, who may use them, and what they say.

import { get, post, put, remove } from "./api.js";
import { action, form, h, mount } from "./dom.js";
import { count } from "./organizations.js";

export async function servers(main, redraw) {
  const [list, organizations] = await Promise.all([get("/server"), get("/organization")]);
  const details = await Promise.all(list.map(async (one) => ({
    attached: await get(`/server/${one.id}/organization`),
    routes: await get(`/server/${one.id}/route`),
    hosts: await get(`/server/${one.id}/host`),
    output: (await get(`/server/${one.id}/output`)).output,
  })));
  mount(main,
    h("h1", "Servers"),
    form("server", [
      h("label", "Name", h("input", { name: "name", required: true, placeholder: "office" })),
      h("label", "Network", h("input", { name: "network", placeholder: "chosen for you", pattern: "[0-9.]+/[0-9]+", title: "As in 10.40.0.0/24" })),
      h("label", "Port", h("input", { name: "port", type: "number", min: 1, max: 65535, placeholder: "any" })),
      h("label", "Protocol", h("select", { name: "protocol" }, h("option", { value: "udp" }, "UDP"), h("option", { value: "tcp" }, "TCP"))),
    ], "Add server", async ({ name, network, port, protocol }) => {
      await post("/server", { name, network, port: Number(port || 0), protocol, cipher: "aes256", hash: "sha256", inter_client: true, restrict_routes: true });
      await redraw();
    }),
    list.length === 0 && h("p.hint", "A server is what your users connect to. Add one, attach an organization, start it."),
    list.map((one, place) => server(one, details[place], organizations, redraw)));
}

function server(one, { attached, routes, hosts, output }, organizations, redraw) {
  const path = `/server/${one.id}`;
  const operate = (label, operation, attributes = {}) => action(label, { ...attributes, "data-operation": operation }, async () => {
    await put(`${path}/operation/${operation}`);
    await redraw();
  });
  const online = one.status === "online";
  const free = organizations.filter((organization) => !attached.some((other) => other.id === organization.id));
  return h("section", { "data-server": one.name, "data-status": one.status },
    h("div.title",
      h("h2", one.name),
      h(`span.badge${online ? ".on" : ""}`, one.status),
      one.reason && h("span.hint", one.reason),
      online && h("span.dim", `${count(one.users_online, "user")} online, up ${duration(one.uptime)}`),
      h("span.actions",
        online ? operate("Stop", "stop", { class: "quiet" }) : operate("Start", "start", { disabled: attached.length === 0 }),
        online && operate("Restart", "restart", { class: "quiet" }),
        !online && action("Delete", { class: "quiet danger" }, async () => {
          if (!confirm(`Delete the server ${one.name}?`)) return;
          await remove(path);
          await redraw();
        }))),
    h("dl",
      fact("Network", h("span.mono", one.network)),
      fact("Listens on", h("span.mono", `${one.protocol} ${one.port}`)),
      fact("Hosts", hosts.map((host) => h("span.chip", host.name))),
      fact("Routes", routes.filter((route) => !route.virtual_network).map((route) => h("span.chip.mono", route.network, !online && cross(`Remove ${route.network}`, `${path}/route/${route.id}`, redraw)))),
      fact("Organizations", attached.length ? attached.map((organization) => h("span.chip", organization.name, !online && cross(`Detach ${organization.name}`, `${path}/organization/${organization.id}`, redraw))) : h("span.hint", "none yet: attach one to start"))),
    !online && h("div.forms",
      free.length > 0 && form("attach", h("label", "Organization", h("select", { name: "organization" }, free.map((organization) => h("option", { value: organization.id }, organization.name)))), "Attach", async ({ organization }) => {
        await put(`${path}/organization/${organization}`);
        await redraw();
      }),
      form("route", h("label", "Network", h("input", { name: "network", required: true, placeholder: "192.168.1.0/24" })), "Add route", async ({ network }) => {
        await post(`${path}/route`, { network, nat: true });
        await redraw();
      })),
    h("details", { "data-key": one.id }, h("summary", "Output"), h("pre", output.length ? output.join("\n") : "Nothing yet.")));
}

function cross(label, path, redraw) {
  return action("×", { class: "cross", "aria-label": label, title: label }, async () => {
    await remove(path);
    await redraw();
  });
}

function fact(name, value) {
  return [h("dt", name), h("dd", value)];
}

function duration(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}
