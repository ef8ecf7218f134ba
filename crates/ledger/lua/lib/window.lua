-- A window: so much per window. Aligned: all is given back at a moment that readings name. Sliding: each cost weighs
-- for a window from its settlement, whatever the upstream's windows do.
-- Invariant: available = max(min(N - paid - closing, cap), fresh) - out is never above what the upstream would still
-- accept. `closing` is what is paid until the current window's end, whenever that turns out to be; `paid` the rest.
-- @include lib/slots

local window = {}

window.fields = {
  'n', 'n_since', 'n_claim', 'out', 'out_low', 'out_index', 'paid', 'paid_low', 'paid_index', 'closing', 'closing_held', 'settled', 'blind', 'granted', 'foreign', 'cap',
  'fresh', 'fresh_since', 'fresh_until', 'end_early', 'end_late', 'edge_early', 'edge_late', 'known', 'unread',
  'probe_until', 'alerted',
}

-- What the store's clock and the upstream's may drift apart in a window nobody reads, as a share of it.
local DRIFT = 1e-4

-- On a clock: the end after the one in [early, late] if nobody reads it; nil where it is too vague to tell windows apart.
local function end_after(limit, early, late)
  local drift = math.ceil(limit.window * DRIFT)
  early, late = early + limit.window - drift, late + limit.window + drift
  if late - early < limit.window / 2 then
    return early, late
  end
  return nil, nil
end

-- The window that ends in [end_early, end_late] is over: its end is the last edge.
local function pass_end(state, limit)
  slots.let_go(state, limit, limit.closing_held)
  limit.closing_held = nil
  limit.edge_early, limit.edge_late = limit.end_early, limit.end_late
  limit.cap, limit.fresh, limit.fresh_since, limit.closing = nil, nil, nil, 0
  if limit.is_on_clock then
    limit.end_early, limit.end_late = end_after(limit, limit.edge_early, limit.edge_late)
  else
    limit.end_early, limit.end_late = nil, nil
  end
end

-- Drops what is out and certainly executed in a window that is over.
local function drop_out(state, limit, now)
  local upto = math.floor((now - limit.window) / limit.slot)
  if limit.edge_early then
    upto = math.max(upto, math.ceil(limit.edge_early / limit.slot) - 1)
  end
  slots.sweep(state, limit, 'out', upto)
end

function window.advance(state, limit, now)
  -- Bounded: the drift makes an end that nobody reads too vague after some thousand windows.
  while limit.end_late and now >= limit.end_late do
    pass_end(state, limit)
  end
  if limit.fresh_until and now >= limit.fresh_until then
    limit.fresh, limit.fresh_since, limit.fresh_until = nil, nil, nil
  end
  drop_out(state, limit, now)
  slots.sweep(state, limit, 'paid', math.floor(now / limit.slot))
end

local function level(n, paid, cap, fresh)
  local all = n - paid
  if cap and cap < all then
    all = cap
  end
  if fresh and fresh > all then
    all = fresh
  end
  return all
end

function window.available(limit)
  return level(limit.n, limit.paid + limit.closing, limit.cap, limit.fresh) - limit.out
end

function window.grant(state, limit, cost, send_by, parties)
  slots.add(state, limit, 'out', math.ceil(send_by / limit.slot), cost, parties)
  limit.granted = limit.granted + cost
end

local function pay(state, limit, cost, till, parties, now)
  if till == limit.end_late then
    limit.closing = limit.closing + cost
    limit.closing_held = slots.take_on(state, limit, limit.closing_held, cost, parties)
  elseif till > now then
    slots.add(state, limit, 'paid', math.ceil(till / limit.slot), cost, parties)
  end
end

local function settle_blind(state, limit, s, now)
  local till = s.moment + limit.window
  if limit.end_late then
    if limit.is_on_clock then
      local windows = math.floor((s.moment - limit.end_early) / limit.window) + 1
      till = math.min(till, limit.end_late + windows * limit.window)
    elseif s.granted_at >= (limit.edge_late or 0) and s.moment < limit.end_early then
      till = math.min(till, limit.end_late)
    end
  end
  pay(state, limit, s.charge, till, s.parties, now)
  limit.settled = limit.settled + s.charge
  limit.blind = limit.blind + s.charge
  if limit.cap then
    limit.cap = limit.cap - s.charge
  end
  if limit.fresh then
    limit.fresh = limit.fresh - s.charge
  end
end

-- The reading of the permit granted latest, less everything else settled since its grant.
local function refresh(limit, s)
  limit.settled = limit.settled + s.charge
  if not limit.fresh_since or s.settled_then >= limit.fresh_since then
    limit.fresh = s.reading.last - (limit.settled - s.settled_then - s.charge_each)
    limit.fresh_since = s.settled_then
  else
    limit.fresh = limit.fresh - s.charge
  end
end

-- Takes a reading's window end in; answers nil where its window is over. Ends are a window apart at least, and intervals
-- narrower than half a window: so intervals that meet name the same end.
local function meet_end(state, limit, early, late, now)
  if late <= now or (limit.edge_late and early <= limit.edge_late) then
    return nil
  end
  if not limit.end_late then
    limit.end_early, limit.end_late = early, late
  elseif early > limit.end_late then
    limit.end_late = math.min(limit.end_late, now)
    pass_end(state, limit)
    limit.end_early, limit.end_late = early, late
    drop_out(state, limit, now)
  elseif late < limit.end_early then
    return nil
  else
    limit.end_early = math.max(limit.end_early, early)
    limit.end_late = math.min(limit.end_late, late)
  end
  return true
