const encoder = new TextEncoder()

export const utf8 = (text: string): Uint8Array => encoder.encode(text)

/** The chunks in one array; the chunk itself when there is one. */
export const concatBytes = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const first = chunks[0]
  if (first !== undefined && chunks.length === 1) return first
  const all = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.byteLength, 0))
  let offset = 0
  for (const chunk of chunks) {
    all.set(chunk, offset)
    offset += chunk.byteLength
  }
  return all
}
