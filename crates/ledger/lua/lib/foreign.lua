-- What others use of the same token: seen in readings, told, forecast and reserved for.
-- Invariant: what is counted as others' use is certainly not ours.
-- @include lib/number
-- @include lib/announce

local foreign = {}

foreign.fields = { 'foreign', 'others', 'others_since', 'rate', 'read_at', 'lag' }
foreign.is_real = { rate = true, lag = true }

-- How fast what was learned is forgotten, a window; and a response's lag, a reading.
local KEEP_RATE, KEEP_LAG = 0.5, 0.9
-- Standard deviations of the forecast that are reserved beyond it.
local CAUTION = 4
-- A rate is not told from less than this share of a window, nor forecast for more.
local SHORT, FAR = 1 / 16, 1 / 8

-- What is seen of others' use in this window is now `others`.
function foreign.see(limit, others)
  local more = others - (limit.others or 0)
  if more > 0 then
    limit.others = others
    limit.foreign = limit.foreign + more
    announce.say('foreign', limit.name, more)
  end
end

-- A window of others' use is over.
function foreign.turn(limit, now)
  local span = math.max(now - (limit.others_since or now - limit.window), limit.window * SHORT)
  local rate = KEEP_RATE * (limit.rate or 0) + (1 - KEEP_RATE) * (limit.others or 0) / span
  limit.rate = rate * limit.window >= 0.5 and rate or nil
  limit.others, limit.others_since = nil, now
end

-- A reading came of a permit granted at `granted_at` and answered at `answered_at`.
function foreign.heard(limit, granted_at, answered_at)
  if granted_at >= (limit.read_at or 0) then
    limit.read_at = granted_at
  end
  local lag = answered_at - granted_at
  limit.lag = KEEP_LAG * (limit.lag or lag) + (1 - KEEP_LAG) * lag
end

-- Others' use a window, as far as it is known: cost.
function foreign.a_window(limit, now)
  local rate = limit.rate or 0
  if limit.others then
    local span = math.max(now - (limit.others_since or now - limit.window), limit.window * SHORT)
    rate = math.max(rate, limit.others / span)
  end
  return rate * limit.window
end

-- What others will use before a permit that is granted now can have executed, beyond what the last reading showed.
function foreign.reserve(limit, now)
  local rate = foreign.a_window(limit, now) / limit.window
  if rate == 0 or not limit.read_at then
    return 0
  end
  local expected = rate * math.min(now - limit.read_at + (limit.lag or 0), limit.window * FAR)
  return math.floor(expected + CAUTION * math.sqrt(expected))
end