end

local function settle_aligned(state, limit, s, now)
  local r = s.reading
  -- A window's end is at most a window away from any call in it.
  if not meet_end(state, limit, r.early, math.min(r.late, s.moment + limit.window), now) then
    return
  end
  pay(state, limit, s.charge, limit.end_late, s.parties, now)
  local cap = r.least - (limit.blind - s.blind_then)
  limit.cap = limit.cap and math.min(limit.cap, cap) or cap
  refresh(limit, s)
end

-- What a reading shows to be used beyond all that we can have used was somebody else's: it weighs for a window from now.
local function charge_foreign(state, limit, s, now)
  local excess = limit.n - s.reading.least - (s.weighed_then + limit.granted + limit.foreign)
  if excess > 0 then
    slots.add(state, limit, 'paid', math.ceil((now + limit.window) / limit.slot), excess, {})
    limit.foreign = limit.foreign + excess
    s.foreign = excess
  end
end

local function settle_sliding(state, limit, s, now)
  pay(state, limit, s.charge, s.moment + limit.window, s.parties, now)
  charge_foreign(state, limit, s, now)
  refresh(limit, s)
  limit.fresh_until = now + limit.window
end

-- Settles `s`: cost (granted, all), charge (all), charge_each, send_by, moment (the latest at which it executed),
-- granted_at, settled_then, blind_then, weighed_then, parties, kind, reading {least, last, early, late}.
-- Answers whether it still weighed.
function window.settle(state, limit, s, now)
  local k = math.ceil(s.send_by / limit.slot)
  if k <= (limit.out_low or 0) then
    return false
  end
  slots.add(state, limit, 'out', k, -s.cost, s.parties)
  if s.kind == 'not_sent' then
    return true
  end
  local r = s.reading
  if r and r.least then
    r.least, r.last = math.min(r.least, limit.n), math.min(r.last, limit.n)
    s.read = true
  end
  if s.read and not limit.is_aligned then
    settle_sliding(state, limit, s, now)
  elseif s.read and r.late and r.late - r.early < limit.window / 2 then
    settle_aligned(state, limit, s, now)
  else
    if s.read then
      -- Of which window it is cannot be told, but nobody can have used more than there is.
      charge_foreign(state, limit, s, now)
    end
    if s.charge > 0 then
      settle_blind(state, limit, s, now)
    end
  end
  return true
end

-- The upstream says that the capacity is another one.
function window.resize(limit)
  if limit.fresh then
    limit.fresh = math.min(limit.fresh, limit.n)
  end
end

-- A look ahead: what will be available if nothing else happens. `step` goes to the next moment at which something
-- weighs no more and answers false where there is none.
function window.ahead(state, limit, now)
  local c = { at = now, dropped = {} }
  local paid, closing, out, cap, fresh = limit.paid, limit.closing, limit.out, limit.cap, limit.fresh
  local next_out, next_paid = slots.walk(state, limit, 'out'), slots.walk(state, limit, 'paid')
  local out_k, out_cost, out_held = next_out()
  local paid_k, paid_cost, paid_held = next_paid()
  local closing_held = limit.closing_held
  local end_early, end_late, fresh_until = limit.end_early, limit.end_late, limit.fresh_until

  local function drop(held)
    for i = 1, #(held or {}) do
      c.dropped[held[i].party] = (c.dropped[held[i].party] or 0) + held[i].cost
    end
  end

  local function drop_next_out()
    out = out - out_cost
    drop(out_held)
    out_k, out_cost, out_held = next_out()
  end

  function c.ready_at(need)
    return level(limit.n, paid + closing, cap, fresh) - out >= need and c.at or nil
  end

  function c.step()
    local at
    local function sooner(moment)
      if moment and (not at or moment < at) then
        at = moment
      end
    end
    local out_at = out_k and out_k * limit.slot + limit.window
    local paid_at = paid_k and paid_k * limit.slot
    sooner(out_at)
    sooner(paid_at)
    sooner((cap or fresh or out_k or closing > 0) and end_late)
    sooner(fresh and fresh_until)
    if not at then
      return false
    end
    c.at = math.max(at, now)
    while out_k and out_k * limit.slot + limit.window <= at do
      drop_next_out()
    end
    while paid_k and paid_k * limit.slot <= at do
      paid = paid - paid_cost
      drop(paid_held)
      paid_k, paid_cost, paid_held = next_paid()
    end
    if fresh_until and fresh_until <= at then
      fresh, fresh_until = nil, nil
    end
    if end_late and end_late <= at then
      cap, fresh, closing = nil, nil, 0
      drop(slots.held_in(closing_held))
      closing_held = nil
      while out_k and out_k * limit.slot < end_early do
        drop_next_out()
      end
      if limit.is_on_clock then
        end_early, end_late = end_after(limit, end_early, end_late)
      else
        end_early, end_late = nil, nil
      end
    end
    return true
  end

  return c
end
