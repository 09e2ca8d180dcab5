import process from "node:process"

/** The line of progress that changes, on the terminal of stderr. Plain state of the process, since whoever writes there has to leave it first. */
let line: "none" | "passing" | "kept" = "none"

/** Draws it anew. `isKept`: it says what must stay, whatever comes next. */
export const draw = (text: string, isKept: boolean): void => {
  const width = process.stderr.columns || 80
  process.stderr.write(`\r\u001b[2K${text.slice(0, width - 1)}`)
  line = isKept ? "kept" : "passing"
}

/** Leaves it as it stands. */
export const leave = (): void => {
  if (line !== "none") process.stderr.write("\n")
  line = "none"
}

/** Makes room for data on the same terminal: what passes goes, and is drawn again below. */
export const makeRoom = (): void => {
  if (line === "none" || !process.stdout.isTTY) return
  process.stderr.write(line === "kept" ? "\n" : "\r\u001b[2K")
  line = "none"
}
