/** The file of a journal as a kill leaves it: cut at some byte. */
import type * as JournalEntry from "../../src/schemas/JournalEntry.js"

/** Where the lines of a file end, their line feeds included. */
export const lineEnds = (file: Uint8Array): ReadonlyArray<number> =>
  Array.from(file.entries()).flatMap(([at, byte]) => (byte === 10 ? [at + 1] : []))

/** The entries that are whole in the first `length` bytes of a journal's file. */
export const entriesWithin = (file: Uint8Array, length: number): ReadonlyArray<JournalEntry.Entry> =>
  new TextDecoder()
    .decode(file.subarray(0, lineEnds(file).findLast((end) => end <= length) ?? 0))
    .split("\n")
    .slice(2)
    .flatMap((line): ReadonlyArray<JournalEntry.Entry> => (line === "" ? [] : [JSON.parse(line)]))
