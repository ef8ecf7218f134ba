-- The store's time in milliseconds, read once a script.
-- Invariant: it never goes back, and goes on as the replicas' own clocks do. Where the server's clock stepped back, time
-- goes on from where it was; where it stepped ahead, it waits.
-- @include lib/hash

-- `latest` and `earliest`: it can be no later and no earlier, by the clock of the replica that asks; nil: not known.
local function store_now(state, latest, earliest)
  local time = redis.call('TIME')
  local raw = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local last = hash.num(state, 'clock.last') or raw
  local skew = hash.num(state, 'clock.skew') or 0
  local told = skew
  if raw < last then
    skew = skew + (last - raw)
  end
  if latest and raw + skew > latest then
    -- Not before what was told already; and of what can be, what errs on the late side for whoever waits.
    skew = math.max(earliest or latest, last + told) - raw
  end
  if earliest and raw + skew < earliest then
    -- A call that was long under way looked like a step ahead; or the server's clock stood still.
    skew = earliest - raw
  end
  if skew ~= told then
    hash.put_int(state, 'clock.skew', skew)
  end
  if raw ~= last or not hash.text(state, 'clock.last') then
    hash.put_int(state, 'clock.last', raw)
  end
  return raw + skew
end
