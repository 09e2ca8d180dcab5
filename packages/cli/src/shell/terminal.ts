/**
 * The only place that writes to stdout and stderr, but for help. A terminal gets `TerminalText`, in which control characters are visible; a file or a pipe gets a text
 * as it is.
 */
import * as TerminalText from "effect-runpod/TerminalText"
import type { WriteStream } from "node:tty"

type Sink = Pick<NodeJS.WritableStream, "write"> & Partial<Pick<WriteStream, "isTTY" | "columns">>

const toTerminal = (stream: Sink, text: TerminalText.TerminalText, done?: () => void): void => {
  stream.write(text, done)
}

/** Writes a text that anybody may have had a hand in. */
export const print = (stream: Sink, text: string, done?: () => void): void => {
  if (stream.isTTY === true) toTerminal(stream, TerminalText.make(text), done)
  else stream.write(text, done)
}

/** What this program itself makes a terminal do. */
const eraseLine = "\r\u001b[2K"

/** Erases the line of the cursor, and writes on it as much of a text as it has room for. */
export const redraw = (stream: Sink, text: string): void => {
  const room = (stream.columns || 80) - 1
  const line = TerminalText.oneLine(text)
  const shown = TerminalText.make(line.slice(0, room).replace(/[\ud800-\udbff]$/, ""))
  toTerminal(stream, `${eraseLine}${shown}` as TerminalText.TerminalText)
}
