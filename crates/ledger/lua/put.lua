-- put: declares a budget, or changes its declaration.
-- Invariant: what weighs goes on weighing. A limit keeps its account while its name, kind and window stay; a changed one
-- begins with all that weighed, for its own window.
-- KEYS  spec  state
-- ARGV  budget  channel  json  settings (text pairs: field value ...), as `number of pairs` first
-- REPLY {version, changed (1 or 0)}
-- ERROR NONE
-- @include lib/args
-- @include lib/clock
-- @include lib/spec
-- @include lib/limits
-- @include lib/announce

local budget_name, channel, json = args.text(), args.text(), args.text()
local old, stored = spec.read(KEYS[1])
if old and old.json == json then
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
local kept_fields = {}
for i = 1, args.num() do
  local field, value = args.text(), args.text()
  hash.put(stored, field, value)
  kept_fields[field] = true
end
local h_fields = hash.load_all(hash.open(KEYS[1]))
for i = 1, #h_fields do
  if not kept_fields[h_fields[i]] then
    hash.put(stored, h_fields[i], nil)
  end
end
hash.put_int(stored, 'version', version)
hash.put(stored, 'json', json)

-- ## an account => (the same account | a new one that begins with what weighed)
for l = 1, tonumber(stored.have['limits']) do
  local prefix = int(l) .. '.'
  local name, kind = stored.have[prefix .. 'name'], stored.have[prefix .. 'kind']
  local before
  for i = 1, old and #old.limits or 0 do
    if old.limits[i].name == name then
      before = old.limits[i]
    end
  end
  local same = before and before.kind == kind
  if same and kind == 'window' then
    same = before.window == tonumber(stored.have[prefix .. 'window'])
  elseif same and kind == 'concurrency' then
    same = before.linger_slot == tonumber(stored.have[prefix .. 'linger_slot'])
  elseif same and kind == 'bucket' then
    same = before.slot == tonumber(stored.have[prefix .. 'slot'])
  end
  if same then
    hash.put(stored, prefix .. 'key', before.key)
    -- The capacity is the declared one until a reading says otherwise; how windows end is to be read again.
    if before.closing > 0 then
      slots.add(state, before, 'paid', math.ceil((now + before.window) / before.slot), before.closing, {})
      before.closing = 0
    end
    local level = kind == 'bucket' and before.does.available(before) + before.out
    before.n, before.cap, before.fresh, before.fresh_since = nil, nil, nil, nil
    before.end_early, before.end_late, before.fresh_until = nil, nil, nil
    before.cap = level and math.min(level, tonumber(stored.have[prefix .. 'capacity'])) or nil
    before.is_kept = true
  else
    hash.put(stored, prefix .. 'key', name .. '@' .. int(version))
    if before and kind == 'window' and before.kind ~= 'adaptive' then
      local slot, span = tonumber(stored.have[prefix .. 'slot']), tonumber(stored.have[prefix .. 'window'])
      local weighs = limits.paid(before) + before.out
      if weighs > 0 then
        local k = math.ceil((now + span) / slot)
        local limit_key = name .. '@' .. int(version)
        local after = { key = limit_key, paid = 0 }
        slots.add(state, after, 'paid', k, weighs, {})
        hash.put_int(state, limit_key .. ':paid', weighs)
        hash.put(state, limit_key .. ':paid_index', after.paid_index)
        hash.put_int(state, limit_key .. ':paid_low', math.floor(now / slot))
      end
    end
  end
end
if old then
  limits.save(state, old)
  for i = 1, #old.limits do
    local limit = old.limits[i]
    if not limit.is_kept then
      local prefix = limit.key .. ':'
      local fields = hash.load_all(hash.open(KEYS[2]))
      for f = 1, #fields do
        if string.sub(fields[f], 1, #prefix) == prefix then
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
