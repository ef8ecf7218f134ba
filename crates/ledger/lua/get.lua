-- get: a budget's specification and how it stands. Writes nothing.
-- Invariant: what it says is what a commit at this moment would find.
-- KEYS  spec  state  pause  use  wait
-- ARGV  none
-- REPLY {version, json, {limit: {name, n, available, out, paid, rung, end_early (ms) or '',
--   end_late or '', known, foreign, recovering for (ms) or '',
--   foreign a window, reserved}},
--   {pause: {scope, for (ms) or '', phase}}, {use: field, value ...}, {wait: replica, callers ...}}
-- ERROR NOBUDGET
-- @include lib/clock
-- @include lib/spec
-- @include lib/limits
-- @include lib/pauses
-- @include lib/waiting

local budget, stored = spec.read(KEYS[1])
if not budget then
  return redis.error_reply('NOBUDGET no budget of this name')
end
local state = hash.open(KEYS[2])
local now = store_now(state)
limits.load(state, budget, now)

local function from_now(moment)
  return moment and int(math.max(0, moment - now)) or ''
end

local stand = {}
for l = 1, #budget.limits do
  local limit = budget.limits[l]
  local rung = limit.kind
  if rung == 'window' then
    rung = ladder.name(limit)
  end
  local foreign_use, reserved = 0, 0
  if limit.kind == 'window' then
    foreign_use, reserved = math.floor(foreign.a_window(limit, now) + 0.5), foreign.reserve(limit, now)
  end
  stand[l] = {
    limit.name, int(limit.n), int(limit.does.available(limit)), int(limit.out), int(limits.paid(limit)), rung,
    from_now(limit.end_early), from_now(limit.end_late), limit.known and 1 or 0, int(limit.foreign),
    from_now(limit.lost_until), int(foreign_use), int(reserved),
  }
end

local p = pauses.read(KEYS[3], state, now)
local shown = {}
for i = 1, #p.scopes do
  local scope = p.scopes[i]
  local phase, at = pauses.phases().phase(p, scope, now, budget.ramp)
  if phase == 'paused' then
    shown[#shown + 1] = { scope, from_now(at), 'paused' }
  elseif phase == 'probe' or phase == 'probing' then
    shown[#shown + 1] = { scope, '0', 'probing' }
  elseif phase == 'ramp' then
    shown[#shown + 1] = { scope, '0', 'ramping' }
  end
end

local waits = {}
local wait = hash.open(KEYS[5])
local replicas = hash.load_all(wait)
for i = 1, #replicas do
  local callers = waiting.callers(wait.have[replicas[i]], now)
  if callers then
    waits[#waits + 1] = replicas[i]
    waits[#waits + 1] = callers
  end
end

local use_key = KEYS[4]
return { int(budget.version), hash.text(stored, 'json'), stand, shown, redis.call('HGETALL', use_key), waits }
