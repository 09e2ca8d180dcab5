const encoder = new TextEncoder()

/** The beginning of a text: at most `bytes` bytes of UTF-8, whole characters only. */
export const excerpt = (text: string, bytes = 2048): string => {
  if (text.length * 3 <= bytes) return text
  const { read } = encoder.encodeInto(text, new Uint8Array(bytes))
  return read === text.length ? text : text.slice(0, read)
}
