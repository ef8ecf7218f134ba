-- Costs by the moment at which they weigh no more, in slots of a fixed length, as fields of the state.
-- A side is 'out' (granted, not settled) or 'paid' (settled). A slot's text is its cost, followed by what parties
-- with a reservation or a cap hold of it: `12` or `12;tier:batch=5;tenant:acme=3`. `limit[side .. '_index']` has the
-- numbers of the occupied slots in order, DIGITS characters each, so that work grows with those and not with time.
-- Invariant: `limit[side]` is the sum of the side's slots; none is at or below `limit[side .. '_low']`.
-- @include lib/hash

local slots = {}

-- Slots one call sweeps or looks ahead at most.
local SLOTS_A_CALL = 4096
-- Slots read at once.
local SLOTS_A_READ = 64

local DIGITS = 15

local sub = string.sub

local function number_of(k)
  local digits = int(k)
  return string.rep('0', DIGITS - #digits) .. digits
end

local function slot_field(limit, side, number)
  return limit.key .. ':' .. side .. ':' .. number
end

local function entry(index, i)
  return sub(index, (i - 1) * DIGITS + 1, i * DIGITS)
end

-- Whether all entries of an index stand before `number`, as of a new slot most often.
local function is_last(index, number)
  return index == '' or sub(index, -DIGITS) < number
end

-- How many entries of an index stand before `number`.
local function before(index, number)
  local from, to = 0, #index / DIGITS
  if is_last(index, number) then
    return to
  end
  while from < to do
    local middle = math.floor((from + to) / 2)
    if entry(index, middle + 1) < number then
      from = middle + 1
    else
      to = middle
    end
  end
  return from
end

-- Puts a slot into a side's index, or takes it out.
local function enter(limit, side, number, is_there)
  local name = side .. '_index'
  local index = limit[name] or ''
  local ahead = before(index, number)
  local was_there = entry(index, ahead + 1) == number
  if is_there ~= was_there then
    local rest = sub(index, (was_there and ahead + 1 or ahead) * DIGITS + 1)
    limit[name] = sub(index, 1, ahead * DIGITS) .. (is_there and number or '') .. rest
  end
end

local function parse(text)
  if not text then
    return 0, nil
  end
  local plain = tonumber(text)
  if plain then
    return plain, nil
  end
  local parties = {}
  for party, cost in string.gmatch(text, ';([^;=]+)=([%d.]+)') do
    parties[#parties + 1] = { party = party, cost = tonumber(cost) }
  end
  return tonumber(string.match(text, '^[%d.]+')), parties
end

local function held_field(limit, party)
  return limit.key .. ':held:' .. party
end

-- What a party holds of a limit, settled or not.
function slots.held(state, limit, party)
  return hash.num(state, held_field(limit, party)) or 0
end

-- A function that tells what a party holds of a limit, less what was `dropped` of it, by party.
function slots.holder(state, limit, dropped)
  return function(party)
    return slots.held(state, limit, party) - (dropped and dropped[party] or 0)
  end
end

local function hold(state, limit, party, cost)
  local now_held = slots.held(state, limit, party) + cost
  hash.put(state, held_field(limit, party), now_held > 0 and int(now_held) or nil)
end

-- What parties hold by a text such as `;tenant:acme=3;tier:batch=5`.
function slots.held_in(text)
  local _, parties = parse(text and '0' .. text)
  return parties
end

-- Parties hold `cost` more, by a text of their own: answers the text after it.
function slots.take_on(state, limit, text, cost, parties)
  if #parties == 0 then
    return text
  end
  local held = slots.held_in(text) or {}
  for i = 1, #parties do
    hold(state, limit, parties[i], cost)
    held[#held + 1] = { party = parties[i], cost = cost }
  end
  local sums, order, after = {}, {}, ''
  for i = 1, #held do
    if not sums[held[i].party] then
      sums[held[i].party] = 0
      order[#order + 1] = held[i].party
    end
    sums[held[i].party] = sums[held[i].party] + held[i].cost
  end
  for i = 1, #order do
    after = after .. ';' .. order[i] .. '=' .. int(sums[order[i]])
  end
  return after
end

-- Parties hold no more what a text says.
function slots.let_go(state, limit, text)
  local held = slots.held_in(text) or {}
  for i = 1, #held do
    hold(state, limit, held[i].party, -held[i].cost)
  end
end

-- Adds `cost` to what each of `parties` holds of a slot, of which `held` tells: a list of {party, cost}.
local function hold_each(state, limit, held, cost, parties)
  for i = 1, #parties do
    local found
    for j = 1, #held do
      if held[j].party == parties[i] then
        found = held[j]
      end
    end
    if not found then
      found = { party = parties[i], cost = 0 }
      held[#held + 1] = found
    end
    found.cost = found.cost + cost
    hold(state, limit, parties[i], cost)
  end
end

-- A slot's text; nil where nothing is in it.
local function text_of(total, held)
  local text = nil
  for j = 1, held and #held or 0 do
    if held[j].cost > 0 then
      text = (text or int(total)) .. ';' .. held[j].party .. '=' .. int(held[j].cost)
    end
  end
  return text or total ~= 0 and int(total) or nil
end

-- Adds `cost` (below zero: takes away) to slot `k`, and to what each of `parties` (names) holds. With
-- `for_parties_only` the limit's own sum stays as it is.
function slots.add(state, limit, side, k, cost, parties, for_parties_only)
  if cost == 0 then
    return
  end
  local number = number_of(k)
  local field = slot_field(limit, side, number)
  -- The index has the slots that have a text: of a new one there is nothing to read.
  local is_new = is_last(limit[side .. '_index'] or '', number)
  local text = not is_new and hash.text(state, field) or nil
  local was_there = text ~= nil
  local total, held = parse(text)
  if not for_parties_only then
    total = total + cost
    limit[side] = limit[side] + cost
  end
  if #parties > 0 then
    held = held or {}
    hold_each(state, limit, held, cost, parties)
  end
  text = text_of(total, held)
  hash.put(state, field, text)
  if not text or not was_there then
    enter(limit, side, number, text ~= nil)
  end
end

local function read_ahead(state, limit, side, from, to)
  local fields = {}
  for i = from, math.min(to, from + SLOTS_A_READ - 1) do
    fields[#fields + 1] = slot_field(limit, side, entry(limit[side .. '_index'], i))
  end
  hash.load(state, fields)
end

-- Drops the slots up to `upto`, at most SLOTS_A_CALL of them; answers the cost that weighs no more.
function slots.sweep(state, limit, side, upto)
  local low = side .. '_low'
  if upto <= (limit[low] or 0) then
    return 0
  end
  local name = side .. '_index'
  local index = limit[name] or ''
  local over = index == '' and 0 or before(index, number_of(upto + 1))
  if over > SLOTS_A_CALL then
    over = SLOTS_A_CALL
    upto = tonumber(entry(index, over))
  end
  local dropped = 0
  for i = 1, over do
    if i % SLOTS_A_READ == 1 then
      read_ahead(state, limit, side, i, over)
    end
    local field = slot_field(limit, side, entry(index, i))
    local cost, held = parse(hash.text(state, field))
    dropped = dropped + cost
    for j = 1, #(held or {}) do
      hold(state, limit, held[j].party, -held[j].cost)
    end
    hash.put(state, field, nil)
  end
  if over > 0 then
    limit[name] = string.sub(index, over * DIGITS + 1)
  end
  limit[side] = limit[side] - dropped
  limit[low] = upto
  return dropped
end

-- Drops all slots of a side.
function slots.clear(state, limit, side)
  local index = limit[side .. '_index'] or ''
  for i = 1, math.min(#index / DIGITS, SLOTS_A_CALL) do
    if i % SLOTS_A_READ == 1 then
      read_ahead(state, limit, side, i, #index / DIGITS)
    end
    local field = slot_field(limit, side, entry(index, i))
    local cost, held = parse(hash.text(state, field))
    limit[side] = limit[side] - cost
    for j = 1, #(held or {}) do
      hold(state, limit, held[j].party, -held[j].cost)
    end
    hash.put(state, field, nil)
  end
  limit[side .. '_index'] = string.sub(index, math.min(#index / DIGITS, SLOTS_A_CALL) * DIGITS + 1)
end

-- Whether a permit, to be sent by `send_by`, is no longer among what is out: its time has passed, or it was forgotten.
function slots.is_gone(limit, granted_at, send_by)
  return math.ceil(send_by / limit.slot) <= (limit.out_low or 0) or granted_at <= (limit.lost_at or 0)
end

-- Walks the occupied slots of a side in order: answers k, cost, parties; or nil.
function slots.walk(state, limit, side)
  local index = limit[side .. '_index'] or ''
  local last = math.min(#index / DIGITS, SLOTS_A_CALL)
  local i = 0
  return function()
    i = i + 1
    if i > last then
      return nil
    end
    if i % SLOTS_A_READ == 1 then
      read_ahead(state, limit, side, i, last)
    end
    local number = entry(index, i)
    return tonumber(number), parse(hash.text(state, slot_field(limit, side, number)))
  end
end

-- What stands in the slots after `from` up to `to`.
function slots.sum(state, limit, side, from, to)
  local index, total = limit[side .. '_index'] or '', 0
  local first = tonumber(entry(index, 1))
  if not first or first > to then
    return total
  end
  local ahead, last = before(index, number_of(from + 1)), before(index, number_of(to + 1))
  for i = ahead + 1, math.min(last, ahead + SLOTS_A_CALL) do
    if (i - ahead) % SLOTS_A_READ == 1 then
      read_ahead(state, limit, side, i, last)
    end
    total = total + parse(hash.text(state, slot_field(limit, side, entry(index, i))))
  end
  return total
end

-- The moment of the last occupied slot; 0 where there is none.
function slots.last(limit, side)
  return (tonumber(sub(limit[side .. '_index'] or '', -DIGITS)) or 0) * limit.slot
end

-- Moves the cost of a permit that is out from one moment to a later one.
function slots.move(state, limit, cost, from, to, parties)
  slots.add(state, limit, 'out', math.ceil(from / limit.slot), -cost, parties)
  slots.add(state, limit, 'out', math.ceil(to / limit.slot), cost, parties)
end
