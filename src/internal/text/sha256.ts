const initial = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]

const isPrime = (n: number): boolean => {
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return false
  return true
}

/** The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const rounds = Int32Array.from({ length: 312 }, (_, n) => n)
  .filter((n) => n > 1 && isPrime(n))
  .map((prime) => {
    const root = Math.cbrt(prime)
    return (root - Math.floor(root)) * 2 ** 32
  })

const encoder = new TextEncoder()
const words = new Int32Array(64)

/** SHA-256 of a text's UTF-8, in hex. */
export const sha256 = (text: string): string =>
  Array.from(digest(encoder.encode(text)), (byte) => byte.toString(16).padStart(2, "0")).join("")

/**
 * SHA-256. `crypto.subtle` would answer on a later turn, and a test's clock would not wait for it. It is for short
 * messages: a long one keeps the thread busy.
 */
export const digest = (message: Uint8Array): Uint8Array => {
  const length = Math.ceil((message.length + 9) / 64) * 64
  const padded = new DataView(new ArrayBuffer(length))
  new Uint8Array(padded.buffer).set(message)
  padded.setUint8(message.length, 0x80)
  padded.setUint32(length - 8, Math.floor(message.length / 2 ** 29))
  padded.setUint32(length - 4, (message.length * 8) >>> 0)
  const state = Int32Array.from(initial)
  for (let offset = 0; offset < length; offset += 64) compress(state, padded, offset)
  const out = new DataView(new ArrayBuffer(32))
  for (const [i, word] of state.entries()) out.setInt32(i * 4, word)
  return new Uint8Array(out.buffer)
}

const at = (array: Int32Array, index: number): number => array[index] ?? 0

const compress = (state: Int32Array, block: DataView, offset: number): void => {
  for (let i = 0; i < 16; i++) words[i] = block.getInt32(offset + i * 4)
  for (let i = 16; i < 64; i++) {
    const w15 = at(words, i - 15)
    const w2 = at(words, i - 2)
    const s0 = rotate(w15, 7) ^ rotate(w15, 18) ^ (w15 >>> 3)
    const s1 = rotate(w2, 17) ^ rotate(w2, 19) ^ (w2 >>> 10)
    words[i] = at(words, i - 16) + s0 + at(words, i - 7) + s1
  }
  let a = at(state, 0)
  let b = at(state, 1)
  let c = at(state, 2)
  let d = at(state, 3)
  let e = at(state, 4)
  let f = at(state, 5)
  let g = at(state, 6)
  let h = at(state, 7)
  for (let i = 0; i < 64; i++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + at(rounds, i) + at(words, i)) | 0
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
    h = g
    g = f
    f = e
    e = (d + t1) | 0
    d = c
    c = b
    b = a
    a = (t1 + t2) | 0
  }
  const sums = [a, b, c, d, e, f, g, h]
  for (const [i, sum] of sums.entries()) state[i] = at(state, i) + sum
}

const rotate = (word: number, by: number): number => (word >>> by) | (word << (32 - by))
