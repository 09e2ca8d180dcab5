import process from "node:process"
import { print, redraw } from "./terminal.js"

/** The line of progress that changes, on the terminal of stderr. Plain state of the process, since whoever writes there has to leave it first. */
let line: "none" | "passing" | "kept" = "none"

/** Draws it anew. `isKept`: it says what must stay, whatever comes next. */
export const draw = (text: string, isKept: boolean): void => {
  redraw(process.stderr, text)
  line = isKept ? "kept" : "passing"
}

/** Leaves it as it stands. */
export const leave = (): void => {
  if (line !== "none") print(process.stderr, "\n")
  line = "none"
}

/** Makes room for data on the same terminal: what passes goes, and is drawn again below. */
export const makeRoom = (): void => {
  if (line === "none" || !process.stdout.isTTY) return
  if (line === "kept") print(process.stderr, "\n")
  else redraw(process.stderr, "")
  line = "none"
}
