-- The budget's specification, as `put` stored it: `version`, `json`, and as `settings` a record of the budget's own and one
-- of each limit, a line each. Times in ms, rates per ms.
-- @include lib/hash
-- @include lib/record

local spec = {}

spec.TIERS = { 'interactive', 'standard', 'batch' }
-- Of a budget that was declared before its weights were told.
local WEIGHTS = { interactive = 8, standard = 4, batch = 1 }

-- What a tier gets of what is scarce, in proportion to the others.
function spec.weight(budget, tier)
  return math.max(1, budget['weight_' .. tier] or WEIGHTS[tier] or 1)
end

local NONE = {}

-- The amounts of parties that a text lists, in order and by party.
local function amounts(text)
  if text == '' then
    return NONE, NONE
  end
  local list, by_party = {}, {}
  for party, amount in string.gmatch(text, '([^;=]+)=(%d+)') do
    list[#list + 1] = { party = party, amount = tonumber(amount) }
    by_party[party] = tonumber(amount)
  end
  return list, by_party
end

-- A limit as its line of the settings tells it. What its state adds up begins at none.
function spec.limit(line)
  local limit = {
    out = 0, paid = 0, shadow = 0, closing = 0, settled = 0, blind = 0, granted = 0, foreign = 0,
    is_aligned = false, is_on_clock = false, has_readings = false, shared = false,
  }
  record.read_all(line, limit)
  limit.is_aligned = limit.aligned == 1
  limit.is_on_clock = limit.on_clock == 1
  limit.has_readings = limit.readings == 1
  limit.reserved = amounts(limit.reservations)
  limit.cap_list, limit.cap_of = amounts(limit.caps)
  limit.shared = #limit.reserved > 0 or #limit.cap_list > 0
  return limit
end

-- Reads the specification, or answers nil where there is no budget; and the hash that it is in.
function spec.read(spec_key)
  local h = hash.open(spec_key)
  hash.load(h, { 'version', 'settings' })
  if not h.have['settings'] then
    return nil, h
  end
  local budget = nil
  for line in string.gmatch(h.have['settings'], '[^\n]+') do
    if not budget then
      budget = { version = tonumber(h.have['version']), limits = {} }
      record.read(line, budget)
    else
      local limit = spec.limit(line)
      limit.index = #budget.limits + 1
      budget.limits[limit.index] = limit
    end
  end
  return budget, h
end
