/** The entries used last, by key, and not more than `most` of them. */
export class LruCache<A> {
  private readonly entries = new Map<string, A>()

  constructor(private readonly most: number) {}

  peek(key: string): A | undefined {
    return this.entries.get(key)
  }

  /** The entry of this key, made when there is none. */
  get(key: string, make: () => A): A {
    const found = this.entries.get(key)
    if (found !== undefined) {
      this.entries.delete(key)
      this.entries.set(key, found)
      return found
    }
    const made = make()
    this.entries.set(key, made)
    const [oldest] = this.entries.keys()
    if (this.entries.size > this.most && oldest !== undefined) this.entries.delete(oldest)
    return made
  }
}
