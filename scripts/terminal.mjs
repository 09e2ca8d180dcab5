// @ts-check
/** What was written to a terminal, as a picture that plays once and then shows the end. */

/**
 * A piece of output: when it came, in seconds, and what it was.
 *
 * @typedef {{ readonly at: number, readonly text: string }} Written
 */

/**
 * What stands in a row of the screen for a while. Without `to` it stays.
 *
 * @typedef {{ readonly row: number, readonly text: string, readonly from: number, readonly to?: number }} Line
 */

/** Sequences that a terminal obeys; of those, only the one that erases a line is obeyed here. */
const begin = "\u001b["
const sequence = new RegExp(`${begin.replace("[", "\\[")}[0-9;?]*[A-Za-z]`)

/**
 * The rows of a screen over time. It knows line ends, the return to the begin of a line, its erasure, and lines longer than the screen is wide.
 *
 * @param {ReadonlyArray<Written>} written
 * @param {number} columns
 * @returns {ReadonlyArray<Line>}
 */
export const linesOf = (written, columns) => {
  /** @type {Array<string>} */
  const rows = [""]
  /** @type {Array<Line>} */
  const ended = []
  /** @type {Array<Line>} */
  const shown = []
  let row = 0
  let column = 0
  const next = () => {
    row++
    column = 0
    rows[row] ??= ""
  }
  /** @param {string} character */
  const put = (character) => {
    if (column === columns) next()
    const text = (rows[row] ?? "").padEnd(column)
    rows[row] = text.slice(0, column) + character + text.slice(column + 1)
    column++
  }
  for (const { at, text } of written) {
    for (const part of text.split(new RegExp(`(${sequence.source}|\\r|\\n)`))) {
      if (part === "\r") column = 0
      else if (part === "\n") next()
      else if (part === `${begin}2K`) rows[row] = ""
      else if (!sequence.test(part)) for (const character of part) put(character)
    }
    for (const [index, content] of rows.entries()) {
      const line = shown[index]
      if (line?.text === content) continue
      if (line !== undefined && line.from < at) ended.push({ ...line, to: at })
      shown[index] = { row: index, text: content, from: at }
    }
  }
  return [...ended, ...shown].filter(({ text }) => text.trim() !== "")
}

/** @param {string} text */
const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

/** @param {number} seconds */
const time = (seconds) => `${Number(seconds.toFixed(2))}s`

const size = { width: 7.85, height: 18, margin: 16 }

/** @param {Line} line */
const textOf = ({ from, row, text, to }) => {
  const y = size.margin + row * size.height + 13
  const begins = `<text x="${size.margin}" y="${y}"${text.startsWith("$ ") ? ` class="typed"` : ""}`
  // Without animation, what is there at the end is shown.
  const plays =
    to === undefined
      ? `><set attributeName="visibility" to="hidden" begin="0s" end="${time(from)}"/>`
      : ` visibility="hidden"><set attributeName="visibility" to="visible" begin="${time(from)}" end="${time(to)}"/>`
  return `${begins}${from === 0 && to === undefined ? ">" : plays}${escape(text)}</text>`
}

/**
 * The picture, which is the same for the same output.
 *
 * @param {ReadonlyArray<Written>} written
 * @param {{ readonly columns: number, readonly title: string }} options
 */
export const svgOf = (written, { columns, title }) => {
  const lines = linesOf(written, columns)
  const width = Math.ceil(columns * size.width + 2 * size.margin)
  const height = (Math.max(0, ...lines.map(({ row }) => row)) + 1) * size.height + 2 * size.margin
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escape(title)}</title>
<style>text{font:13px/1 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre;fill:#d8dee9}.typed{fill:#8fd3a8}</style>
<rect width="100%" height="100%" rx="8" fill="#1b1f27"/>
${lines.map(textOf).join("\n")}
</svg>
`
}
