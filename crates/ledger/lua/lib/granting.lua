-- Decides acquire groups in the order given.
-- @include lib/args
-- @include lib/limits
-- @include lib/lease
-- @include lib/pauses
-- @include lib/usage
-- @include lib/life
-- @include lib/waiting
-- @include lib/requests
-- @late lib/callers
-- @late lib/fair
-- @late lib/denial

local granting = {}

-- What tells who waits here, and what shares a limit out among those who wait at several replicas: defined where some do.
local callers, fair, denial = nil, nil, nil

function granting.callers(ctx)
  callers = callers or late_callers()
  ctx.callers = ctx.callers or callers.open(ctx.waiting)
  return callers
end

function granting.fair(ctx)
  fair = fair or late_fair()
  if not ctx.fair then
    granting.callers(ctx)
    ctx.fair = fair.open(ctx)
  end
  return fair
end

-- Why a group gets less than it asks for.
local function denied()
  denial = denial or late_denial()
  return denial
end

-- Reads one acquire group from ARGV.
function granting.read()
  local class, tenant, tier, count, ttl, units, costs, how = args.texts(8)
  return {
    class = class, tenant = tenant, tier = tier, count = tonumber(count), ttl = tonumber(ttl), units = units,
    costs = args.list(costs), how = string.sub(how, 1, 1), index = tonumber(string.sub(how, 2)),
  }
end

-- The tags of the groups' requests follow all groups in ARGV. Answers which these are.
function granting.tags(groups)
  local first = args.at + 1
  for i = 1, #groups do
    groups[i].tags_at = args.at
    groups[i].tags = groups[i].how ~= '' and groups[i].count or 0
    args.at = args.at + groups[i].tags
  end
  return first, args.at
end

local function probe_until(ctx, group)
  return lease.probe_till(ctx.now, group.ttl, ctx.budget.send_within)
end

-- What must be settled sooner must be sent sooner.
local function send_within(ctx, group)
  return math.min(ctx.budget.send_within, group.ttl)
end

local NONE = {}

-- A tally of how many may go and what binds.
local function tally(group)
  return {
    may_go = group.count, binds = NONE, probe_scopes = NONE, ramp_scopes = NONE, is_never = false, is_held_back = false,
  }
end

