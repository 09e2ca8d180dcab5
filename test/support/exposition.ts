/** A strict reader of Prometheus's text format 0.0.4, which refuses what Prometheus would, and what its documents say must not be. */

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Family {
  readonly type: string
  readonly help: string | undefined
  readonly samples: Array<Sample>
}

const unescape = (text: string): string =>
  text.replace(/\\(.)/g, (_, letter: string) => {
    if (letter === "n") return "\n"
    if (letter === "\\" || letter === '"') return letter
    throw new Error(`\\${letter} is no escape`)
  })

const numberOf = (text: string): number => {
  if (text === "+Inf") return Infinity
  if (text === "-Inf") return -Infinity
  if (text === "NaN") return NaN
  if (!/^-?\d+(?:\.\d+)?(?:e[+-]\d+)?$/.test(text)) throw new Error(`${text} is no number`)
  return Number(text)
}

const labelsOf = (text: string): Record<string, string> => {
  const labels: Record<string, string> = {}
  let rest = text
  while (rest !== "") {
    const [all, name, value] = /^([a-zA-Z_]\w*)="((?:[^"\\\n]|\\.)*)"(?:,(?=[a-zA-Z_])|$)/.exec(rest) ?? []
    if (all === undefined || name === undefined || value === undefined) throw new Error(`no labels: ${rest}`)
    if (name.startsWith("__")) throw new Error(`${name} is reserved`)
    if (name in labels) throw new Error(`${name} twice`)
    labels[name] = unescape(value)
    rest = rest.slice(all.length)
  }
  return labels
}

const sampleOf = (line: string): Sample => {
  const [, name, labels = "", value] = /^([a-zA-Z_:][\w:]*)(?:\{(.+)\})? (\S+)$/s.exec(line) ?? []
  if (name === undefined || value === undefined) throw new Error(`no sample: ${line}`)
  return { name, labels: labelsOf(labels), value: numberOf(value) }
}

const suffixes: Readonly<Record<string, ReadonlyArray<string>>> = {
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["", "_sum", "_count"]
}

/** The buckets of each histogram rise to `+Inf`, which is the count. */
const checkHistogram = (name: string, { samples }: Family): void => {
  const seriesOf = ({ le: _, ...labels }: Sample["labels"]) => JSON.stringify(labels)
  const bySeries = new Map<string, Array<Sample>>()
  for (const sample of samples) {
    const series = seriesOf(sample.labels)
    const same = bySeries.get(series) ?? []
    bySeries.set(series, same)
    same.push(sample)
  }
  for (const { labels, value } of samples.filter((sample) => sample.name === `${name}_count`)) {
    const same = bySeries.get(seriesOf(labels)) ?? []
    const buckets = same.filter((sample) => sample.name === `${name}_bucket`)
    let last = { bound: -Infinity, value: 0 }
    for (const bucket of buckets) {
      const bound = numberOf(bucket.labels["le"] ?? "")
      if (bound <= last.bound || bucket.value < last.value) throw new Error(`${name}: buckets do not rise`)
      last = { bound, value: bucket.value }
    }
    if (last.bound !== Infinity || last.value !== value) throw new Error(`${name}: the last bucket is not the count`)
    if (same.filter((sample) => sample.name === `${name}_sum`).length !== 1) throw new Error(`${name}: not one sum`)
  }
}

/** The families of a text, by their names. */
export const read = (text: string): ReadonlyMap<string, Family> => {
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line does not end")
  const families = new Map<string, Family>()
  const seen = new Set<string>()
  let help: { readonly name: string; readonly text: string } | undefined
  let current: { readonly name: string; readonly family: Family } | undefined
  for (const line of text.split("\n").slice(0, -1)) {
    const [, keyword, name, said] = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.*)$/.exec(line) ?? []
    if (keyword === "HELP" && name !== undefined && said !== undefined) {
      if (help !== undefined) throw new Error(`HELP of ${help.name} without TYPE`)
      help = { name, text: unescape(said) }
    } else if (keyword === "TYPE" && name !== undefined && said !== undefined) {
      if (!["counter", "gauge", "histogram", "summary", "untyped"].includes(said)) throw new Error(`no type: ${said}`)
      if (families.has(name)) throw new Error(`${name} stands in two places`)
      if (help !== undefined && help.name !== name) throw new Error(`HELP of ${help.name} before ${name}`)
      current = { name, family: { type: said, help: help?.text, samples: [] } }
      families.set(name, current.family)
      help = undefined
    } else {
      const sample = sampleOf(line)
      if (current === undefined) throw new Error(`no TYPE before ${line}`)
      const { family, name } = current
      const { samples, type } = family
      if (!(suffixes[type] ?? [""]).some((suffix) => sample.name === name + suffix))
        throw new Error(`of ${name}? ${line}`)
      const series = sample.name + JSON.stringify(Object.entries(sample.labels).sort())
      if (seen.has(series)) throw new Error(`twice: ${line}`)
      seen.add(series)
      samples.push(sample)
    }
  }
  for (const [name, family] of families) {
    if (family.type === "histogram") checkHistogram(name, family)
    if (family.type === "counter" && !name.endsWith("_total")) throw new Error(`${name} is a counter`)
  }
  return families
}
