-- Settles groups of permits of one lease.
-- @include lib/args
-- @include lib/limits
-- @include lib/lease
-- @include lib/pauses
-- @include lib/usage
-- @late lib/refusing

local settling = {}

-- Reads one settle group from ARGV.
function settling.read()
  local kind, age, indexes, costs, units, readings = args.texts(6)
  local group = {
    kind = kind, age = tonumber(age), indexes = args.list(indexes), costs = args.list(costs), units = units, readings = {},
    is_counted = false, is_unclaimed = false,
  }
  for _ = 1, tonumber(readings) do
    local limit_index = args.num()
    group.readings[limit_index] = {
      least = args.optional(),
      last = args.optional(),
      capacity = args.optional(),
      earliest = args.optional(),
      latest = args.optional(),
    }
  end
  group.scope = args.text()
  group.retry_after = args.optional()
  return group
end

local RAISE = 10

-- Takes the capacity that a response names for what it is, unless it refused (then some send another limit's values),
-- weighs no more, or is of a permit granted before the one that told the last.
local function observe_capacity(limit, reading, s)
  if not (reading and reading.capacity) or (limit.kind ~= 'window' and limit.kind ~= 'bucket') then
    return
  end
  local weighs = not slots.is_gone(limit, s.granted_at, s.send_by)
  if s.kind ~= 'accepted' or not weighs or s.granted_at < (limit.n_since or 0) then
    return
  end
  -- More than is declared is believed when a second response says the same, and never beyond RAISE times: a garbled
  -- header must not do away with a limit.
  if reading.capacity > math.max(limit.capacity, limit.n) then
    if reading.capacity > RAISE * limit.capacity or limit.n_claim ~= reading.capacity then
      limit.n_claim = reading.capacity
      return
    end
  end
  limit.n_since, limit.n_claim = s.granted_at, nil
  if reading.capacity ~= limit.n then
    announce.say('limit_changed', limit.name, limit.n, reading.capacity)
    limit.n = reading.capacity
    if limit.does.resize then
      limit.does.resize(limit)
    end
  end
end

-- A reading's moments in the store's time: the response was made between the grant and its receipt.
local function on_clock(reading, s)
  if not reading then
    return nil
  end
  return {
    least = reading.least,
    last = reading.last,
    early = reading.earliest and s.granted_at + reading.earliest,
    late = reading.latest and s.answered_at + reading.latest,
  }
end

-- Until when the permit is waited for, if it was a probe.
local function probe_till(ctx, l)
  return lease.probe_till(l.granted_at, l.deadline - l.granted_at - 1, ctx.budget.send_within)
end

local function settle_limit(ctx, group, l, limit, weight, indexes, deadline)
  local reading = group.readings[limit.index]
  local is_charged = group.kind == 'accepted' or group.kind == 'lost' or (group.kind == 'refused' and group.is_counted)
  local each = weight.cost
  if (group.costs[limit.index] or 0) > 0 and limit.kind ~= 'concurrency' then
    each = group.costs[limit.index]
  end
  local s = {
    kind = group.kind,
    cost = weight.cost * #indexes,
    charge_each = is_charged and each or 0,
    charge = is_charged and each * #indexes or 0,
    granted_at = l.granted_at,
    send_by = (limit.kind == 'concurrency' or limit.completion == 1) and deadline or l.send_by,
    answered_at = math.max(l.granted_at, ctx.now - group.age) + 1,
    settled_then = weight.settled_then,
    blind_then = weight.blind_then,
    weighed_then = weight.weighed_then,
    parties = limits.parties(limit, l.tenant, l.tier),
  }
  s.moment = math.min(s.answered_at, s.send_by)
  observe_capacity(limit, reading, s)
  -- What its reading leaves is left of what it says that there is: less where a later permit told of a raise, or where it
  -- refuses what was cut, or names another limit.
  s.of = math.min(limit.n, reading and reading.capacity or limit.n)
  s.reading = on_clock(reading, s)
  limit.does.settle(ctx.state, limit, s, ctx.now)
  if s.read then
    limits.learn(limit)
  elseif weight.is_probe and not limit.known and limit.probe_until == probe_till(ctx, l) then
    -- One that is followed by another was counted when that went.
    limits.end_probe(limit, group.kind ~= 'not_sent')
  end
end

-- How long the response asks to stay away, as a moment; nil where it does not say.
local function till(ctx, group)
  if group.retry_after then
    if group.retry_after == 0 then
      return ctx.now + ctx.budget.backoff_base
    end
    return ctx.now - group.age + group.retry_after + 1
  end
  local latest
  for l = 1, #ctx.budget.limits do
    local reading = group.readings[l]
    if reading and reading.least == 0 and reading.latest then
      latest = math.max(latest or 0, ctx.now - group.age + reading.latest + 1)
    end
  end
  return latest and latest > ctx.now and latest or nil
end

local function correct_usage(ctx, group, l, count)
  if group.kind == 'not_sent' then
    usage.charge(ctx.use, l, usage.units(l.units), -count)
  elseif group.kind == 'refused' and not group.is_counted then
    usage.charge(ctx.use, l, usage.units(l.units), -count)
  elseif group.units ~= '' then
    usage.charge(ctx.use, l, usage.instead(usage.units(l.units), usage.units(group.units)), count)
  end
end

-- Splits the indexes by what becomes of them: answers a letter each (`a` applied, `d` done before, `u` unknown).
local function sort_out(l, group)
  local indexes, bits = group.indexes, l and l.bits
  if not bits then
    return {}, string.rep('u', #indexes)
  end
  local sub = string.sub
  local fresh_ones, letters, seen, count = {}, {}, {}, 0
  for i = 1, #indexes do
    local index = indexes[i]
    local bit = sub(bits, index + 1, index + 1)
    if bit == '' then
      letters[i] = 'u'
    elseif (bit == '-' or (bit == '+' and not group.is_unclaimed)) and not seen[index] then
      letters[i] = 'a'
      seen[index] = true
      count = count + 1
      fresh_ones[count] = index
    else
      letters[i] = 'd'
    end
  end
  return fresh_ones, table.concat(letters)
end

-- For how long the scopes of a lease are paused.
local function paused_for(ctx, l)
  if #ctx.pauses.scopes == 0 then
    return 0
  end
  local scopes, longest = { 'operator', 'budget', 'class:' .. l.class }, 0
  for i = 1, #ctx.budget.limits do
    if lease.get_limit(l, ctx.budget.limits[i]) then
      scopes[#scopes + 1] = 'limit:' .. ctx.budget.limits[i].name
    end
  end
  for i = 1, #scopes do
    local phase, until_then = pauses.phases().phase(ctx.pauses, scopes[i], ctx.now, ctx.budget.ramp)
    if phase == 'paused' and until_then then
      longest = math.max(longest, until_then - ctx.now)
    end
  end
  return longest
end

-- The scope of a group's pause: as named, or `#2`, the second limit.
local function scope_of(ctx, group)
  local index = string.match(group.scope, '^#(%d+)$')
  if not index then
    return group.scope
  end
  local limit = ctx.budget.limits[tonumber(index)]
  return limit and 'limit:' .. limit.name or 'budget'
end

local function settle_limits(ctx, group, l, indexes, deadline)
  for i = 1, #ctx.budget.limits do
    local limit = ctx.budget.limits[i]
    local weight = lease.get_limit(l, limit)
    if weight then
      settle_limit(ctx, group, l, limit, weight, indexes, deadline)
    end
  end
end

-- Permits whose deadline was moved stand in slots of their own.
local function settle_by_deadline(ctx, group, l, indexes)
  local at = 1
  while at <= #indexes do
    local deadline = lease.deadline_of(l, indexes[at])
    local same = {}
    while at <= #indexes and lease.deadline_of(l, indexes[at]) == deadline do
      same[#same + 1] = indexes[at]
      at = at + 1
    end
    settle_limits(ctx, group, l, same, deadline)
  end
end

-- What a refusal does to limits, defined where one came.
local refusing = nil

-- Settles one group; answers its letters and for how long its scope is paused.
function settling.apply(ctx, group, lease_key)
  local l = ctx.lease(lease_key)
  if group.kind == 'unclaimed' then
    if l and (l.by ~= ctx.replica or lease.was_asked_again(l)) then
      return string.rep('d', #group.indexes), 0
    elseif not l then
      ctx.remember(lease_key, lease.bury(lease_key, group, ctx.replica, ctx.now))
      return string.rep('u', #group.indexes), 0
    end
    group.kind, group.is_unclaimed = 'not_sent', true
  end
  local indexes, letters = sort_out(l, group)
  if not l then
    if ctx.recovering and group.retry_after and group.scope ~= '' then
      -- The permit was forgotten with the state; what the upstream asks for is heard all the same.
      pauses.phases().begin(ctx.pauses, scope_of(ctx, group), ctx.now, ctx.now, till(ctx, group), ctx.budget, tonumber(ctx.jitter))
    end
    return letters, 0
  end
  if #indexes > 0 then
    group.is_counted = group.kind == 'refused_counted'
    if group.is_counted then
      group.kind = 'refused'
    end
    if lease.is_moved(l) then
      settle_by_deadline(ctx, group, l, indexes)
    else
      settle_limits(ctx, group, l, indexes, l.deadline)
    end
    if group.kind == 'refused' then
      refusing = refusing or late_refusing()
      refusing.put_down(ctx, group, l, indexes[1], till(ctx, group))
    end
    lease.set_bits(l, indexes, group.kind == 'not_sent' and 'n' or 's')
    correct_usage(ctx, group, l, #indexes)
    usage.count(ctx.use, 'settled', #indexes)
    ctx.freed = true
    if group.kind == 'refused' then
      usage.count(ctx.use, 'refused', #indexes)
    end
    if l.probes ~= '' then
      for scope in lease.probes_of(l) do
        pauses.phases().end_probe(ctx.pauses, scope, ctx.now, group.kind == 'accepted', probe_till(ctx, l))
      end
    end
    if group.kind == 'refused' and group.scope ~= '' then
      pauses.phases().begin(ctx.pauses, scope_of(ctx, group), ctx.now, l.granted_at, till(ctx, group), ctx.budget, tonumber(ctx.jitter))
    end
  end
  return letters, paused_for(ctx, l)
end

-- Whether some limit's state was lost since the permit was granted: its slot comes back by the deadline that was known.
local function is_forgotten(ctx, l)
  for i = 1, #ctx.budget.limits do
    local limit = ctx.budget.limits[i]
    if lease.get_limit(l, limit) and l.granted_at <= (limit.lost_at or 0) then
      return true
    end
  end
  return false
end

-- Moves a permit's deadline on; answers the new one in ms from now, `settled` or `unknown`.
function settling.renew(ctx, index, ttl, lease_key)
  local l = ctx.lease(lease_key)
  local bit = l and lease.bit(l, index)
  if not bit then
    return 'unknown'
  end
  if not lease.is_out(bit) then
    return 'settled'
  end
  local from = lease.deadline_of(l, index)
  local to = math.max(from, ctx.now + ttl)
  if from <= ctx.now or is_forgotten(ctx, l) then
    return 'unknown'
  end
  for i = 1, #ctx.budget.limits do
    local limit = ctx.budget.limits[i]
    local weight = lease.get_limit(l, limit)
    local is_late = limit.kind == 'concurrency' or (limit.completion == 1 and limit.kind ~= 'adaptive')
    if weight and is_late and not slots.is_gone(limit, l.granted_at, from) then
      slots.move(ctx.state, limit, weight.cost, from, to, limits.parties(limit, l.tenant, l.tier))
    end
  end
  lease.set_deadline(l, index, to, ctx.now)
  return int(to - ctx.now)
end
