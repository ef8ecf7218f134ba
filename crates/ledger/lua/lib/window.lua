-- A window: so much per window. Aligned: all is given back at a moment that readings name. Sliding: each cost weighs
-- for a window from its settlement, whatever the upstream's windows do.
-- Invariant: available = max(min(N - paid - closing, cap), fresh + overdue) - out is never above what the upstream would still
-- accept. `closing` is what is paid until the current window's end, whenever that turns out to be; `paid` the rest.
-- @include lib/slots
-- @include lib/overdue
-- @include lib/ladder
-- @include lib/foreign
-- @late lib/evidence

local window = {}

window.fields = {
  'n', 'n_since', 'n_claim', 'out', 'out_low', 'paid', 'paid_low', 'closing', 'settled', 'blind', 'granted', 'cap', 'fresh',
  'fresh_since', 'fresh_until', 'end_early', 'end_late', 'edge_early', 'edge_late', 'known', 'unread',
  'probe_until', 'alerted', 'hushed', 'lost_read', 'found_at', 'lost_at', 'lost_from', 'lost_until',
}
window.texts = { 'out_index', 'paid_index', 'closing_held', 'shadow_index' }
window.is_real, window.parts = {}, { window, overdue, ladder, foreign }

-- On a clock: the end after the one in [early, late] if nobody reads it; nil where it is too vague to tell windows apart.
local function end_after(limit, early, late)
  local drift = math.ceil(limit.window * ladder.DRIFT)
  early, late = early + limit.window - drift, late + limit.window + drift
  if late - early < limit.window / 2 then
    return early, late
  end
  return nil, nil
end

-- The window that ends in [end_early, end_late] is over: its end is the last edge.
local function pass_end(state, limit, now)
  if not limit.is_aligned then
    ladder.reach(limit)
    return
  end
  foreign.turn(limit, now)
  if ladder.doubts(limit) then
    -- One permit finds out whether the end was one.
    limit.gate, limit.known, limit.unread, limit.probe_until = 1, nil, nil, nil
  end
  slots.let_go(state, limit, limit.closing_held)
  limit.closing_held = nil
  limit.edge_early, limit.edge_late = limit.end_early, limit.end_late
  ladder.pass(limit)
  limit.cap, limit.fresh, limit.fresh_since, limit.fresh_until, limit.closing = nil, nil, nil, nil, 0
  if limit.lost_read then
    -- A reading placed all that was forgotten in this window.
    limit.lost_from, limit.lost_until, limit.lost_read, limit.found_at = nil, nil, nil, now
  end
  if limit.is_on_clock then
    limit.end_early, limit.end_late = end_after(limit, limit.edge_early, limit.edge_late)
  else
    limit.end_early, limit.end_late = nil, nil
  end
end

-- Drops what certainly executed in a window that is over.
local function drop_over(state, limit, now)
  local upto = math.floor((now - limit.window) / limit.slot)
  if limit.edge_early and limit.is_aligned and limit.proven then
    upto = math.max(upto, math.ceil(limit.edge_early / limit.slot) - 1)
    -- What was settled before ends were believed, or where none was known.
    slots.sweep(state, limit, 'paid', math.ceil((limit.edge_early + limit.window) / limit.slot) - 1)
  end
  overdue.sweep(limit, slots.sweep(state, limit, 'out', upto))
end

-- Until when `fresh` is believed; nil: until the end of its window, or as a bucket for ever.
local function fresh_till(limit)
  return not ladder.is_bucket(limit) and limit.fresh_until or nil
end

function window.advance(state, limit, now)
  -- Bounded: the drift makes an end that nobody reads too vague after some thousand windows.
  ladder.load(limit)
  while limit.end_late and now >= limit.end_late do
    pass_end(state, limit, now)
  end
  if not limit.is_aligned and now >= (limit.others_since or now) + limit.window then
    foreign.turn(limit, now)
  end
  limit.fresh, limit.fresh_at = ladder.refilled(limit, limit.fresh, limit.fresh_at, now)
  local till = fresh_till(limit)
  if till and now >= till then
    limit.fresh, limit.fresh_since, limit.fresh_until = nil, nil, nil
  end
  drop_over(state, limit, now)
  slots.sweep(state, limit, 'paid', math.floor(now / limit.slot))
  slots.sweep(state, limit, 'shadow', math.floor(now / limit.slot))
  ladder.advance(limit, now)
end

local function level(n, paid, cap, fresh, is_lost)
  local all = n - paid
  if is_lost then
    all = math.min(all, 0)
  end
  if cap and cap < all then
    all = cap
  end
  if fresh and fresh > all then
    all = fresh
  end
  return all
end

