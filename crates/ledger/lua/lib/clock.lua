-- The store's time in milliseconds, read once a script.
-- Invariant: it never goes back. Where the server's clock stepped back, time goes on from where it was.
-- @include lib/hash

local function store_now(state)
  local time = redis.call('TIME')
  local raw = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local last = hash.num(state, 'clock.last') or raw
  local skew = hash.num(state, 'clock.skew') or 0
  if raw < last then
    skew = skew + (last - raw)
    hash.put_int(state, 'clock.skew', skew)
  end
  if raw ~= last or not hash.text(state, 'clock.last') then
    hash.put_int(state, 'clock.last', raw)
  end
  return raw + skew
end
