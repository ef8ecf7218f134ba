-- put: declares a budget, or changes its declaration.
-- Invariant: what weighs goes on weighing. A limit keeps its account while its name, kind, window and moment of counting stay; a changed one
-- begins with all that weighed, for its own window; and one whose account was lost with its declaration begins lost.
-- KEYS  spec  state
-- ARGV  budget  channel  json  the budget's own settings (a record)  number of limits, each: its settings (a record)
-- REPLY {version, changed (1 or 0)}
-- ERROR NONE
-- @include lib/args
-- @include lib/clock
-- @include lib/spec
-- @include lib/limits
-- @include lib/life
-- @include lib/announce

args.begin()
local budget_name, channel, json = args.text(), args.text(), args.text()
local old, stored = spec.read(KEYS[1])
if old and hash.text(stored, 'json') == json then
  return { int(old.version), 0 }
end

announce.open(channel, budget_name)
if not old then
  -- What a deleted budget left goes with its expiry.
  redis.call('DEL', KEYS[1])
end
local state = hash.open(KEYS[2])
hash.load_all(state)
local now = store_now(state)
if old then
  limits.load(state, old, now)
end

local version = (tonumber(stored.have['version'] or '0')) + 1
local settings, declared = { args.text() }, {}
for l = 1, args.num() do
  settings[l + 1] = args.text()
  declared[l] = spec.limit(settings[l + 1])
end
hash.put_int(stored, 'version', version)
hash.put(stored, 'json', json)

-- Settings of a limit that its account depends on; others change without a trace in it.
local COUNTS = { 'capacity', 'window', 'aligned', 'on_clock', 'refill', 'start', 'least', 'most', 'linger', 'linger_slot' }
-- How long calls that were under way occupy a slot of a concurrency limit that takes another kind's place: ms.
local UNDER_WAY = 60000

local function named(name)
  for i = 1, old and #old.limits or 0 do
    if old.limits[i].name == name then
      return old.limits[i]
    end
  end
  return nil
end

-- ## an account => the same account, under other settings
local function adapt(limit, after)
  local changed = false
  for i = 1, #COUNTS do
    changed = changed or after[COUNTS[i]] ~= limit[COUNTS[i]]
  end
  limit.is_kept = true
  if not changed then
    return
  end
  -- The capacity is the declared one until a reading says otherwise; how windows end is to be read again.
  limit.n, limit.n_since, limit.n_claim = nil, nil, nil
  if limit.kind == 'window' then
    if limit.closing > 0 then
      slots.let_go(state, limit, limit.closing_held)
      slots.add(state, limit, 'paid', math.ceil((now + limit.window) / limit.slot), limit.closing, {})
      limit.closing, limit.closing_held = 0, nil
    end
    limit.cap, limit.fresh, limit.fresh_since, limit.fresh_until = nil, nil, nil, nil
    limit.end_early, limit.end_late = nil, nil
    for i = 1, #ladder.fields do
      if limit[ladder.fields[i]] and string.sub(ladder.fields[i], 1, 6) ~= 'shadow' then
        limit[ladder.fields[i]] = nil
      end
    end
  elseif limit.kind == 'bucket' then
    limit.cap = math.min(after.capacity, math.max(limit.cap, limit.fresh or limit.cap))
    limit.fresh, limit.fresh_since = nil, nil
  elseif limit.kind == 'concurrency' then
    local lingering = {}
    for k, cost, held in slots.walk(state, limit, 'paid') do
      lingering[#lingering + 1] = { at = k * limit.linger_slot, cost = cost, held = held }
    end
    slots.sweep(state, limit, 'paid', math.ceil((now + UNDER_WAY * 60) / limit.linger_slot))
    limit.paid_low = nil
    for i = 1, #lingering do
      local k = math.ceil(lingering[i].at / after.linger_slot)
      slots.add(state, limit, 'paid', k, lingering[i].cost, {})
      for j = 1, #(lingering[i].held or {}) do
        slots.add(state, limit, 'paid', k, lingering[i].held[j].cost, { lingering[i].held[j].party }, true)
      end
    end
  end
end

-- ## an account => a new one that begins with all that weighed, for a window of its own
local function begin(before, after)
  local used = 0
  if before and before.kind ~= 'adaptive' then
    used = math.max(0, before.n - before.does.available(before))
  end
  if used == 0 or after.kind == 'adaptive' then
    return
  end
  if after.kind == 'bucket' then
    local level = { cap = after.capacity - used, at = now }
    hash.put(state, after.key, record.write(level, { { fields = { 'cap', 'at' }, is_real = limits.kind('bucket').is_real } }))
    return
  end
  local slot = after.kind == 'window' and after.slot or after.linger_slot
  local span = after.kind == 'window' and after.window or UNDER_WAY
  local account = { key = after.key, paid = 0 }
  slots.add(state, account, 'paid', math.ceil((now + span) / slot), used, {})
  account.paid, account.paid_low = used, math.floor(now / slot)
  hash.put(state, after.key, record.write(account, { { fields = { 'paid', 'paid_low' }, is_real = {} } }))
  hash.put(state, after.key .. ':paid_index', account.paid_index)
end

for l = 1, #declared do
  local after = declared[l]
  local before = named(after.name)
  local same = before and before.kind == after.kind
  if same and before.kind == 'window' then
    same = before.window == after.window
  end
  -- What is out stands by its deadline or by when it must be sent.
  same = same and before.completion == after.completion
  if same then
    after.key = before.key
    adapt(before, after)
  else
    after.key = after.name .. '@' .. int(version)
    begin(before, after)
  end
  settings[l + 1] = settings[l + 1] .. ' key:' .. after.key
end
hash.put(stored, 'settings', table.concat(settings, '\n'))
if not old and hash.text(state, 'life') then
  -- The declaration was lost, and nobody deleted it: where the account was as well, or is not to be told, permits may be out.
  local budget = { limits = {} }
  record.read(settings[1], budget)
  for l = 1, #declared do
    if not state.have[declared[l].key] then
      budget.limits[#budget.limits + 1] = declared[l]
    end
  end
  if #budget.limits > 0 then
    local settled_by = math.max(life.deadline(state), now + budget.permit_ttl)
    limits.load(state, budget, now)
    limits.lose_all(state, budget, settled_by, now, false)
    limits.save(state, budget)
  end
end
if old then
  limits.save(state, old)
  for i = 1, #old.limits do
    local limit = old.limits[i]
    if not limit.is_kept then
      hash.put(state, limit.key, nil)
      local prefix = limit.key .. ':'
      local fields = hash.load_all(hash.open(KEYS[2]))
      for f = 1, #fields do
        if fields[f] == limit.key or string.sub(fields[f], 1, #prefix) == prefix then
          hash.put(state, fields[f], nil)
        end
      end
    end
  end
end
hash.flush(stored)
hash.flush(state)
announce.say('spec', version)
return { int(version), 1 }
