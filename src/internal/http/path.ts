/** A path with parameters, taken apart once: texts, and the names of what stands between them. */
interface Template {
  readonly texts: ReadonlyArray<string>
  readonly names: ReadonlyArray<string>
}

const known = new Map<string, Template>()

const templateOf = (path: string): Template => {
  const found = known.get(path)
  if (found !== undefined) return found
  const parts = path.split(/[{}]/)
  const template = { texts: parts.filter((_, i) => i % 2 === 0), names: parts.filter((_, i) => i % 2 === 1) }
  known.set(path, template)
  return template
}

/** Puts parameters into a path such as `/{endpointId}/status/{jobId}`, percent-encoded. */
export const fillPath = (path: string, params: Readonly<Record<string, string | undefined>>): string => {
  const { names, texts } = templateOf(path)
  let filled = texts[0] ?? ""
  for (let i = 0; i < names.length; i++) {
    filled += encodeURIComponent(params[names[i] ?? ""] ?? "") + (texts[i + 1] ?? "")
  }
  return filled
}