-- Of what is there, what may go: not what others will use, nor faster than the pace; but one at a turn. `all` is what
-- the level leaves, `alone` what our own calls leave, `paced` what the pace lets out (nil: all). `is_quiet`: nothing is out that
-- may still be sent, and none that went was refused without a word of what is left.
local function open(limit, all, alone, out, is_quiet, kept, is_turn, is_lost, paced)
  if is_quiet and all < 1 and alone >= 1 and not is_lost and foreign.a_window(limit, limit.now) == 0 then
    -- What was settled blind, and what is out, weighs twice on a reading that had counted it: where nobody else was seen, one
    -- goes and reads.
    all = 1
  end
  if all > 0 and kept > 0 then
    -- Where nothing is out nothing would be heard: one goes.
    all = math.max(all - kept, out == 0 and 1 or 0)
  end
  if paced and paced < all then
    all = paced
  end
  if is_turn and all < 1 and not is_lost then
    all = 1 - out
  end
  return all
end

function window.available(limit, is_unpaced)
  local paid, paced = limit.paid + limit.closing, not is_unpaced and ladder.open(limit) or nil
  local fresh = overdue.beside(limit, limit.fresh)
  local all = level(limit.n, paid, limit.cap, fresh, limit.lost_until) - limit.out
  local kept = foreign.reserve(limit, limit.now)
  local is_quiet, is_turn = not limit.hushed and slots.last(limit, 'out') <= limit.now, ladder.finds_out(limit)
  return open(limit, all, limit.n - paid - limit.out, limit.out, is_quiet, kept, is_turn, limit.lost_until, paced)
end

-- Whether one call of this cost may go though less is available, when `kept` is kept for others.
function window.lets_one(limit, cost, kept)
  return ladder.lets_one(limit, cost) and window.available(limit, true) - kept >= cost
end

-- Of a state that was lost nothing is believed but edges that have passed.
function window.forget(state, limit)
  slots.let_go(state, limit, limit.closing_held)
  limit.closing, limit.closing_held, limit.cap = 0, nil, nil
  limit.fresh, limit.fresh_since, limit.fresh_until = nil, nil, nil
  overdue.forget(limit)
  limit.end_early, limit.end_late, limit.end_seen, limit.lost_read = nil, nil, nil, nil
end

function window.grant(state, limit, cost, send_by, parties)
  local own = level(limit.n, limit.paid + limit.closing, limit.cap, nil, limit.lost_until) - limit.out
  local fresh = overdue.beside(limit, limit.fresh)
  limit.risen = limit.is_aligned and own < cost and fresh and fresh - limit.out >= cost and 1 or nil
  slots.add(state, limit, 'out', math.ceil(send_by / limit.slot), cost, parties)
  limit.granted = limit.granted + cost
  ladder.grant(limit, cost)
end

local function pay(state, limit, cost, till, parties, now)
  if limit.is_aligned and till == limit.end_late then
    limit.closing = limit.closing + cost
    limit.closing_held = slots.take_on(state, limit, limit.closing_held, cost, parties)
  elseif till > now then
    slots.add(state, limit, 'paid', math.ceil(till / limit.slot), cost, parties)
  end
end

-- Whether no permit that was granted later has been read.
local function is_newer(limit, s)
  return not limit.fresh_since or s.settled_then >= limit.fresh_since
end

local function settle_blind(state, limit, s, now)
  local till = s.moment + limit.window
  -- While ends are doubted, what was perhaps never sent weighs its whole time.
  if limit.end_late and limit.is_aligned and (s.kind ~= 'lost' or not ladder.doubts(limit)) then
    if limit.is_on_clock then
      local windows = math.floor((s.moment - limit.end_early) / limit.window) + 1
      till = math.min(till, limit.end_late + windows * limit.window)
    elseif s.granted_at >= (limit.edge_late or 0) and s.moment < limit.end_early then
      till = math.min(till, limit.end_late)
    end
  end
  pay(state, limit, s.charge, till, s.parties, now)
  if s.kind ~= 'lost' then
    ladder.remember(state, limit, s)
  end
  if not limit.is_aligned and is_newer(limit, s) then
    -- It may have used up what the end gives back that the last reading named.
    ladder.forgo(limit)
  end
  if limit.is_aligned and s.moment < (limit.edge_early or 0) then
    -- No reading of the current window counts what executed in an earlier one.
    return
  end
  limit.settled = limit.settled + s.charge
  limit.blind = limit.blind + s.charge
  if limit.cap then
    limit.cap = limit.cap - s.charge
  end
  if limit.fresh and not s.is_overdue then
    limit.fresh = limit.fresh - s.charge
  end
end

