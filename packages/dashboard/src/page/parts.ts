/** What several views are made of. */
import { h, type ComponentChildren } from "preact"
import { duration } from "./format.js"

export const Numbers = ({ of }: { of: ReadonlyArray<readonly [string, string]> }) =>
  h(
    "dl",
    { class: "numbers" },
    of.map(([name, value]) => h("div", { key: name }, h("dt", null, name), h("dd", null, value)))
  )

export const Section = ({ children, title }: { title: string; children?: ComponentChildren }) =>
  h("section", { "aria-label": title }, h("h2", null, title), children)

/** A histogram on a logarithmic scale of time: each bar has a label and its number, so it is its own table. */
export const Histogram = ({
  bounds,
  counts,
  title
}: {
  title: string
  bounds: ReadonlyArray<number>
  counts: ReadonlyArray<number>
}) => {
  const most = Math.max(1, ...counts)
  const first = counts.findIndex((n) => n > 0)
  const last = counts.findLastIndex((n) => n > 0)
  const rows = counts
    .map((n, i) => ({
      n,
      label: bounds[i] === undefined ? `> ${duration(bounds.at(-1))}` : `≤ ${duration(bounds[i])}`
    }))
    .slice(Math.max(0, first), last + 1)
  return h(
    Section,
    { title },
    rows.length === 0
      ? h("p", { class: "soft" }, "No job has ended yet.")
      : h(
          "div",
          { class: "bars" },
          rows.map(({ label, n }) =>
            h(
              "div",
              { key: label },
              h("span", null, label),
              h("meter", { max: most, value: n, "aria-label": `${label}: ${n} jobs` }),
              h("span", null, n)
            )
          )
        )
  )
}
