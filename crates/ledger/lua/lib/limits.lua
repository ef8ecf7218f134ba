-- The limits of a budget: their state read, brought to now, and written back.
-- @late lib/window
-- @late lib/concurrency
-- @late lib/bucket
-- @late lib/adaptive
-- @include lib/record

local limits = {}

-- The kinds, defined when a budget has one; and those that are.
local KINDS = { window = late_window, concurrency = late_concurrency, bucket = late_bucket, adaptive = late_adaptive }
local defined = {}
-- Probes without a reading after which the declaration is believed.
local UNREAD_PROBES = 3

-- What a limit of a kind does.
function limits.kind(name)
  if not defined[name] then
    defined[name] = KINDS[name]()
  end
  return defined[name]
end

-- Reads the limits' state and brings it to `now`.
function limits.load(state, budget, now)
  local wanted = {}
  for l = 1, #budget.limits do
    local limit = budget.limits[l]
    local does, fields = limits.kind(limit.kind), {}
    limit.does, limit.text_fields = does, fields
    wanted[#wanted + 1] = limit.key
    for i = 1, #does.texts do
      fields[i] = limit.key .. ':' .. does.texts[i]
      wanted[#wanted + 1] = fields[i]
    end
  end
  hash.load(state, wanted)
  for l = 1, #budget.limits do
    local limit = budget.limits[l]
    local does, fields = limit.does, limit.text_fields
    record.read(state.have[limit.key] or '', limit)
    for i = 1, #fields do
      limit[does.texts[i]] = state.have[fields[i]] or nil
    end
    limit.n = limit.n or limit.capacity
    if not limit.has_readings and not limit.gate then
      limit.known = 1
    end
    limit.now = now
    does.advance(state, limit, now)
    if limit.lost_until and now >= limit.lost_until then
      limits.find(limit)
    end
  end
end

function limits.save(state, budget)
  for l = 1, #budget.limits do
    local limit = budget.limits[l]
    local does, fields = limit.does, limit.text_fields
    hash.put(state, limit.key, record.write(limit, does.parts))
    for i = 1, #fields do
      local text = limit[does.texts[i]]
      text = text ~= '' and text or nil
      if text ~= (state.have[fields[i]] or nil) then
        hash.put(state, fields[i], text)
      end
    end
  end
end

-- ## any => lost: what weighed is forgotten. Until `quiet_at` permits may be sent that nobody remembers; what they weigh is
-- over a window later. Told `again`, by another replica, it lasts longer at most.
function limits.lose(state, limit, quiet_at, now, again)
  local span = limit.kind == 'window' and limit.window or 0
  if limit.kind == 'adaptive' or (again and (quiet_at <= (limit.lost_from or 0) or quiet_at + span <= now)) then
    return
  end
  limit.lost_from = math.max(limit.lost_from or 0, quiet_at)
  limit.lost_until = limit.lost_from + span
  if again then
    return
  end
  limit.lost_at = now
  slots.clear(state, limit, 'out')
  limit.does.forget(state, limit, now)
  if limit.has_readings and limit.kind ~= 'concurrency' then
    limit.known, limit.unread, limit.probe_until = nil, nil, nil
  end
end

-- Those that a budget's loss is about: of all of them, or of those that count when a call is over, which may last until
-- `settled_by`, if another replica tells it `again`.
function limits.lose_all(state, budget, settled_by, now, again)
  for l = 1, #budget.limits do
    local limit = budget.limits[l]
    local is_late = limit.kind == 'concurrency' or limit.completion == 1
    if is_late or not again then
      limits.lose(state, limit, is_late and settled_by or now + budget.send_within + 1, now, again)
    end
  end
end

-- Whether some limit does not know yet what was lost.
function limits.is_recovering(budget)
  for l = 1, #budget.limits do
    if budget.limits[l].lost_until then
      return true
    end
  end
  return false
end

-- ## lost => known or believed: the operator says so, or its time has passed.
function limits.find(limit)
  if limit.lost_until then
    limit.lost_from, limit.lost_until, limit.lost_read, limit.found_at = nil, nil, nil, limit.now
  end
end

-- What is settled and still weighs.
function limits.paid(limit)
  return limit.paid + limit.closing
end

-- What of a cost must be available: all of it, but for an adaptive limit.
function limits.weigh(limit, cost)
  return limit.does.weigh and limit.does.weigh(limit, cost) or cost
end

local NONE = {}

-- The parties of a limit's reservations and caps that a caller belongs to, by name.
function limits.parties(limit, tenant, tier)
  if not limit.shared then
    return NONE
  end
  local list = {}
  local by_tenant, by_tier = 'tenant:' .. tenant, 'tier:' .. tier
  local counts_tenant = limit.cap_of[by_tenant] or limit.cap_of['*']
  for i = 1, #limit.reserved do
    local party = limit.reserved[i].party
    counts_tenant = counts_tenant or party == by_tenant
    if party == by_tier then
      list[#list + 1] = by_tier
    end
  end
  if counts_tenant then
    list[#list + 1] = by_tenant
  end
  return list
end

-- What a caller's tenant may have of the limit at most, or nil.
function limits.cap_for(limit, tenant)
  return limit.shared and (limit.cap_of['tenant:' .. tenant] or limit.cap_of['*']) or nil
end

-- What is kept for others than the caller. `held(party)` tells what a party has.
function limits.kept_from(limit, tenant, tier, held)
  local kept = 0
  for i = 1, #limit.reserved do
    local r = limit.reserved[i]
    if r.party ~= 'tenant:' .. tenant and r.party ~= 'tier:' .. tier then
      kept = kept + math.max(0, r.amount - held(r.party))
    end
  end
  return kept
end

-- ## unknown => (unknown, a probe is out)
function limits.send_probe(limit, till)
  if limit.probe_until then
    limits.end_probe(limit, true)
  end
  limit.probe_until = not limit.known and till or nil
end

-- ## unknown => (unknown | known): a probe ended, unread or not sent.
function limits.end_probe(limit, unread)
  limit.probe_until = nil
  if unread then
    limit.unread = (limit.unread or 0) + 1
    if limit.unread >= UNREAD_PROBES then
      limit.known, limit.unread, limit.gate = 1, nil, nil
    end
  end
end

-- ## unknown => known: a reading came.
function limits.learn(limit)
  limit.known, limit.unread, limit.probe_until, limit.gate = 1, nil, nil, nil
end
