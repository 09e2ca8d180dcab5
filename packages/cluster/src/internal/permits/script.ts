import { longestSilence, longestTurn } from "./lease.js"

/**
 * `leaseIn` of `lease.ts` for Redis, as one script: a state as a whole in one key, and a mark that tells a Redis that remembers from one that
 * was emptied, or is another process since.
 */
export const script = `
local function sum(list, field)
  local total = 0
  for _, entry in ipairs(list) do total = total + entry[field] end
  return total
end

local poolKey, markKey = KEYS[1], KEYS[2]
local request = cjson.decode(ARGV[1])
local time = redis.call("TIME")
local now = time[1] * 1000 + time[2] / 1000

-- Who finds another generation than before tells what it knows, and nobody gets more than it has until all have had the time to.
local info = redis.pcall("INFO", "server")
local server = type(info) == "string" and string.match(info, "run_id:(%w+)") or "unknown"
local mark = redis.call("GET", markKey)
local generation, markedBy, opens
if mark then generation, markedBy, opens = string.match(mark, "^(%S+) (%S+) (%S+)$") end
if markedBy ~= server then
  generation, opens = request.mark, string.format("%.0f", now + request.settle)
  redis.call("SET", markKey, generation .. " " .. server .. " " .. opens)
end
if request.generation and request.generation ~= generation and not request.all then
  return cjson.encode({ generation = generation, asks = true })
end
local settles = tonumber(opens) > now

local state = redis.call("GET", poolKey)
state = state and cjson.decode(state) or { blocks = {}, holders = {} }
local name, places, wanted = request.holder, request.places, request.wanted
local limit, span = request.limit, request.span

local others, before = {}, nil
for _, holder in ipairs(state.holders) do
  if holder.t > now then
    if holder.name == name then before = holder else table.insert(others, holder) end
  end
end

local blocks, free = {}, math.huge
if limit then
  local own = {}
  for _, block in ipairs(state.blocks) do
    if block.h == name then own[block.i] = block end
  end
  for _, block in ipairs(request.unsaved) do
    local known, at = own[block.id], now - block.age
    if known then known.t, known.n = math.max(known.t, at), math.min(known.n, block.count)
    else table.insert(state.blocks, { h = name, i = block.id, n = block.count, t = at }) end
  end
  for _, block in ipairs(state.blocks) do
    if block.n > 0 and block.t + span > now then table.insert(blocks, block) end
  end
  table.sort(blocks, function(a, b) return a.t < b.t end)
  free = math.max(0, limit - sum(blocks, "n"))
end

local short, ahead = before and before.short > 0 and before.short or math.huge, 0
for _, other in ipairs(others) do
  local hasUse = not places or other.held > 0
  if other.short > 0 and other.short < short and other.shortAt + ${longestSilence} > now and hasUse then ahead = ahead + 1 end
end
local granted = 0
if wanted and not settles then granted = math.min(wanted.count, math.max(0, free - ahead)) end
local isShort, retry = wanted and limit and granted < wanted.count, 0
if isShort and settles then retry = math.max(1, opens - now)
elseif isShort then
  local missing = ahead + 1 - (free - granted)
  retry = span
  for _, block in ipairs(blocks) do
    missing = missing - block.n
    if missing <= 0 then
      retry = math.max(1, block.t + span - now)
      break
    end
  end
end
local isInVain = isShort and granted == 0

local self = {
  name = name, t = now + request.ttl, demand = request.demand,
  held = before and before.held or 0, turn = before and before.turn or now, short = 0, shortAt = 0
}
local part = -1
if places then
  local wanting = {}
  if self.demand > 0 then table.insert(wanting, self) end
  for _, holder in ipairs(others) do
    if holder.demand > 0 then table.insert(wanting, holder) end
  end
  if places < #wanting then
    if before and wanted and before.held > 0 and now - before.turn < ${longestTurn} then self.held, self.turn = 0, 0 end
    table.sort(wanting, function(a, b)
      local aHas, bHas = a.held > 0, b.held > 0
      if aHas ~= bHas then return bHas end
      if a.turn ~= b.turn then
        if aHas then return a.turn > b.turn end
        return a.turn < b.turn
      end
      return a.name < b.name
    end)
    part = 0
    for i = 1, places do
      if wanting[i].name == name then part = 1 end
    end
    if before then self.turn = before.turn end
  else
    table.sort(wanting, function(a, b)
      if a.demand ~= b.demand then return a.demand < b.demand end
      return a.name < b.name
    end)
    local left, own = places, 0
    for i, holder in ipairs(wanting) do
      local due = math.min(holder.demand, math.floor(left / (#wanting - i + 1)))
      if holder.name == name then own = due end
      left = left - due
    end
    part = own + math.floor(left / (#wanting + 1))
  end
  part = math.max(0, math.min(part, places - sum(others, "held")))
  if settles then part = math.min(part, request.inFlight) end
end

local isGone = request.demand == 0 and request.inFlight == 0
local holders = #others
if isGone then
  if places then part = 0 end
else
  holders = holders + 1
  local held = places and math.max(part, request.inFlight) or request.inFlight
  if not before or (held > 0) ~= (before.held > 0) then self.turn = now end
  self.held = held
  if isInVain then
    self.short, self.shortAt = before and before.short > 0 and before.short or now, now
  elseif before and not wanted then
    self.short, self.shortAt = before.short, before.shortAt
  end
  table.insert(others, self)
end
if granted > 0 and limit then table.insert(blocks, { h = name, i = wanted.id, n = granted, t = now }) end
if #blocks == 0 and #others == 0 then
  redis.call("DEL", poolKey)
else
  redis.call("SET", poolKey, cjson.encode({ blocks = blocks, holders = others }), "PX", math.ceil((span or 0) + request.ttl))
end
return cjson.encode({
  generation = generation, granted = granted, retryAfter = retry, places = part,
  free = limit and free - granted or -1, holders = holders
})
`
