/** Numbers and times as a person reads them. */
export const duration = (millis: number | undefined): string => {
  if (millis === undefined) return "–"
  if (millis < 1_000) return `${Math.round(millis)} ms`
  if (millis < 60_000) return `${(millis / 1_000).toFixed(1)} s`
  const minutes = Math.floor(millis / 60_000)
  if (minutes < 60) return `${minutes} min ${Math.round((millis % 60_000) / 1_000)} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
export const count = (value: number | undefined): string => (value === undefined ? "–" : value.toLocaleString("en"))
export const usd = (value: number | undefined): string => (value === undefined ? "–" : `$${value.toFixed(4)}`)
export const time = (at: number | undefined): string => (at === undefined ? "–" : new Date(at).toLocaleTimeString())
