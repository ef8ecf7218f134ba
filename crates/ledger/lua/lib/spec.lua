-- The budget's specification, as `put` stored it.
-- @include lib/hash

local spec = {}

-- What `put` stores of every limit, numbers first. Times in ms, rates per ms.
local LIMIT_NUMBERS = {
  'capacity', 'window', 'aligned', 'on_clock', 'slot', 'linger', 'linger_slot', 'refill', 'start', 'least', 'most',
  'completion', 'readings',
}
local LIMIT_TEXTS = { 'name', 'key', 'kind', 'reservations', 'caps' }
local BUDGET_NUMBERS = { 'send_within', 'permit_ttl', 'backoff_base', 'backoff_max', 'ramp', 'alert' }

local function amounts(text)
  local list, by_party = {}, {}
  for party, amount in string.gmatch(text or '', '([^;=]+)=(%d+)') do
    list[#list + 1] = { party = party, amount = tonumber(amount) }
    by_party[party] = tonumber(amount)
  end
  return list, by_party
end

-- Reads the specification, or answers nil where there is no budget.
function spec.read(spec_key)
  local h = hash.open(spec_key)
  hash.load_all(h)
  if not h.have['limits'] then
    return nil, h
  end
  local budget = { version = tonumber(h.have['version']), limits = {}, json = h.have['json'] }
  for i = 1, #BUDGET_NUMBERS do
    budget[BUDGET_NUMBERS[i]] = tonumber(h.have[BUDGET_NUMBERS[i]])
  end
  for l = 1, tonumber(h.have['limits']) do
    local limit = {}
    local prefix = int(l) .. '.'
    for i = 1, #LIMIT_NUMBERS do
      limit[LIMIT_NUMBERS[i]] = tonumber(h.have[prefix .. LIMIT_NUMBERS[i]])
    end
    for i = 1, #LIMIT_TEXTS do
      limit[LIMIT_TEXTS[i]] = h.have[prefix .. LIMIT_TEXTS[i]]
    end
    limit.index = l
    limit.is_aligned = limit.aligned == 1
    limit.is_on_clock = limit.on_clock == 1
    limit.has_readings = limit.readings == 1
    limit.reserved = amounts(limit.reservations)
    limit.cap_list, limit.cap_of = amounts(limit.caps)
    limit.shared = #limit.reserved > 0 or #limit.cap_list > 0
    budget.limits[l] = limit
  end
  return budget, h
end
