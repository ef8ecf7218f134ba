-- No number is known and none is sent: a rate that grows while callers wait and is cut once a congestion epoch.
-- After a cut at rate `peak` the rate is peak * (1 + CUT * (t / RETURN - 1)^3) where t is the time since in which callers
-- waited: it is back at the peak after RETURN, flat there, and grows ever faster beyond (the shape of RFC 9438).
-- @include lib/slots

local adaptive = {}

adaptive.fields = { 'tokens', 'rate', 'peak', 'wanted', 'busy', 'cut_at', 'at', 'granted', 'foreign', 'known' }
adaptive.texts = {}
adaptive.is_real = { tokens = true, rate = true, peak = true, wanted = true, at = true }
adaptive.parts = { adaptive }

local CUT = 0.3
local RETURN = 10000
-- What may gather while nobody asks, ms of the rate; at least one.
local BURST = 100

local function burst(limit)
  return math.max(1, limit.rate * BURST)
end

function adaptive.advance(_, limit, now)
  limit.rate = limit.rate or limit.start
  limit.peak = limit.peak or limit.rate
  limit.wanted = limit.wanted or RETURN
  local span = now - (limit.at or now)
  limit.tokens = math.min(burst(limit), (limit.tokens or 1) + span * limit.rate)
  if limit.busy == 1 and span > 0 then
    limit.wanted = limit.wanted + span
    local bend = limit.wanted / RETURN - 1
    limit.rate = math.min(limit.most, math.max(limit.least, limit.peak * (1 + CUT * bend * bend * bend)))
  end
  limit.at = now
  limit.out, limit.paid, limit.n = 0, 0, math.max(1, math.floor(limit.rate * 1000 + 1e-6))
end

function adaptive.available(limit)
  return math.floor(limit.tokens + 1e-6)
end

-- A call that costs more than may gather goes when all that may gather has; the debt is paid off by the next ones.
function adaptive.weigh(limit, cost)
  return math.min(cost, math.floor(burst(limit)))
end

function adaptive.grant(_, limit, cost)
  limit.tokens = limit.tokens - cost
  limit.granted = limit.granted + cost
end

function adaptive.settle(_, limit, s, now)
  if s.kind == 'not_sent' then
    limit.tokens = math.min(burst(limit), limit.tokens + s.cost)
  elseif s.kind == 'refused' then
    if s.granted_at > (limit.cut_at or 0) then
      limit.peak = limit.rate
      limit.rate = math.max(limit.least, limit.rate * (1 - CUT))
      limit.wanted = 0
      limit.cut_at = now
      limit.tokens = math.min(limit.tokens, 0)
    end
  elseif s.charge ~= s.cost then
    limit.tokens = limit.tokens + s.cost - s.charge
  end
  return true
end

function adaptive.ahead(_, limit, now)
  local c = { at = now, dropped = {} }

  function c.ready_at(need)
    return now + math.max(0, math.ceil((need - limit.tokens - 1e-6) / limit.rate))
  end

  function c.step()
    return false
  end

  return c
end
