/** How the help of the program is written, which has no text of others in it. */
import type { WriteStream } from "node:tty"

type Sink = Pick<NodeJS.WritableStream, "write"> & Partial<Pick<WriteStream, "isTTY">>

/** The heading of a section, bold on a terminal where colours are wanted. */
export const headingOn =
  ({ isTTY }: Sink, isPlain: boolean) =>
  (text: string): string =>
    isTTY === true && !isPlain ? `\u001b[1m${text}\u001b[0m` : text

export const printHelp = (stream: Sink, help: string): void => {
  stream.write(help)
}
