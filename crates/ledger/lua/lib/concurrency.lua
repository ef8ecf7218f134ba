-- So many calls at once. A permit weighs from its grant until it is settled and its slot's linger is over, at the
-- latest until its deadline.
-- @include lib/slots

local concurrency = {}

concurrency.fields = {
  'n', 'out', 'out_low', 'paid', 'paid_low', 'granted', 'foreign', 'known', 'alerted', 'lost_at', 'lost_from', 'lost_until',
}
concurrency.texts = { 'out_index', 'paid_index' }
concurrency.is_real = {}
concurrency.parts = { concurrency }

function concurrency.advance(state, limit, now)
  slots.sweep(state, limit, 'out', math.floor(now / limit.slot))
  slots.sweep(state, limit, 'paid', math.floor(now / limit.linger_slot))
end

function concurrency.available(limit)
  local free = limit.n - limit.paid - limit.out
  return limit.lost_until and math.min(0, free) or free
end

function concurrency.forget()
  -- Slots that nobody remembers come back by their deadlines, at `lost_until` at the latest.
end

function concurrency.grant(state, limit, cost, send_by, parties)
  slots.add(state, limit, 'out', math.ceil(send_by / limit.slot), cost, parties)
  limit.granted = limit.granted + cost
end

-- As window.settle; `send_by` is the permit's deadline.
function concurrency.settle(state, limit, s, now)
  if slots.is_gone(limit, s.granted_at, s.send_by) then
    return false
  end
  slots.add(state, limit, 'out', math.ceil(s.send_by / limit.slot), -s.cost, s.parties)
  local called = s.kind == 'accepted' or s.kind == 'lost'
  local till = s.answered_at + limit.linger
  if called and limit.linger > 0 and till > now then
    slots.add(state, limit, 'paid', math.ceil(till / limit.linger_slot), s.cost, s.parties)
  end
  return true
end

function concurrency.ahead(state, limit, now)
  local c = { at = now, dropped = {} }
  local busy = limit.paid + limit.out
  local next_out, next_paid = slots.walk(state, limit, 'out'), slots.walk(state, limit, 'paid')
  local out_k, out_cost, out_held = next_out()
  local paid_k, paid_cost, paid_held = next_paid()

  local function drop(cost, held)
    busy = busy - cost
    for i = 1, #(held or {}) do
      c.dropped[held[i].party] = (c.dropped[held[i].party] or 0) + held[i].cost
    end
  end

  function c.ready_at(need)
    return limit.n - busy >= need and math.max(c.at, limit.lost_until or 0) or nil
  end

  function c.step()
    local out_at = out_k and out_k * limit.slot
    local paid_at = paid_k and paid_k * limit.linger_slot
    if out_at and (not paid_at or out_at <= paid_at) then
      c.at = math.max(out_at, now)
      drop(out_cost, out_held)
      out_k, out_cost, out_held = next_out()
    elseif paid_at then
      c.at = math.max(paid_at, now)
      drop(paid_cost, paid_held)
      paid_k, paid_cost, paid_held = next_paid()
    else
      return false
    end
    return true
  end

  return c
end