-- The reading of the permit granted latest, less everything else settled since its grant, is believed `till` (nil: until
-- the end of its window).
local function refresh(state, limit, s, till)
  limit.settled = limit.settled + s.charge
  if not s.is_beyond and is_newer(limit, s) then
    limit.fresh = s.reading.last - (limit.settled - s.settled_then - s.charge_each)
    limit.fresh_since, limit.fresh_at, limit.fresh_until = s.settled_then, s.answered_at, till
    if ladder.is_misread(limit) then
      limit.fresh = nil
    end
    overdue.look(state, limit, s.granted_at)
    limit.hushed = nil
  elseif limit.fresh and not s.is_overdue then
    limit.fresh = limit.fresh - s.charge
  end
end

-- Takes a reading's window end in; answers nil where its window is over. Ends are a window apart at least, and intervals
-- narrower than half a window: so intervals that meet name the same end.
local function meet_end(state, limit, early, late, now)
  if late <= now or (limit.edge_late and early <= limit.edge_late) then
    return nil
  end
  local before = limit.end_late and early > limit.end_late and limit.end_early or limit.edge_early
  if before and late - before < limit.window and (not limit.end_late or early > limit.end_late) then
    return false
  end
  if not limit.end_late then
    limit.end_early, limit.end_late = early, late
  elseif early > limit.end_late then
    limit.end_late = math.min(limit.end_late, now)
    pass_end(state, limit, now)
    limit.end_early, limit.end_late = early, late
    drop_over(state, limit, now)
  elseif late < limit.end_early then
    -- Its window is over, unless it would have ended within the current one: one of the two is no end.
    return nil, early > limit.end_late - limit.window
  else
    limit.end_early = math.max(limit.end_early, early)
    limit.end_late = math.min(limit.end_late, late)
  end
  return true
end

-- What readings show of ends, defined where one came.
local evidence = nil

local function settle_sliding(state, limit, s, now)
  local r = s.reading
  pay(state, limit, s.charge, s.moment + limit.window, s.parties, now)
  evidence.charge_foreign(state, limit, s, now)
  local is_newest = is_newer(limit, s)
  refresh(state, limit, s, now + limit.window)
  if is_newest then
    -- It counts what an end that has passed gave back; and what it names itself, if it does, is to come.
    limit.turn, limit.turn_at = nil, nil
    if not r.late then
      ladder.forgo(limit)
    end
  end
  ladder.remember(state, limit, s)
  if r.late then
    evidence.prove(state, limit, s, now)
    evidence.weigh_law(limit, s, r.early, r.late)
    local late = math.min(r.late, s.moment + limit.window)
    evidence.follow(limit, s, math.min(r.early, late), late, is_newest, now)
  else
    evidence.learn_phase(state, limit, s, now)
  end
  foreign.heard(limit, s.granted_at, s.answered_at)
end

local function settle_aligned(state, limit, s, now)
  local r = s.reading
  local is_met, is_contradiction = meet_end(state, limit, r.early, r.late, now)
  if is_met == false then
    -- It moved by less than a window: not a window's end.
    ladder.slide(state, limit, now)
    settle_sliding(state, limit, s, now)
    return
  elseif is_contradiction then
    settle_blind(state, limit, s, now)
    return
  elseif not is_met then
    ladder.remember(state, limit, s)
    return
  elseif evidence.disproves(limit, s) then
    ladder.slide(state, limit, now)
    settle_sliding(state, limit, s, now)
    return
  end
  if limit.lost_until and s.granted_at >= limit.lost_from then
    limit.lost_read = 1
  end
  pay(state, limit, s.charge, limit.end_late, s.parties, now)
  local cap = r.least - (limit.blind - s.blind_then)
  limit.cap = limit.cap and math.min(limit.cap, cap) or cap
  refresh(state, limit, s, nil)
  ladder.remember(state, limit, s)
  evidence.note_steady(limit, s, r.early, r.least)
  evidence.prove(state, limit, s, now)
  foreign.heard(limit, s.granted_at, s.answered_at)
  if not limit.lost_until and s.granted_at >= (limit.found_at or 0) and limit.end_early > now then
    -- All of ours that this reading can have counted is settled in this window, which is not over, or out.
    foreign.see(limit, s.of - r.least - limit.paid - limit.closing - limit.out)
  end
end

