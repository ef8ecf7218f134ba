-- Use by tenant, tier and class, in every unit; and the budget's counters.
-- Invariant: at most NAMES names a dimension and unit; the rest share `_other`.
-- @include lib/hash

local usage = {}

local NAMES = 256

function usage.open(use_key)
  return { h = hash.open(use_key), order = {}, sums = {} }
end

-- Reads `requests=1;tokens=200` into a list of {unit, cost}.
function usage.units(text)
  local list = {}
  for unit, cost in string.gmatch(text, '([^;=]+)=(%d+)') do
    list[#list + 1] = { unit = unit, cost = tonumber(cost) }
  end
  return list
end

-- What is to be charged beyond `granted` where some units turned out to cost what `actual` says; may be below zero.
function usage.instead(granted, actual)
  local list, known = {}, {}
  for i = 1, #granted do
    known[granted[i].unit] = granted[i].cost
  end
  for i = 1, #actual do
    list[#list + 1] = { unit = actual[i].unit, cost = actual[i].cost - (known[actual[i].unit] or 0) }
  end
  return list
end

local function add(u, field, n)
  local sum = u.sums[field]
  if not sum then
    sum = 0
    u.order[#u.order + 1] = field
  end
  u.sums[field] = sum + n
end

-- Counts `n` of a counter: granted, settled, refused.
function usage.count(u, counter, n)
  add(u, counter, n)
end

-- Charges `times` calls of `units` to a caller; below zero gives back.
function usage.charge(u, who, units, times)
  for i = 1, #units do
    local tail = '|' .. units[i].unit
    local n = units[i].cost * times
    add(u, 'tenant|' .. who.tenant .. tail, n)
    add(u, 'tier|' .. who.tier .. tail, n)
    add(u, 'class|' .. who.class .. tail, n)
  end
end

-- The field that a name is counted in which has none yet: of its own, or of all the rest together.
local function field_of(u, field)
  local dimension, unit = string.match(field, '^(%l+)|[^|]*|(.*)$')
  if not dimension then
    return field
  end
  local names_field = '#' .. dimension .. '|' .. unit
  local names = hash.num(u.h, names_field) or 0
  if names >= NAMES then
    return dimension .. '|_other|' .. unit
  end
  hash.put(u.h, names_field, int(names + 1))
  return field
end

function usage.flush(u)
  local h, order = u.h, u.order
  hash.load(h, order)
  for i = 1, #order do
    local field = order[i]
    local n = u.sums[field]
    if not h.have[field] then
      field = field_of(u, field)
    end
    hash.put(h, field, int(math.max(0, (hash.num(h, field) or 0) + n)))
  end
  hash.flush(h)
end
