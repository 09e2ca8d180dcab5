/** Four tables of 256 entries, one behind the other: with them four bytes are taken at once. */
const tables = /* @__PURE__ */ (() => {
  const all = new Int32Array(4 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
    all[byte] = crc
  }
  for (let at = 256; at < all.length; at++) {
    const crc = all[at - 256] ?? 0
    all[at] = (crc >>> 8) ^ (all[crc & 255] ?? 0)
  }
  return all
})()

const tableAt = (at: number): number => tables[at] ?? 0

/** CRC-32 as in zlib and PNG, of the bytes from `start` to `end`. It tells apart what differs in up to 32 bits in a row. */
export const crc32 = (bytes: Uint8Array, end = bytes.length, start = 0, before = 0): number => {
  const byteAt = (at: number): number => bytes[at] ?? 0
  let crc = ~before
  let at = start
  for (; at + 4 <= end; at += 4) {
    crc ^= byteAt(at) | (byteAt(at + 1) << 8) | (byteAt(at + 2) << 16) | (byteAt(at + 3) << 24)
    crc =
      tableAt(768 + (crc & 255)) ^
      tableAt(512 + ((crc >>> 8) & 255)) ^
      tableAt(256 + ((crc >>> 16) & 255)) ^
      tableAt(crc >>> 24)
  }
  for (; at < end; at++) crc = tableAt((crc ^ byteAt(at)) & 255) ^ (crc >>> 8)
  return ~crc >>> 0
}
