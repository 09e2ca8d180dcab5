import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"
import { tablesBelow } from "../../scripts/blocks.mjs"
import { root } from "../../scripts/layout.mjs"
import { familyName } from "../../src/internal/telemetry/exposition.js"
import { keys } from "../../src/internal/telemetry/instruments.js"

const Source = Schema.Struct({ type: Schema.Literal("prometheus"), uid: Schema.Literal("${datasource}") })

const Place = Schema.Struct({ x: Schema.Int, y: Schema.Int, w: Schema.Int, h: Schema.Int })

const Row = Schema.Struct({
  id: Schema.Int,
  type: Schema.Literal("row"),
  title: Schema.NonEmptyString,
  collapsed: Schema.Literal(false),
  gridPos: Place,
  panels: Schema.Tuple()
})

const Panel = Schema.Struct({
  id: Schema.Int,
  type: Schema.Literal("timeseries", "stat"),
  title: Schema.NonEmptyString,
  description: Schema.NonEmptyString,
  datasource: Source,
  gridPos: Place,
  fieldConfig: Schema.Struct({
    defaults: Schema.Struct({ unit: Schema.NonEmptyString }),
    overrides: Schema.Array(Schema.Unknown)
  }),
  options: Schema.Object,
  targets: Schema.NonEmptyArray(
    Schema.Struct({
      refId: Schema.NonEmptyString,
      datasource: Source,
      expr: Schema.NonEmptyString,
      legendFormat: Schema.NonEmptyString
    })
  )
})

const Dashboard = Schema.Struct({
  title: Schema.NonEmptyString,
  uid: Schema.NonEmptyString,
  // The last one of Grafana's classic model, that of Grafana 12.
  schemaVersion: Schema.Literal(42),
  panels: Schema.Array(Schema.Union(Row, Panel)),
  templating: Schema.Struct({ list: Schema.Array(Schema.Struct({ name: Schema.String, type: Schema.String })) })
})

const { panels, templating } = Schema.decodeUnknownSync(Schema.parseJson(Dashboard))(
  readFileSync(`${root}docs/grafana/runpod.json`, "utf8")
)
const targets = panels.flatMap((panel) => (panel.type === "row" ? [] : panel.targets))

/** The families that Prometheus reads, and the labels of each as docs/observability.md has them. */
const families = new Map(
  tablesBelow(readFileSync(`${root}docs/observability.md`, "utf8"), "Metrics").flatMap(({ rows }) =>
    rows.map(([name = "", , , tags = ""]): readonly [string, ReadonlyArray<string>] => {
      const key = Object.values(keys).find((key) => `\`${key.name}\`` === name)
      assert.isDefined(key, name)
      return [key === undefined ? "" : familyName(key), Array.from(tags.matchAll(/`(\w+)`/g), ([, tag = ""]) => tag)]
    })
  )
)

const familyOf = (name: string) =>
  [name, name.replace(/_(?:bucket|sum|count)$/, "")].find((family) => families.has(family))
const namesIn = (expr: string) => Array.from(expr.matchAll(/\brunpod_\w+/g), ([name]) => name)

describe("the dashboard for Grafana", () => {
  it("has six rows, and panels that neither overlap nor share an id", () => {
    assert.deepStrictEqual(
      panels.flatMap(({ title, type }) => (type === "row" ? [title] : [])),
      ["Jobs", "Latency", "Requests and limits", "Workers and queue", "Batches", "Webhooks and cost"]
    )
    assert.strictEqual(new Set(panels.map(({ id }) => id)).size, panels.length)
    const taken = new Set<string>()
    for (const { gridPos, title } of panels) {
      assert.isAtMost(gridPos.x + gridPos.w, 24, title)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert.isFalse(taken.has(`${x} ${y}`), title)
          taken.add(`${x} ${y}`)
        }
      }
    }
    for (const panel of panels) {
      if (panel.type === "row") continue
      assert.strictEqual(new Set(panel.targets.map(({ refId }) => refId)).size, panel.targets.length)
    }
  })

  it("has variables for the data source and the endpoint", () => {
    assert.deepStrictEqual(
      templating.list.map(({ name, type }) => [name, type]),
      [
        ["datasource", "datasource"],
        ["endpoint", "query"]
      ]
    )
  })

  it("asks for metrics and labels that there are, and leaves none of the metrics out", () => {
    assert.strictEqual(families.size, Object.keys(keys).length)
    const asked = new Set<string>()
    for (const { expr, legendFormat } of targets) {
      const [family, ...others] = namesIn(expr).map(familyOf)
      assert.lengthOf(others, 0, expr)
      assert(family !== undefined, expr)
      asked.add(family)
      const labels = families.get(family) ?? []
      const grouped = /\bby \(([^)]*)\)/.exec(expr)?.[1]?.split(", ") ?? []
      const selected = Array.from(expr.matchAll(/(\w+)(?:=~|!~|!=|=)"/g), ([, label = ""]) => label)
      for (const label of [...grouped, ...selected]) {
        if (label !== "le") assert.include(labels, label, expr)
      }
      assert.strictEqual(selected.includes("endpoint"), labels.includes("endpoint"), expr)
      for (const [, label = ""] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) assert.include(grouped, label, expr)
      // Quantiles are those of buckets.
      assert.strictEqual(expr.includes("histogram_quantile"), grouped.includes("le") && /_bucket\{/.test(expr), expr)
    }
    assert.sameMembers([...asked], [...families.keys()])
  })
})
