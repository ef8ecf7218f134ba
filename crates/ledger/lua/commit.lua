-- commit: settles, renews, then grants in the order given.
-- Invariant: no limit is granted beyond what its upstream would accept, inside no pause, and a commit that is sent
-- again changes nothing more: permits are settled once, and a lease that is there is granted no second time.
-- KEYS  spec  state  pause  use  wait  asked0  asked1  lease...  (a lease for each settle, renew and acquire group, in that order)
-- ARGV  budget  channel  replica  spec_version  callers (that wait)  jitter (0 to 1)  incarnation (that the replica remembers, or
--   none)  sequence  witness (under whose name it remembers)  latest  earliest (ms that it can be by the replica's clock, or `-`)  settles  renews  acquires (groups)  looks (requests), then
--   a settle group: kind (not_sent, unclaimed, accepted, lost, refused, refused_counted)  age (ms)  indexes  costs (by limit; 0 or none: as
--     granted)  units (unit=cost;...)  readings, each: limit (from 1)  least  last  capacity  earliest  latest (ms) or `-`;
--     scope of its pause (budget, class:<name>, #limit) or none  retry_after (ms) or `-`
--   a renew group: index  ttl (ms)
--   an acquire group: class  tenant  tier  count  ttl (ms)  units  costs (by limit, 0: does not apply)  by id (none; `?` each asks; `!`
--     each holds one already; `=` and the index of a permit that is claimed again)
--   the tags of the requests by id of all groups, one a permit; then of those that are only looked up
--   the contenders (who of the callers waits, at most 32; none from an older replica), each as `fair` keeps it
-- REPLY {settled: a letter an index (a applied, d done before, u unknown)}  {paused: ms}  {renewed: ms, settled or unknown}
--   {decided: {granted, send_within (ms), deadline (ms), reason, limit, retry (ms), places (by request: an index here,
--     lease:index elsewhere, `-` nowhere; none: the first ones, in order)}}  {limits: {available, out, paid}}
--   {to remember: incarnation, sequence, now (ms), latest deadline (ms), pauses: scope, until (ms or `-`) ...}
--   {found: lease:index by request that is looked up; none: it was granted nothing}
-- ERROR NOBUDGET  FORGOTTEN (the declaration that there was)  STALE (the version in force)  LOST (the replica remembers more: `recover` first)
-- @include lib/args
-- @include lib/clock
-- @include lib/life
-- @include lib/spec
-- @include lib/settling
-- @include lib/granting

args.begin()
local budget_name, channel, replica, spec_version, callers, jitter, incarnation, seq, witness, latest, earliest, settles, renews,
  acquires, looks = args.texts(15)
callers, acquires, looks = tonumber(callers), tonumber(acquires), tonumber(looks)

local budget, stored = spec.read(KEYS[1])
if not budget then
  if incarnation ~= '' and not stored.have['version'] then
    -- Whoever deletes a budget leaves its version.
    return redis.error_reply('FORGOTTEN nobody deleted the budget that this replica remembers')
  end
  return redis.error_reply('NOBUDGET no budget of this name')
end
if budget.version ~= tonumber(spec_version) then
  return redis.error_reply('STALE ' .. int(budget.version))
end

local state = hash.open(KEYS[2])
life.load(state)
if life.is_behind(state, incarnation, tonumber(seq), witness) then
  return redis.error_reply('LOST the store knows less than this replica')
end
announce.open(channel, budget_name)
local ctx = {
  replica = replica,
  budget = budget,
  state = state,
  now = store_now(state, tonumber(latest), tonumber(earliest)),
  -- Text: few commits need it.
  jitter = jitter,
  use = usage.open(KEYS[4]),
  ahead = {},
  looks = {},
}
ctx.pauses = pauses.read(KEYS[3], state, ctx.now)
ctx.waiting = waiting.open(KEYS[5], replica, ctx.now, callers)
life.go_on(state, ctx.now, jitter, witness)
limits.load(state, budget, ctx.now)
ctx.recovering = limits.is_recovering(budget)
for l = 1, #budget.limits do
  ctx.ahead[l] = 0
end

-- Leases by key, each read once; false where there is none.
local leases, lease_order = {}, {}

function ctx.remember(lease_key, l)
  if not leases[lease_key] then
    lease_order[#lease_order + 1] = lease_key
  end
  leases[lease_key] = l
end

function ctx.lease(lease_key)
  if leases[lease_key] == nil then
    local l = lease.read(lease_key)
    if l then
      ctx.remember(lease_key, l)
    else
      leases[lease_key] = false
    end
  end
  return leases[lease_key] or nil
end

-- Whether a permit may be out or settled: of a lease that is read it is known, of any other assumed.
function ctx.may_hold(lease_key, index)
  local l = leases[lease_key]
  if l == nil then
    return true
  end
  local bit = l and lease.bit(l, index)
  return bit and bit ~= 'n'
end

local next_lease = 7
local function lease_at()
  next_lease = next_lease + 1
  return KEYS[next_lease]
end

local settled, paused, renewed, decided = {}, {}, {}, {}
for i = 1, tonumber(settles) do
  settled[i], paused[i] = settling.apply(ctx, settling.read(), lease_at())
end
for i = 1, tonumber(renews) do
  local index, ttl = args.num(), args.num()
  renewed[i] = settling.renew(ctx, index, ttl, lease_at())
end
local groups = {}
for i = 1, acquires do
  groups[i] = granting.read()
end
local first_tag, last_tag = granting.tags(groups)
local first_look = last_tag + 1
args.at, last_tag = args.at + looks, last_tag + looks
if first_tag <= last_tag then
  ctx.requests = requests.open(state, ctx.now, { KEYS[6], KEYS[7] }, first_tag, last_tag)
end
waiting.tell(ctx.waiting, args.rest(' '), groups)
local found = {}
for i = 1, looks do
  local id, index = requests.find(ctx.requests, ARGV[first_look + i - 1])
  found[i] = id and id .. ':' .. int(index) or ''
end
for i = 1, acquires do
  decided[i] = granting.apply(ctx, groups[i], lease_at())
end

local stand, has_room = {}, false
for l = 1, #budget.limits do
  local limit = budget.limits[l]
  local available = limit.does.available(limit)
  stand[l] = { int(available), int(limit.out), int(limits.paid(limit)) }
  has_room = has_room or available > 0
  local used = limit.n - available
  if used >= budget.alert * limit.n and not limit.alerted then
    limit.alerted = 1
    announce.say('threshold', limit.name, used, limit.n)
  elseif limit.alerted and used < budget.alert * limit.n * 0.9 then
    limit.alerted = nil
  end
  if limit.kind == 'adaptive' then
    limit.busy = (ctx.refused or callers > 0) and 1 or 0
  end
end

local tags, gives_up, is_gone = nil, false, false
if ctx.fair or ctx.waiting.is_left or ctx.waiting.told ~= '' then
  if waiting.is_shared(ctx.waiting) then
    local fair = granting.fair(ctx)
    tags = fair.tags(ctx.fair)
    fair.flush(ctx.fair, ctx.waiting)
  end
  ctx.waiting.told, gives_up, is_gone = granting.callers(ctx).close(ctx.callers, ctx.now)
end
local is_left = (gives_up and has_room) or (ctx.fair and ctx.fair.has_left) or ctx.waiting.has_left
local is_news = ctx.freed or (is_gone and has_room) or (is_left and waiting.may_tell(ctx.waiting))
if ctx.waiting.is_anybody and is_news then
  announce.say('wake')
end

-- What a replica must not forget even if the store does.
local remember = { hash.text(state, 'life'), int(hash.num(state, 'life.seq')), int(ctx.now), int(life.deadline(state)) }
for i = 1, #ctx.pauses.scopes do
  local scope = ctx.pauses.scopes[i]
  local phase, till = pauses.phases().phase(ctx.pauses, scope, ctx.now, budget.ramp)
  if phase == 'paused' then
    remember[#remember + 1] = scope
    remember[#remember + 1] = till and int(till) or '-'
  end
end

limits.save(state, budget)
for i = 1, #lease_order do
  lease.flush(leases[lease_order[i]])
end
pauses.flush(ctx.pauses, state, ctx.now)
if ctx.requests then
  requests.flush(ctx.requests)
end
usage.flush(ctx.use)
waiting.close(ctx.waiting, callers, budget.limits, tags)
hash.flush(state)
return { settled, paused, renewed, decided, stand, remember, found }
