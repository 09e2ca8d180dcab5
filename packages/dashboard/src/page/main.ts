/** The page: its header, and the view that the URL names. */
import "./page.css"
import { h, render } from "preact"
import { follow, Jobs, OneJob } from "./jobs.js"
import { go, hrefOf, isConnected, message, newest, params, source, sources, view, views } from "./state.js"
import { begin } from "./stream.js"
import { isRefused } from "./token.js"
import { Batch, Cost, Fleet, Limits } from "./views.js"
import { showAll } from "./visibleText.js"

const drawn = { fleet: Fleet, jobs: Jobs, batch: Batch, limits: Limits, cost: Cost }
const titles = { fleet: "Fleet", jobs: "Jobs", batch: "Batch", limits: "Faults and limits", cost: "Cost" }

const Current = () => {
  if (source.value === undefined) return null
  const job = params.value.get("job")
  if (job !== null && view.value === "jobs") return h(OneJob, { id: job, key: job })
  const name = views.find((one) => one === view.value) ?? "fleet"
  return h(drawn[name], { key: `${source.value.name} ${name}` })
}

const Header = () =>
  h(
    "header",
    null,
    h("h1", null, "effect-runpod"),
    h(
      "label",
      null,
      "Source ",
      h(
        "select",
        {
          value: source.value?.name,
          onChange: (event: Event) => go({ source: (event.target as HTMLSelectElement).value, job: "" })
        },
        sources.value.map(({ kind, name }) => h("option", { key: name, value: name }, `${name} (${kind})`))
      )
    ),
    h(
      "nav",
      { "aria-label": "Views" },
      views.map((name) =>
        h(
          "a",
          {
            key: name,
            href: hrefOf({ view: name, job: "" }),
            onClick: follow({ view: name, job: "" }),
            ...(view.value === name ? { "aria-current": "page" as const } : {})
          },
          titles[name]
        )
      )
    ),
    h(
      "span",
      { class: isConnected.value ? "soft" : "bad", role: "status" },
      isConnected.value ? "live" : "not connected"
    )
  )

const App = () => {
  const problem = newest.value?.problem
  return [
    h(Header, null),
    h(
      "main",
      null,
      problem === undefined ? null : h("p", { class: "notice bad" }, problem),
      isRefused.value
        ? h(
            "p",
            { class: "notice bad", role: "status" },
            "The server does not take the token of this page: it was started again, with another token. Open the address that it has printed in this tab, and the page goes on where it is."
          )
        : null,
      message.value === undefined
        ? null
        : h("p", { class: message.value.isBad ? "notice bad" : "notice", role: "status" }, message.value.text),
      h(Current, null)
    )
  ]
}

const place = document.getElementById("page")
showAll()
if (place !== null) render(h(App, null), place)
begin()
