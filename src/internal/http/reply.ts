import { concatBytes } from "../text/bytes.js"

export interface Reply {
  readonly status: number
  readonly text: string
  readonly retryAfter: string | undefined
  /** Whether the body was small enough to be read to its end. */
  readonly isWhole: boolean
}

/** Results are at most 20 MB; an answer that goes on for ever must not fill the memory. In bytes. */
export const largestAnswer = 256 * 1024 * 1024
/** An error needs no more of its body than this. */
export const largestErrorAnswer = 64 * 1024

const decoder = new TextDecoder()

/** Collects the body of an answer, up to a size, and decodes it once. */
export class ReplyCollector {
  /** Most answers come in one chunk. */
  private first: Uint8Array | undefined
  private rest: Array<Uint8Array> | undefined
  private left: number

  constructor(
    private readonly status: number,
    private readonly retryAfter: string | undefined
  ) {
    this.left = status >= 400 ? largestErrorAnswer : largestAnswer
  }

  add(chunk: Uint8Array): boolean {
    if (this.first === undefined) this.first = chunk
    else (this.rest ??= []).push(chunk)
    this.left -= chunk.byteLength
    return this.left >= 0
  }

  toReply(): Reply {
    const { first, rest } = this
    return {
      status: this.status,
      text: decoder.decode(first === undefined || rest === undefined ? first : concatBytes([first, ...rest])),
      retryAfter: this.retryAfter,
      isWhole: this.status >= 400 || this.left >= 0
    }
  }
}
