-- A bucket that is known to refill `refill` per ms up to N. Two levels refill between events: `cap`, the least that
-- readings and blind charges allow, and `fresh`, after the reading of the permit granted latest.
-- Invariant: max(cap, fresh) - out is never above the upstream's level.
-- @include lib/slots

local bucket = {}

bucket.fields = {
  'n', 'n_since', 'n_claim', 'out', 'out_low', 'paid', 'paid_low', 'settled', 'blind', 'granted', 'foreign', 'cap', 'fresh',
  'fresh_since', 'at', 'known', 'unread', 'probe_until', 'alerted',
  'lost_at', 'lost_from', 'lost_until',
}
bucket.texts = { 'out_index', 'paid_index' }
bucket.is_real = { cap = true, fresh = true, at = true }
bucket.parts = { bucket }

local function charge(limit, cost)
  limit.settled = limit.settled + cost
  limit.blind = limit.blind + cost
  limit.cap = limit.cap - cost
  if limit.fresh then
    limit.fresh = limit.fresh - cost
  end
end

-- A party holds what it used until the bucket could have refilled.
local function keep_held(state, limit, moment, cost, parties)
  slots.add(state, limit, 'paid', math.ceil((moment + limit.n / limit.refill) / limit.slot), cost, parties, true)
end

local function refill_to(limit, moment)
  local back = (moment - limit.at) * limit.refill
  limit.cap = math.min(limit.n, limit.cap + back)
  if limit.fresh then
    limit.fresh = math.min(limit.n, limit.fresh + back)
  end
  limit.at = moment
end

function bucket.advance(state, limit, now)
  limit.cap, limit.at = limit.cap or limit.n, limit.at or now
  -- What may no longer be sent has executed or never will: it is charged at that moment, in place of being out.
  for k, cost, held in slots.walk(state, limit, 'out') do
    if k * limit.slot > now then
      break
    end
    refill_to(limit, math.max(limit.at, k * limit.slot))
    charge(limit, cost)
    -- What parties hold of it they hold until the bucket could have refilled, as if it had been settled then.
    for i = 1, #(held or {}) do
      keep_held(state, limit, k * limit.slot, held[i].cost, { held[i].party })
    end
  end
  refill_to(limit, now)
  slots.sweep(state, limit, 'out', math.floor(now / limit.slot))
  slots.sweep(state, limit, 'paid', math.floor(now / limit.slot))
end

-- The upstream says that the capacity is another one.
function bucket.resize(limit)
  limit.cap = math.min(limit.cap, limit.n)
  limit.fresh = limit.fresh and math.min(limit.fresh, limit.n)
end

-- Nothing may be left of the bucket at the moment after which no forgotten permit can be sent.
function bucket.forget(_, limit, now)
  limit.cap, limit.fresh, limit.fresh_since = -(limit.lost_from - now) * limit.refill, nil, nil
end

function bucket.available(limit)
  return math.floor(math.max(limit.cap, limit.fresh or limit.cap) + 1e-6) - limit.out
end

function bucket.grant(state, limit, cost, send_by, parties)
  slots.add(state, limit, 'out', math.ceil(send_by / limit.slot), cost, parties)
  limit.granted = limit.granted + cost
end

function bucket.settle(state, limit, s, now)
  if slots.is_gone(limit, s.granted_at, s.send_by) then
    return false
  end
  slots.add(state, limit, 'out', math.ceil(s.send_by / limit.slot), -s.cost, s.parties)
  if s.kind == 'not_sent' then
    return true
  end
  if #s.parties > 0 then
    keep_held(state, limit, now, s.charge, s.parties)
  end
  local r = s.reading
  if not (r and r.least) or r.last > limit.n then
    -- More than there can be says nothing of what is left either.
    if s.charge > 0 then
      charge(limit, s.charge)
    end
    if r and r.least then
      limit.cap = math.min(limit.cap, r.least - (limit.blind - s.blind_then - s.charge))
    end
    return true
  end
  s.read = true
  limit.settled = limit.settled + s.charge
  limit.cap = math.min(limit.cap, r.least - (limit.blind - s.blind_then))
  if not limit.fresh_since or s.settled_then >= limit.fresh_since then
    limit.fresh = r.last - (limit.settled - s.settled_then - s.charge_each)
    limit.fresh_since = s.settled_then
  else
    limit.fresh = limit.fresh - s.charge
  end
  return true
end

-- A look ahead, as window.ahead. What is out is charged when it may no longer be sent; until then it cannot refill.
function bucket.ahead(state, limit, now)
  local c = { at = now, dropped = {} }
  local out, cap, fresh = limit.out, limit.cap, limit.fresh
  local next_out, next_paid = slots.walk(state, limit, 'out'), slots.walk(state, limit, 'paid')
  local out_k, out_cost, out_held = next_out()
  local paid_k, _, paid_held = next_paid()
  -- What parties hold of what is out, in the order in which they will have held it long enough.
  local later, first_later = {}, 1

  local function drop(held)
    for i = 1, #(held or {}) do
      c.dropped[held[i].party] = (c.dropped[held[i].party] or 0) + held[i].cost
    end
  end

  function c.ready_at(need)
    if need + out > limit.n and out > 0 then
      return nil
    end
    local missing = need + out - math.max(cap, fresh or cap)
    return c.at + math.max(0, math.ceil((missing - 1e-6) / limit.refill))
  end

  function c.step()
    local at
    local function sooner(moment)
      if moment and (not at or moment < at) then
        at = moment
      end
    end
    local out_at, paid_at = out_k and out_k * limit.slot, paid_k and paid_k * limit.slot
    local later_at = later[first_later] and later[first_later].at
    sooner(out_at)
    sooner(paid_at)
    sooner(later_at)
    if not at then
      return false
    end
    at = math.max(at, now)
    local back = (at - c.at) * limit.refill
    c.at = at
    cap = math.min(limit.n, cap + back)
    fresh = fresh and math.min(limit.n, fresh + back)
    if out_at and out_at <= at then
      out, cap, fresh = out - out_cost, cap - out_cost, fresh and fresh - out_cost
      local till = math.ceil((out_at + limit.n / limit.refill) / limit.slot) * limit.slot
      later[#later + 1] = { at = till, held = out_held }
      out_k, out_cost, out_held = next_out()
    elseif later_at and later_at <= at then
      drop(later[first_later].held)
      first_later = first_later + 1
    else
      drop(paid_held)
      paid_k, _, paid_held = next_paid()
    end
    return true
  end

  return c
end
