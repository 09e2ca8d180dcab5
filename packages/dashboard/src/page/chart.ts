/** A chart over time, and its numbers as a table. */
import { h } from "preact"
import { useEffect, useRef } from "preact/hooks"
import uPlot from "uplot"
import type { Sample } from "../Api.js"
import { count, time } from "./format.js"

export interface Series {
  readonly label: string
  /** The name of a property of the sheet of styles. */
  readonly color: `--${string}`
  readonly of: (sample: Sample) => number | undefined
}

/** A colour of the scheme that is used now. */
const colorOf = (name: `--${string}`) => getComputedStyle(document.documentElement).getPropertyValue(name)
const textColor = () => colorOf("--text")
const lineColor = () => colorOf("--line")

export const Chart = ({
  samples,
  series,
  title
}: {
  title: string
  samples: ReadonlyArray<Sample>
  series: ReadonlyArray<Series>
}) => {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  const data: uPlot.AlignedData = [
    samples.map(({ at }) => at / 1000),
    ...series.map(({ of }) => samples.map((sample) => of(sample) ?? null))
  ]
  useEffect(() => {
    const element = place.current
    if (element === null) return
    const axis = {
      stroke: textColor,
      grid: { stroke: lineColor, width: 1 },
      ticks: { stroke: lineColor, width: 1 }
    }
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: 220,
        axes: [axis, axis],
        cursor: { drag: { x: false, y: false } },
        scales: { y: { range: (_, __, max) => [0, Math.max(1, max * 1.1)] } },
        series: [
          {},
          ...series.map(({ color, label }) => ({
            label,
            stroke: () => colorOf(color),
            width: 2,
            fill: () => `${colorOf(color)}22`,
            // One reading makes no line.
            points: { show: ({ data: [times] }: uPlot) => times.length < 2 }
          }))
        ]
      },
      data,
      element
    )
    plot.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: 220 }))
    observer.observe(element)
    const scheme = matchMedia("(prefers-color-scheme: dark)")
    const redraw = () => made.redraw()
    scheme.addEventListener("change", redraw)
    return () => {
      scheme.removeEventListener("change", redraw)
      observer.disconnect()
      made.destroy()
    }
  }, [title])
  useEffect(() => {
    const { current } = plot
    current?.setData(data)
    // The newest numbers, unless the cursor is at others.
    if (typeof current?.cursor.idx !== "number") current?.setLegend({ idx: samples.length - 1 })
  })
  const rows = samples.slice(-10).reverse()
  return h(
    "section",
    { "aria-label": title },
    h("h2", null, title),
    h("div", { ref: place, role: "img", "aria-label": `${title}, as a chart; the table below has its numbers` }),
    h(
      "details",
      null,
      h("summary", null, "As a table"),
      h(
        "table",
        null,
        h("thead", null, h("tr", null, h("th", null, "Time"), ...series.map(({ label }) => h("th", null, label)))),
        h(
          "tbody",
          null,
          rows.map((sample) =>
            h(
              "tr",
              { key: sample.seq },
              h("td", null, time(sample.at)),
              ...series.map(({ of }) => h("td", null, count(of(sample))))
            )
          )
        )
      )
    )
  )
}
