import * as TerminalText from "effect-runpod/TerminalText"

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;"
}

/** A text as it stands in an element or a quoted attribute; its control characters are visible. */
export const escape = (text: string): string =>
  TerminalText.make(text).replace(/[&<>"']/g, (character) => entities[character] ?? "")

const cells = (texts: ReadonlyArray<string>, name: "td" | "th"): string =>
  `<tr>${texts.map((text) => `<${name}>${escape(text)}</${name}>`).join("")}</tr>`

export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  `<table><thead>${cells(head, "th")}</thead><tbody>${rows.map((row) => cells(row, "td")).join("")}</tbody></table>`

const labelOf = (millis: number): string => (millis < 1_000 ? `${millis} ms` : `${(millis / 1_000).toFixed(1)} s`)

/** A histogram as a picture whose bars have their numbers as text. */
export const histogram = (title: string, bounds: ReadonlyArray<number>, counts: ReadonlyArray<number>): string => {
  const most = Math.max(1, ...counts)
  const first = counts.findIndex((count) => count > 0)
  if (first === -1) return ""
  const last = counts.findLastIndex((count) => count > 0)
  const bars = counts.slice(first, last + 1).map((count, i) => {
    const bound = bounds[first + i]
    const label = bound === undefined ? `> ${labelOf(bounds.at(-1) ?? 0)}` : `≤ ${labelOf(bound)}`
    const y = i * 22
    const width = Math.round((count / most) * 560)
    return `<text x="0" y="${y + 15}">${escape(label)}</text><rect x="100" y="${y + 3}" width="${width}" height="16"/><text x="${width + 108}" y="${y + 15}">${count}</text>`
  })
  return `<h2>${escape(title)}</h2><svg viewBox="0 0 720 ${bars.length * 22}" role="img" aria-label="${escape(title)}">${bars.join("")}</svg>`
}
