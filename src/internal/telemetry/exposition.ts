/** Metrics of Effect as Prometheus reads them: the text exposition format 0.0.4. */
import type * as MetricKey from "effect/MetricKey"
import * as MetricKeyType from "effect/MetricKeyType"
import type * as MetricLabel from "effect/MetricLabel"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"

type Type = "counter" | "gauge" | "histogram" | "summary"

/** Labels by their names. */
type Labels = ReadonlyMap<string, string>

/** All metrics of one name, whose lines have to stand together. */
interface Family {
  readonly type: Type
  readonly help: string
  /** The lines of each set of labels. */
  readonly series: Map<string, string>
}

/** What Effect's tag `unit`, and `time_unit` of its timers, becomes at the end of a name, by UCUM's abbreviations. */
const units: Readonly<Record<string, string>> = {
  "1": "",
  s: "seconds",
  ms: "milliseconds",
  us: "microseconds",
  ns: "nanoseconds",
  min: "minutes",
  h: "hours",
  By: "bytes",
  "%": "percent"
}
const isUnit = ({ key }: MetricLabel.MetricLabel): boolean => key === "unit" || key === "time_unit"

const nameOf = (text: string): string => text.replace(/[^\w:]/g, "_").replace(/^(?=\d|$)/, "_")
/** Two underscores at the beginning are Prometheus's own. */
const labelNameOf = (text: string): string =>
  nameOf(text)
    .replaceAll(":", "_")
    .replace(/^_+(?=_)/, "")

const endingWith = (name: string, suffix: string): string =>
  suffix === "" || name.endsWith(`_${suffix}`) ? name : `${name}_${suffix}`

const escaped = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")

const numberOf = (value: number | bigint): string =>
  value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value)

/** A label that two tags come to has the values of both. `reserved` is the label that the lines of this type have of their own. */
const labelsOf = (tags: ReadonlyArray<MetricLabel.MetricLabel>, reserved: string | undefined): Labels => {
  const labels = new Map<string, string>()
  for (const tag of tags) {
    if (isUnit(tag)) continue
    const own = labelNameOf(tag.key)
    const name = own === reserved ? `exported_${own}` : own
    const earlier = labels.get(name)
    labels.set(name, earlier === undefined ? tag.value : `${earlier};${tag.value}`)
  }
  return labels
}

const line = (name: string, labels: Labels, value: number | bigint): string => {
  const pairs = Array.from(labels, ([label, text]) => `${label}="${escaped(text).replaceAll('"', '\\"')}"`)
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${numberOf(value)}\n`
}

const typeOf = (keyType: unknown): Type | undefined => {
  // A counter that may fall is a gauge for Prometheus.
  if (MetricKeyType.isCounterKey(keyType)) return keyType.incremental ? "counter" : "gauge"
  if (MetricKeyType.isGaugeKey(keyType)) return "gauge"
  if (MetricKeyType.isFrequencyKey(keyType)) return "counter"
  if (MetricKeyType.isHistogramKey(keyType)) return "histogram"
  return MetricKeyType.isSummaryKey(keyType) ? "summary" : undefined
}

/** The label of a type's own lines: of a frequency `key`, as Effect's exporters name it. */
const reservedOf = (keyType: unknown): string | undefined => {
  if (MetricKeyType.isHistogramKey(keyType)) return "le"
  if (MetricKeyType.isSummaryKey(keyType)) return "quantile"
  return MetricKeyType.isFrequencyKey(keyType) ? "key" : undefined
}

const linesOf = (name: string, labels: Labels, state: unknown): string => {
  const one = (suffix: string, value: number | bigint) => line(name + suffix, labels, value)
  const withLabel = (suffix: string, label: string, text: string, value: number) =>
    line(name + suffix, new Map([...labels, [label, text]]), value)
  if (MetricState.isCounterState(state)) return one("", state.count)
  if (MetricState.isGaugeState(state)) return one("", state.value)
  if (MetricState.isFrequencyState(state)) {
    return Array.from(state.occurrences, ([word, count]) => withLabel("", "key", word, count)).join("")
  }
  if (MetricState.isHistogramState(state)) {
    const { buckets, count, sum } = state
    const bounded = buckets.filter(([bound]) => bound !== Infinity)
    const lines = bounded.map(([bound, upTo]) => withLabel("_bucket", "le", numberOf(bound), upTo))
    return `${lines.join("")}${withLabel("_bucket", "le", "+Inf", count)}${one("_sum", sum)}${one("_count", count)}`
  }
  if (!MetricState.isSummaryState(state)) return ""
  const { count, quantiles, sum } = state
  const lines = quantiles.map(([quantile, value]) =>
    withLabel(
      "",
      "quantile",
      String(quantile),
      Option.getOrElse(value, () => NaN)
    )
  )
  return `${lines.join("")}${one("_sum", sum)}${one("_count", count)}`
}

/** The name of a metric as it is printed, without what each line of a type adds to it. */
export const familyName = ({ keyType, name, tags }: MetricKey.MetricKey.Untyped): string => {
  const unit = tags.find(isUnit)?.value ?? "1"
  const suffix = units[unit] ?? labelNameOf(unit.toLowerCase())
  return endingWith(endingWith(nameOf(name), suffix), typeOf(keyType) === "counter" ? "total" : "")
}

/** Of two metrics that come to the same name and labels the first is printed. */
export const format = (pairs: ReadonlyArray<MetricPair.MetricPair.Untyped>): string => {
  const families = new Map<string, Family>()
  for (const { metricKey, metricState } of pairs) {
    const type = typeOf(metricKey.keyType)
    if (type === undefined) continue
    let name = familyName(metricKey)
    // A name has one type: another metric that has come to it is told apart by its own.
    if ((families.get(name)?.type ?? type) !== type) name = `${name}_${type}`
    let family = families.get(name)
    if (family === undefined) {
      family = { type, help: Option.getOrElse(metricKey.description, () => ""), series: new Map() }
      families.set(name, family)
    }
    const labels = labelsOf(metricKey.tags, reservedOf(metricKey.keyType))
    const series = JSON.stringify([...labels].sort())
    if (!family.series.has(series)) family.series.set(series, linesOf(name, labels, metricState))
  }
  let text = ""
  for (const [name, { help, series, type }] of families) {
    if (help !== "") text += `# HELP ${name} ${escaped(help)}\n`
    text += `# TYPE ${name} ${type}\n`
    for (const lines of series.values()) text += lines
  }
  return text
}
