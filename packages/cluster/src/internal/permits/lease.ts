/** What a store of permits decides: pure, for stores that keep a state as a whole. The script for Redis says the same in Lua. */
import type { Lease, Request } from "../../PermitStore.js"

/** Starts that count in the window. */
interface Counted {
  readonly holder: string
  readonly id: number
  readonly count: number
  /** By the store's clock, in milliseconds, as all times here. */
  readonly at: number
}

/** A process that has a part of the places. */
interface Holder {
  readonly name: string
  /** When its part ends. */
  readonly until: number
  readonly demand: number
  /** How many places it was told it has, or still uses. */
  readonly held: number
  /** Since when it has places, or has none. */
  readonly turn: number
  /** Since when it has asked for starts in vain, and when it did last; 0 if it has what it asked for. */
  readonly short: number
  readonly shortAt: number
}

export interface State {
  /** The oldest first. */
  readonly blocks: ReadonlyArray<Counted>
  readonly holders: ReadonlyArray<Holder>
}

export const noState: State = { blocks: [], holders: [] }

/** A holder that waits for starts asks at least every second: one that has not for so long has left, in milliseconds. */
export const longestSilence = 2_500
/** For how long a holder keeps its turn while it waits for starts, without which it cannot use its place, in milliseconds. */
export const longestTurn = 1_000

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((sum, n) => sum + n, 0)

/** The blocks that count now, as the holder knows its own. */
const countedOf = ({ blocks }: State, { holder, unsaved, window }: Request, now: number) => {
  if (window === undefined) return []
  const isOwn = (block: Counted, id: number) => block.holder === holder && block.id === id
  const own = (block: Counted): Counted => {
    const told = unsaved.find(({ id }) => isOwn(block, id))
    if (told === undefined) return block
    // Whatever comes late, or twice.
    return { ...block, at: Math.max(block.at, now - told.age), count: Math.min(block.count, told.count) }
  }
  const forgotten = unsaved
    .filter(({ id }) => !blocks.some((block) => isOwn(block, id)))
    .map(({ age, count, id }) => ({ holder, id, count, at: now - age }))
  return [...blocks, ...forgotten]
    .map((block) => (block.holder === holder ? own(block) : block))
    .filter(({ at, count }) => count > 0 && at + window.span > now)
    .sort((a, b) => a.at - b.at)
}

/** In how many milliseconds there is a start beyond those that are for others. */
const nextStart = (blocks: ReadonlyArray<Counted>, missing: number, span: number, now: number): number => {
  let left = missing
  for (const { at, count } of blocks) {
    left -= count
    if (left <= 0) return Math.max(1, at + span - now)
  }
  return span
}

const byName = (a: Holder, b: Holder): number => (a.name < b.name ? -1 : 1)

/**
 * Who has a place where there are fewer than holders who want one: first those who have none, by how long that is so; then the others, and of
 * them who has had one for the shortest time. So each has its turn.
 */
const byTurn = (a: Holder, b: Holder): number => {
  if (a.held > 0 !== b.held > 0) return a.held > 0 ? 1 : -1
  return (a.held > 0 ? b.turn - a.turn : a.turn - b.turn) || byName(a, b)
}

/** How many places a holder is due: as many as it wants where that is little, else as many as the others. */
const partOf = (holders: ReadonlyArray<Holder>, name: string, places: number): number => {
  const wanting = holders.filter(({ demand }) => demand > 0)
  if (places < wanting.length) {
    const rank = wanting.sort(byTurn).findIndex((holder) => holder.name === name)
    return rank >= 0 && rank < places ? 1 : 0
  }
  const sorted = wanting.sort((a, b) => a.demand - b.demand || byName(a, b))
  let left = places
  let part = 0
  for (const [i, holder] of sorted.entries()) {
    const due = Math.min(holder.demand, Math.floor(left / (sorted.length - i)))
    if (holder.name === name) part = due
    left -= due
  }
  // What nobody wants yet is at hand for whoever does, one who has just come among them.
  return part + Math.floor(left / (sorted.length + 1))
}

/** One request, and what is known after it. */
export const leaseIn = (
  state: State,
  request: Request,
  now: number
): { readonly state: State; readonly lease: Lease } => {
  const { demand, holder: name, inFlight, places, ttl, wanted, window } = request
  const others = state.holders.filter((holder) => holder.name !== name && holder.until > now)
  const before = state.holders.find((holder) => holder.name === name && holder.until > now)

  const blocks = countedOf(state, request, now)
  const free = window === undefined ? Infinity : Math.max(0, window.limit - sum(blocks.map(({ count }) => count)))
  const short = before?.short || Infinity
  // Where there are places, a start is of no use to one that has none.
  const ahead = others.filter(
    (other) =>
      other.short > 0 &&
      other.short < short &&
      other.shortAt + longestSilence > now &&
      (places === undefined || other.held > 0)
  )
  const granted = Math.min(wanted?.count ?? 0, Math.max(0, free - ahead.length))
  const isShort = wanted !== undefined && window !== undefined && granted < wanted.count
  const retryAfter = isShort ? nextStart(blocks, ahead.length + 1 - (free - granted), window.span, now) : 0
  const isInVain = isShort && granted === 0

  const self = { name, until: now + ttl, demand, held: before?.held ?? 0, turn: before?.turn ?? now }
  const keepsTurn = wanted !== undefined && self.held > 0 && now - self.turn < longestTurn
  const all = [...others, { ...self, ...(keepsTurn ? { held: 0, turn: 0 } : {}), short: 0, shortAt: 0 }]
  const left = (places ?? 0) - sum(others.map(({ held }) => held))
  // One that wants nothing and has nothing keeps nothing.
  const isGone = demand === 0 && inFlight === 0
  const part = places === undefined ? Infinity : Math.max(0, Math.min(partOf(all, name, places), left))
  const told = isGone && places !== undefined ? 0 : part
  // It learns of a smaller part by the answer: until it asks again it may use what it had.
  const held = places === undefined ? inFlight : Math.max(told, inFlight)
  const next: Holder = {
    ...self,
    held,
    turn: before === undefined || held > 0 !== before.held > 0 ? now : before.turn,
    short: isInVain ? before?.short || now : wanted === undefined ? (before?.short ?? 0) : 0,
    shortAt: isInVain ? now : wanted === undefined ? (before?.shortAt ?? 0) : 0
  }
  return {
    state: {
      blocks:
        granted > 0 && wanted !== undefined && window !== undefined
          ? [...blocks, { holder: name, id: wanted.id, count: granted, at: now }]
          : blocks,
      holders: isGone ? others : [...others, next]
    },
    lease: { granted, retryAfter, places: told, free: free - granted, holders: isGone ? others.length : all.length }
  }
}
