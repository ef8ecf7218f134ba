-- A grant against one window, in the manner of the production scripts.
local state_key, use_key, lease_key = KEYS[1], KEYS[2], KEYS[3]

local asked = tonumber(ARGV[1])
local window_ms = tonumber(ARGV[2])
local capacity = tonumber(ARGV[3])

local function int(n)
  return string.format('%.0f', n)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local fields = redis.call('HMGET', state_key, 'out', 'paid', 'cap', 'fresh', 'edge', 'settled', 'blind', 'low')
local state = {
  out = tonumber(fields[1] or '0'),
  paid = tonumber(fields[2] or '0'),
  cap = tonumber(fields[3] or int(capacity)),
  fresh = tonumber(fields[4] or '0'),
  edge = tonumber(fields[5] or '0'),
  settled = tonumber(fields[6] or '0'),
  blind = tonumber(fields[7] or '0'),
  low = tonumber(fields[8] or int(now)),
}

-- The window is over: what weighed in it weighs no more.
if now - state.low >= window_ms then
  state.out = 0
  state.paid = 0
  state.cap = capacity
  state.low = now
end

local free = math.max(math.min(capacity - state.paid, state.cap), state.fresh) - state.out
local granted = 0
for _ = 1, asked do
  if free - granted >= 1 then
    granted = granted + 1
  end
end
state.out = state.out + granted

local slot_length = window_ms / 256
local slot = math.floor(now / slot_length)
local slot_field = 'slot:' .. int(slot % 256)
local slot_cost = tonumber(redis.call('HGET', state_key, slot_field) or '0')

redis.call('HSET', state_key, 'out', int(state.out), 'paid', int(state.paid), 'cap', int(state.cap),
  'low', int(state.low), slot_field, int(slot_cost + granted))
redis.call('HINCRBY', use_key, 'granted', int(granted))
redis.call('HSET', lease_key, 'count', int(granted), 'at', int(now), 'settled', int(state.settled))
redis.call('PEXPIRE', lease_key, int(window_ms * 2))

if granted == 0 then
  return { 0, int(state.low + window_ms - now) }
end
return { granted, int(free - granted), int(now) }
