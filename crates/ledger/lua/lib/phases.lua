-- The phases of a scope that is or was paused.
-- Invariant: inside a pause nothing is granted in its scope; after it one probe, and after its success a ramp.
-- @include lib/hash
-- @include lib/announce

local phases = {}

-- Scopes kept at most; what would be one more pauses the budget.
local SCOPES = 64
-- Doublings of what a ramp lets out until it is over.
local RAMP_DOUBLINGS = 8

local ATTRIBUTES = { 'until', 'began', 'tries', 'first', 'probe', 'ramp', 'out' }

local function put(p, scope, record)
  if not p.by_scope[scope] then
    p.scopes[#p.scopes + 1] = scope
  end
  p.by_scope[scope] = record
  for i = 1, #ATTRIBUTES do
    local value = record and record[ATTRIBUTES[i]]
    hash.put(p.h, scope .. '|' .. ATTRIBUTES[i], value and int(value) or nil)
  end
end

-- Where a scope stands: nil (grants), or `paused` (till; nil: until resumed), `probe` (one may go), `probing` (till),
-- `ramp` (how many may go, and when the next may).
function phases.phase(p, scope, now, ramp_span)
  local record = p.by_scope[scope]
  if not record then
    return nil
  end
  if scope == 'operator' then
    if record['until'] and record['until'] <= now then
      put(p, scope, nil)
      announce.say('resumed', scope)
      return nil
    end
    return 'paused', record['until']
  end
  if record.ramp then
    if now - record.ramp >= ramp_span then
      put(p, scope, nil)
      return nil
    end
    local so_far = math.floor(2 ^ (RAMP_DOUBLINGS * (now - record.ramp) / ramp_span) + 1e-9)
    local more = math.max(so_far, record.out) + 1
    local next_at = record.ramp + math.ceil(ramp_span / RAMP_DOUBLINGS * math.log(more) / math.log(2) - 1e-6)
    return 'ramp', math.min(next_at, record.ramp + ramp_span), math.max(0, so_far - record.out)
  end
  if record['until'] > now then
    return 'paused', record['until']
  end
  if record.probe > now then
    return 'probing', record.probe
  end
  return 'probe'
end

-- How many refusals in a row, probes after the first, a scope's pause was lengthened by.
function phases.tries(p, scope)
  local record = p.by_scope[scope]
  return record and record.tries or 0
end

-- ## (granting | ramping | probing) => paused, by a refusal of a permit granted at `granted_at`. `till`: the moment that
-- the response named, or nil; then back off by base * 2^tries, at most max, with full jitter;
-- and at most base more than twice what has passed since the first: short ones in a row lead to no long one.
function phases.begin(p, scope, now, granted_at, till, budget, jitter)
  local record = p.by_scope[scope]
  if not record and #p.scopes >= SCOPES then
    scope = 'budget'
    record = p.by_scope[scope]
  end
  local same_epoch = record and granted_at <= record.began
  record = record or { tries = 0, began = now }
  record.first = record.tries > 0 and (record.first or record.began) or now
  if same_epoch then
    if not till or till <= record['until'] then
      return
    end
    record['until'] = till
  else
    local step = math.min(budget.backoff_max, budget.backoff_base * 2 ^ math.min(record.tries, 40),
      budget.backoff_base + 2 * (now - record.first))
    local new = till or now + math.max(1, math.ceil(step * jitter))
    record['until'] = math.max(record['until'] or 0, new)
    record.began = now
    record.tries = record.tries + 1
  end
  record.probe, record.ramp, record.out = 0, nil, nil
  put(p, scope, record)
  announce.say('paused', scope, record['until'] - now)
end

-- A replica remembers that a scope is paused until `till` (nil: until resumed): it goes on, never shorter than it is.
function phases.restore(p, scope, now, till)
  local record = p.by_scope[scope]
  if scope == 'operator' then
    if not record and (not till or till > now) then
      put(p, scope, { began = now, ['until'] = till })
    end
  elseif till and till > now and (#p.scopes < SCOPES or record) then
    if not record or record.ramp or record['until'] < till then
      put(p, scope, { began = now, tries = record and record.tries or 1, ['until'] = till, probe = 0 })
    end
  end
end

-- ## probe => probing
function phases.send_probe(p, scope, till)
  local record = p.by_scope[scope]
  record.probe = till
  put(p, scope, record)
end

-- ## probing => (ramping | probe): `till` is until when this probe was waited for. One that another has followed ends nothing,
-- unless it succeeded.
function phases.end_probe(p, scope, now, succeeded, till)
  local record = p.by_scope[scope]
  if not record or record.ramp or record['until'] > now or not (succeeded or record.probe == till) then
    return
  end
  record.probe = 0
  if succeeded then
    record.ramp, record.out, record.tries = now, 0, 0
    announce.say('resumed', scope)
  end
  put(p, scope, record)
end

-- Counts permits that a ramp let out.
function phases.let_out(p, scope, count)
  local record = p.by_scope[scope]
  record.out = record.out + count
  put(p, scope, record)
end

-- The operator's pause; `till` nil: until resumed.
function phases.by_operator(p, now, till)
  put(p, 'operator', { began = now, ['until'] = till })
  announce.say('paused', 'operator', till and till - now or '')
end

function phases.clear(p)
  for i = 1, #p.scopes do
    local scope = p.scopes[i]
    if p.by_scope[scope] then
      put(p, scope, nil)
      announce.say('resumed', scope)
    end
  end
end