-- Settles `s`: cost (granted, all), charge (all), charge_each, send_by, moment (the latest at which it executed),
-- granted_at, settled_then, blind_then, weighed_then, parties, kind, of (what a reading is of), reading {least, last, early,
-- late}.
-- Answers whether it still weighed.
function window.settle(state, limit, s, now)
  local r = s.reading
  if r then
    evidence = evidence or late_evidence()
  end
  if r and r.late and limit.is_aligned then
    evidence.bound_end(limit, s, now)
  end
  if slots.is_gone(limit, s.granted_at, s.send_by) then
    return false
  end
  s.is_overdue = overdue.has(limit, s.send_by)
  slots.add(state, limit, 'out', math.ceil(s.send_by / limit.slot), -s.cost, s.parties)
  if s.is_overdue then
    overdue.drop(limit, s.cost)
  end
  if s.kind == 'refused' and not (r and r.least) then
    limit.hushed = 1
  end
  if s.kind == 'not_sent' then
    ladder.give_back(limit, s.cost)
    return true
  end
  if r and r.least then
    -- More than there can be says nothing of what is left: it gives nothing back.
    s.is_beyond = r.last > limit.n
    r.least, r.last = math.min(r.least, limit.n), math.min(r.last, limit.n)
    s.read = true
  end
  if s.read and not limit.is_aligned then
    settle_sliding(state, limit, s, now)
  elseif s.read and r.late then
    settle_aligned(state, limit, s, now)
  else
    if s.read then
      -- Of which window it is cannot be told, but nobody can have used more than there is.
      evidence.charge_foreign(state, limit, s, now)
    end
    if s.charge > 0 then
      settle_blind(state, limit, s, now)
    end
  end
  -- Where a reading proved that ends are ends, what is out of windows before is over.
  drop_over(state, limit, now)
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
  local over, over_to = limit.overdue or 0, limit.overdue_to or 0
  local quiet_at = not limit.hushed and slots.last(limit, 'out')
  local next_out, next_paid = slots.walk(state, limit, 'out'), slots.walk(state, limit, 'paid')
  local out_k, out_cost, out_held = next_out()
  local paid_k, paid_cost, paid_held = next_paid()
  local closing_held = limit.closing_held
  local end_early, end_late, fresh_until = limit.end_early, limit.end_late, fresh_till(limit)
  local lost_until, lost_read = limit.lost_until, limit.lost_read
  local kept, is_turn, turn_at = foreign.reserve(limit, now), ladder.finds_out(limit), nil
  if not limit.is_aligned then
    turn_at, end_early, end_late = ladder.finds_out_at(limit), nil, nil
  end
  local fresh_at = limit.fresh_at

  local function drop(held)
    for i = 1, #(held or {}) do
      c.dropped[held[i].party] = (c.dropped[held[i].party] or 0) + held[i].cost
    end
  end

  local function drop_next_out()
    out = out - out_cost
    over = out_k <= over_to and over - out_cost or over
    drop(out_held)
    out_k, out_cost, out_held = next_out()
  end

  local function drop_next_paid()
    paid = paid - paid_cost
    drop(paid_held)
    paid_k, paid_cost, paid_held = next_paid()
  end

  local function next_at()
    local at
    local function sooner(moment)
      if moment and (not at or moment < at) then
        at = moment
      end
    end
    sooner(out_k and out_k * limit.slot + limit.window)
    sooner(paid_k and paid_k * limit.slot)
    sooner((cap or fresh or out_k or paid_k or closing > 0 or lost_read or kept > 0) and end_late)
    sooner(turn_at)
    sooner(lost_until)
    sooner(fresh and fresh_until)
    sooner(cap and quiet_at and quiet_at > c.at and quiet_at)
    return at
  end

  function c.ready_at(need, own)
    fresh, fresh_at = ladder.refilled(limit, fresh, fresh_at, c.at)
    local all = level(limit.n, paid + closing, cap, fresh and fresh + over, lost_until) - out
    if is_turn and not lost_until and 1 - out >= need then
      return c.at
    end
    local paced_at = ladder.open_at(limit, need, own, now)
    if paced_at > c.at then
      return all >= need and paced_at or nil
    end
    -- By then the pace lets so much out.
    if open(limit, all, limit.n - paid - closing - out, out, quiet_at and quiet_at <= c.at, kept, is_turn, lost_until) >= need then
      return c.at
    end
    local missing = need + out - over
    local refilled_at = fresh and missing <= limit.n and ladder.refilled_at(limit, fresh_at, missing + kept - fresh)
    local other = next_at()
    return refilled_at and (not other or refilled_at <= other) and math.max(refilled_at, c.at) or nil
  end

  function c.step()
    local at = next_at()
    if not at then
      return false
    end
    c.at = math.max(at, now)
    while out_k and out_k * limit.slot + limit.window <= at do
      drop_next_out()
    end
    while paid_k and paid_k * limit.slot <= at do
      drop_next_paid()
    end
    if fresh_until and fresh_until <= at then
      fresh, fresh_until = nil, nil
    end
    if lost_until and lost_until <= at then
      lost_until = nil
    end
    if turn_at and turn_at <= at then
      is_turn, turn_at = 1, nil
    end
    if end_late and end_late <= at then
      cap, fresh, closing, kept = nil, nil, 0, 0
      if lost_read then
        lost_until, lost_read = nil, nil
      end
      drop(slots.held_in(closing_held))
      closing_held = nil
      while limit.proven and out_k and out_k * limit.slot < end_early do
        drop_next_out()
      end
      while limit.proven and paid_k and paid_k * limit.slot < end_early + limit.window do
        drop_next_paid()
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
