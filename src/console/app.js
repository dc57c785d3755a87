// The console: who is logged in, which page is shown, and what the cluster tells of changes.

import { get, remove, onCached, onLoggedOut } from "./api.js";
import { h, mount, report } from "./dom.js";
import { listen } from "./events.js";
import { login } from "./login.js";
import { hosts } from "./hosts.js";
import { log } from "./log.js";
import { organizations } from "./organizations.js";
import { password } from "./password.js";
import { servers } from "./servers.js";

// Each page draws itself into an element, and is drawn again when one of its events comes.
const pages = {
  organizations: { title: "Organizations", draw: organizations, events: ["organizations_updated", "users_updated", "servers_updated", "server_organizations_updated"] },
  servers: { title: "Servers", draw: servers, events: ["servers_updated", "server_organizations_updated", "server_hosts_updated", "server_routes_updated", "server_output_updated", "organizations_updated", "users_updated", "hosts_updated"] },
  hosts: { title: "Hosts", draw: hosts, events: ["hosts_updated", "servers_updated"] },
  log: { title: "Log", draw: log, events: ["log_updated"] },
  password: { title: "Password", draw: password, events: [] },
};

const app = document.getElementById("app");
let stopListening = () => {};

onLoggedOut(() => {
  stopListening();
  login(app, start);
});

window.addEventListener("hashchange", () => {
  if (app.querySelector("main")) show();
});

start();

async function start() {
  try {
    await get("/state");
  } catch (error) {
    if (error.status !== 401) mount(app, h("p.fault", error.message));
    return;
  }
  const status = h("span#live", { role: "status" }, "");
  mount(app,
    h("header",
      h("a.brand", { href: "#organizations" }, h("img", { src: "/s/favicon.svg", alt: "" }), "Culvert"),
      h("nav", Object.entries(pages).map(([name, page]) => h("a", { href: `#${name}`, "data-page": name }, page.title))),
      status,
      h("button.quiet#logout", { onclick: () => remove("/auth/session").finally(() => location.reload()) }, "Log out")),
    h("main"),
    h("div#reports", { role: "alert" }));
  if (sessionStorage.getItem("default") === "true" && !location.hash) location.hash = "password";
  const away = h("p.fault", { hidden: true }, "The database is away: this is what is remembered, and nothing can be changed until it is back. Tunnels stay up.");
  app.querySelector("header").after(away);
  let look;
  onCached((yes) => {
    const back = !yes && !away.hidden;
    away.hidden = !yes;
    clearTimeout(look);
    // Nothing is told while the database is away, so this looks for its return.
    if (yes) look = setTimeout(() => get("/state").catch(() => {}), 1000);
    if (back) show();
  });
  stopListening = listen({
    changed: (types) => {
      const page = pages[current()];
      if (page.events.some((type) => types.has(type))) show();
    },
    connected: (yes) => {
      status.textContent = yes ? "live" : "connection lost, trying again";
      status.className = yes ? "good" : "bad";
    },
  });
  show();
}

function current() {
  const name = location.hash.slice(1).split("/")[0];
  return name in pages ? name : "organizations";
}

// Draws the current page. A page that is being drawn is drawn once more afterwards, never twice at a time.
let drawing = false;
let again = false;

async function show() {
  if (drawing) {
    again = true;
    return;
  }
  drawing = true;
  do {
    again = false;
    const name = current();
    for (const link of app.querySelectorAll("nav a")) {
      link.toggleAttribute("aria-current", link.dataset.page === name);
    }
    const main = app.querySelector("main");
    if (main) {
      try {
        await pages[name].draw(main, show);
      } catch (error) {
        if (error.status !== 401) report(error.message);
      }
    }
  } while (again);
  drawing = false;
}