-- At most `most` may go, for `reason` (of `limit`), until `at` (nil: unknown). `is_behind`: others have waited longer.
-- `is_kept`: of what there is, or will be, some is reserved for others, who need not wait for those who may not go.
local function bound(t, most, reason, limit, at, is_behind, is_kept)
  most = math.max(0, most)
  if most < t.may_go then
    t.may_go = most
  end
  if t.binds == NONE then
    t.binds = {}
  end
  t.binds[#t.binds + 1] = { most = most, reason = reason, limit = limit, at = at, is_behind = is_behind, is_kept = is_kept }
end

local function weigh_pauses(ctx, group, t)
  if #ctx.pauses.scopes == 0 then
    return
  end
  t.probe_scopes, t.ramp_scopes = {}, {}
  local scopes = { 'operator', 'budget', 'class:' .. group.class }
  for i = 1, #ctx.budget.limits do
    if group.costs[i] > 0 then
      scopes[#scopes + 1] = 'limit:' .. ctx.budget.limits[i].name
    end
  end
  for i = 1, #scopes do
    local scope = scopes[i]
    local phase, at, let = pauses.phases().phase(ctx.pauses, scope, ctx.now, ctx.budget.ramp)
    local limit_name = string.match(scope, '^limit:(.*)$')
    if phase == 'paused' then
      bound(t, 0, scope == 'operator' and 'paused_by_operator' or 'paused_by_upstream', limit_name, at)
    elseif phase == 'probing' then
      bound(t, 0, 'probing', limit_name, at)
    elseif phase == 'probe' then
      bound(t, 1, 'probing', limit_name, probe_until(ctx, group))
      t.probe_scopes[#t.probe_scopes + 1] = scope
    elseif phase == 'ramp' then
      bound(t, let, 'ramping', limit_name, at)
      t.ramp_scopes[#t.ramp_scopes + 1] = scope
    end
  end
end

-- What is available to this caller, and to whom else the rest is kept.
local function open_to(ctx, limit, group)
  local all = limit.does.available(limit)
  if #limit.reserved == 0 then
    return all, all
  end
  local kept = limits.kept_from(limit, group.tenant, group.tier, slots.holder(ctx.state, limit))
  return all, all - kept
end

-- Whether a cost can never be granted to this caller.
local function is_never(limit, group, cost)
  local most = math.max(limit.kind == 'adaptive' and limit.most * 1000 or limit.n, 1)
  for i = 1, #limit.reserved do
    local party = limit.reserved[i].party
    if party ~= 'tenant:' .. group.tenant and party ~= 'tier:' .. group.tier then
      most = most - limit.reserved[i].amount
    end
  end
  local cap = limits.cap_for(limit, group.tenant)
  return cost > math.min(most, cap or most)
end

local function weigh_limit(ctx, group, t, limit, cost)
  if is_never(limit, group, cost) then
    bound(t, 0, 'cost_above_capacity', limit.name, nil)
    t.is_never = true
    return
  end
  local weight = limits.weigh(limit, cost)
  local ahead = ctx.ahead[limit.index]
  local exhausted = limit.kind == 'concurrency' and 'concurrency_exhausted' or 'quota_exhausted'
  if limit.lost_from and limit.lost_from > ctx.now then
    bound(t, 0, 'probing', limit.name, limit.lost_from)
  end
  if not limit.known then
    if limit.probe_until and limit.probe_until > ctx.now then
      bound(t, 0, 'probing', limit.name, limit.probe_until)
    else
      bound(t, ahead > 0 and 0 or 1, 'probing', limit.name, probe_until(ctx, group))
    end
    if limit.lost_until and limit.lost_until > limit.lost_from then
      -- How much there is only the probe can tell, which need not wait until what was forgotten weighs no more.
      return
    end
  end
  local all, open = open_to(ctx, limit, group)
  if ahead > 0 then
    -- It is there, and kept for those before it in this replica.
    t.is_held_back = t.is_held_back or open >= weight
    bound(t, 0, exhausted, limit.name, denied().when_ready(ctx, limit, group, ahead + weight, cost))
  else
    local left, left_till = waiting.left_to_others(ctx.waiting, limit)
    local fits = math.floor(open / weight)
    if fits == 0 and limit.does.lets_one and limit.does.lets_one(limit, weight, all - open) then
      fits, all, open = 1, weight, weight
    end
    local alone = fits
    if fits > 0 then
      fits = math.max(0, math.floor((open - left) / weight))
    end
    if fits < math.min(alone, group.count) then
      waiting.leave(ctx.waiting, limit)
    end
    local is_behind, behind_till = fits < alone, nil
    if fits > 0 and #ctx.waiting.rivals > 0 then
      local when = denied().when_ready(ctx, limit, group, weight, cost)
      local share, till = granting.fair(ctx).share(ctx.fair, limit, group, weight, all, open, fits, when)
      if share < fits then
        fits, is_behind, behind_till = share, true, till
      end
    end
    if weight < cost then
      fits = math.min(fits, 1)
    end
    if fits < t.may_go or fits < group.count then
      local is_kept = math.floor(all / weight) > fits
      local is_there = is_kept and all >= weight
      local when = denied().when_ready(ctx, limit, group, weight, cost)
      local at = behind_till or is_behind and denied().when_left(left_till, when, left) or when
      bound(t, fits, is_there and 'reserved' or exhausted, limit.name, at, is_behind, is_kept)
    end
  end
  local cap = limits.cap_for(limit, group.tenant)
  if cap then
    local left = math.floor((cap - slots.held(ctx.state, limit, 'tenant:' .. group.tenant)) / cost)
    if left < group.count then
      bound(t, left, 'tenant_capped', limit.name, denied().when_ready(ctx, limit, group, ahead + weight, cost))
    end
  end
end

-- Notes for the other replicas which limits served this one, and which it goes on waiting for.
local function note_waiting(ctx, group, t)
  if not ctx.waiting.is_waiting then
    return
  end
  local waits_for = {}
  for i = 1, t.may_go < group.count and #t.binds or 0 do
    local bind = t.binds[i]
    if bind.limit and bind.most <= t.may_go and not t.is_never and (denied().is_used_up(bind) or bind.is_behind) then
      waits_for[bind.limit] = true
    end
  end
  for l = 1, #ctx.budget.limits do
    local limit, cost = ctx.budget.limits[l], group.costs[l]
    if cost > 0 then
      waiting.note(ctx.waiting, limit, t.may_go > 0, waits_for[limit.name] and limits.weigh(limit, cost) or nil)
    end
  end
end

-- Notes for the other replicas how many of those who wait here are served.
local function note_share(ctx, group, granted, is_there)
  if ctx.waiting.told ~= '' then
    granting.callers(ctx).note(ctx.callers, group, granted, is_there)
  end
end

-- A lease's id is the end of its key.
local ID_DIGITS = 32

local function id_of(lease_key)
  return string.sub(lease_key, -ID_DIGITS)
end

-- Finds the permits that a group's requests were granted before. Who has one elsewhere gets none here.
local function look_up(ctx, group, lease_key, l)
  group.is_fresh = group.tags == 0 or not requests.knows_any(ctx.requests, group.tags_at + 1, group.tags_at + group.tags)
  if group.is_fresh then
    -- Nobody was granted before: those who are come first, in order.
    return
  end
  group.places, group.nowhere = {}, {}
  for i = 1, group.tags do
    local id, index = requests.find(ctx.requests, ARGV[group.tags_at + i])
    if id == id_of(lease_key) then
      group.places[i] = l and int(index) or '-'
    elseif id and group.how == '?' and ctx.may_hold(string.sub(lease_key, 1, -ID_DIGITS - 1) .. id, index) then
      group.places[i] = id .. ':' .. int(index)
      group.count = group.count - 1
    else
      group.places[i] = '-'
    end
    if group.places[i] == '-' then
      group.nowhere[#group.nowhere + 1] = i
    end
  end
end

local function places_of(group)
  return group.is_fresh and '' or table.concat(group.places, ',')
end

-- A request asks once more for the permit that it was granted.
local function claim(ctx, group, lease_key)
  local l, index = ctx.lease(lease_key), group.index
  local bit = l and lease.bit(l, index)
  if not bit or bit == 'n' then
    requests.forget(ctx.requests, ARGV[group.tags_at + 1], id_of(lease_key), index)
    return { 0, 0, 0, '', '', '', '-' }
  end
  lease.claim(l, index)
  local deadline = lease.deadline_of(l, index)
  return { 0, math.max(0, l.send_by - 1 - ctx.now), math.max(0, deadline - 1 - ctx.now), '', '', '', int(index) }
end

local function grant(ctx, group, t, lease_key)
  local now, count = ctx.now, t.may_go
  local l = {
    granted_at = now, send_by = now + send_within(ctx, group) + 1, deadline = now + group.ttl + 1,
    class = group.class, tenant = group.tenant, tier = group.tier, units = group.units,
    probes = table.concat(t.probe_scopes, ','), by = ctx.replica, again = false,
  }
  lease.create(lease_key, l, count, now)
  if ctx.lease(lease_key) then
    -- Given back once, and asked for again: a give-back that is told twice must not take it away.
    lease.ask_again(l)
  end
  for i = 1, #ctx.budget.limits do
    local limit, cost = ctx.budget.limits[i], group.costs[i]
    if cost > 0 then
      local weight = {
        cost = cost,
        settled_then = limit.settled,
        blind_then = limit.blind,
        weighed_then = limits.paid(limit) + limit.out - limit.granted - limit.foreign,
        is_probe = not limit.known,
      }
      if not limit.known then
        limits.send_probe(limit, probe_until(ctx, group))
      end
      lease.put_limit(l, limit, weight)
      local late = limit.kind == 'concurrency' or limit.completion == 1
      local parties = limits.parties(limit, group.tenant, group.tier)
      limit.does.grant(ctx.state, limit, cost * count, late and l.deadline or l.send_by, parties)
    end
  end
  for i = 1, #t.probe_scopes do
    pauses.phases().send_probe(ctx.pauses, t.probe_scopes[i], probe_until(ctx, group))
  end
  for i = 1, #t.ramp_scopes do
    pauses.phases().let_out(ctx.pauses, t.ramp_scopes[i], count)
  end
  life.grant(ctx.state, l.deadline)
  waiting.served(ctx.waiting)
  if waiting.is_shared(ctx.waiting) then
    granting.fair(ctx).charge(ctx.fair, group, count)
  end
  usage.count(ctx.use, 'granted', count)
  usage.charge(ctx.use, group, usage.units(group.units), count)
  ctx.remember(lease_key, l)
  if group.tags > 0 then
    requests.put(ctx.requests, group.tags_at, group.nowhere, count, id_of(lease_key))
    for i = 1, group.is_fresh and 0 or count do
      group.places[group.nowhere[i]] = int(i - 1)
    end
    requests.keep(ctx.requests, count, l.deadline)
  end
  return l
end

local function weigh(ctx, group)
  local t = tally(group)
  weigh_pauses(ctx, group, t)
  for i = 1, #ctx.budget.limits do
    if group.costs[i] > 0 then
      weigh_limit(ctx, group, t, ctx.budget.limits[i], group.costs[i])
    end
  end
  if t.is_never then
    t.may_go = 0
  end
  return t
end

-- By now it would fit, or nobody may hear of it: in a lease of its own.
local function ask_anew(ctx, group, answer, left)
  for i = 1, #ctx.budget.limits do
    ctx.ahead[i] = ctx.ahead[i] + left * limits.weigh(ctx.budget.limits[i], group.costs[i])
  end
  answer[4], answer[6] = 'quota_exhausted', '0'
  return answer
end

-- The answer of a group whose lease is there: its grant as it was; of the rest, why not now.
local function again(ctx, group, l)
  local granted = #l.bits
  local answer = { granted, math.max(0, l.send_by - 1 - ctx.now), math.max(0, l.deadline - 1 - ctx.now), '', '', '', '' }
  answer[7] = places_of(group)
  local left = group.count - granted
  if left <= 0 then
    return answer
  end
  group.count = left
  local t = weigh(ctx, group)
  if t.may_go > 0 then
    return ask_anew(ctx, group, answer, left)
  end
  local reason, limit, at = denied().reason(t)
  denied().hold_back(ctx, group, t, left)
  ctx.refused = true
  answer[4], answer[5], answer[6] = reason, limit or '', at and int(math.max(0, at - ctx.now)) or ''
  return answer
end

-- Decides one group: {granted, send_within, deadline, reason, limit, retry, places}; '' where there is none.
function granting.apply(ctx, group, lease_key)
  if group.how == '=' then
    return claim(ctx, group, lease_key)
  end
  local known = ctx.lease(lease_key)
  local l = known and lease.was_used(known) and known
  look_up(ctx, group, lease_key, l)
  if l then
    -- The same commit again: the same grant, and the rest is refused once more.
    if group.how == '!' then
      lease.ask_again(l)
    end
    return again(ctx, group, l)
  end
  if group.count == 0 then
    return { 0, 0, 0, '', '', '', places_of(group) }
  end
  if known and group.how ~= '!' then
    -- Given up by who asked for it, who hears no answer: a commit that was sent before that, and came late.
    return ask_anew(ctx, group, { 0, 0, 0, '', '', '', places_of(group) }, group.count)
  end
  local t = weigh(ctx, group)
  note_waiting(ctx, group, t)
  if t.may_go > 0 then
    l = grant(ctx, group, t, lease_key)
    -- What was looked at ahead is no longer so.
    ctx.looks = {}
  end
  if t.may_go == group.count then
    note_share(ctx, group, t.may_go, false)
    return { t.may_go, send_within(ctx, group), group.ttl, '', '', '', places_of(group) }
  end
  local reason, limit, at = denied().reason(t)
  local is_there = reason ~= 'quota_exhausted' and reason ~= 'concurrency_exhausted'
  note_share(ctx, group, t.may_go, is_there or t.is_held_back)
  denied().hold_back(ctx, group, t, group.count - t.may_go)
  ctx.refused = true
  local retry = at and int(math.max(0, at - ctx.now)) or ''
  local send, deadline = l and send_within(ctx, group) or 0, l and group.ttl or 0
  return { t.may_go, send, deadline, reason, limit or '', retry, places_of(group) }
end
