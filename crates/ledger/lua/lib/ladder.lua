-- How far a window's account believes the ends that readings name. Aligned: all is given back at an end. Sliding: an end
-- lets one permit out, and its reading says the rest. Paced: grants are spread as well.
-- What readings show of how windows end is in `evidence`, what refusals do in `refusing`.
-- Invariant: a declared end is believed once, for one permit, until a reading bears it out, unless it is declared to be
-- on a clock; what contradicts the rung that a limit is on takes it down a rung at once.
-- @include lib/slots
-- @include lib/announce

local ladder = {
  NAMES = { 'aligned', 'sliding', 'paced' },
  ALIGNED = 1, SLIDING = 2, PACED = 3,
  -- What `law` is: the ends named are not when a bucket would be full; or they are, over much of what it holds.
  NO_BUCKET = 0, BUCKET = 1,
  -- Of N/W, what a paced limit lets out.
  PACE = 0.97,
  -- What the store's clock and the upstream's may drift apart in a window nobody reads, as a share of it.
  DRIFT = 1e-4,
  -- Windows without a refusal after which a paced limit goes a little faster.
  PATIENCE = 32,
}

local ALIGNED, SLIDING, PACED, BUCKET = ladder.ALIGNED, ladder.SLIDING, ladder.PACED, ladder.BUCKET

ladder.fields = {
  'rung', 'proven', 'gate', 'turn', 'shadow', 'shadow_low', 'steady', 'strike_at', 'level', 'level_at',
  'burst', 'burst_most', 'pace', 'end_seen', 'learned', 'low', 'low_from', 'low_till', 'granted_then',
  'tried', 'law', 'aloof', 'strikes', 'paced_since', 'law_least', 'law_most', 'fresh_at', 'vain', 'patience', 'raised_at',
  'excused_at', 'events', 'turn_late', 'turn_at', 'aloof_till', 'late', 'late_before', 'late_from', 'struck_then', 'sparse',
  'scattered', 'vouched', 'risen', 'misread', 'misread_at', 'part', 'crowd', 'past', 'spent',
}
ladder.is_real = { level = true, level_at = true, pace = true, fresh_at = true }

-- So much of a call is kept beside the burst, so that what is asked for a little late is not lost.
local LATE = 1 / 8
-- A slowed pace is tried so much faster, and a burst twice as large, after PATIENCE windows without a refusal, and from then on
-- every window. A refusal ends that, and doubles the patience.
local FASTER = 1.25

function ladder.load(limit)
  local rung = limit.rung or (limit.is_aligned and ALIGNED or SLIDING)
  limit.on = rung
  limit.is_aligned = rung == ALIGNED
  limit.is_on_clock = limit.is_on_clock and limit.is_aligned
  if limit.is_on_clock then
    -- Whoever calls, its ends are where they were: where responses take longer than the window none could prove them.
    limit.proven = limit.proven or 1
  end
end

function ladder.name(limit)
  return limit.law == BUCKET and 'bucket' or ladder.NAMES[limit.on]
end

-- Another rung: what was learned on the one before is forgotten.
function ladder.step_to(limit, rung)
  announce.say('rung', limit.name, ladder.name(limit), ladder.NAMES[rung])
  limit.rung, limit.on, limit.is_aligned = rung, rung, rung == ALIGNED
  limit.is_on_clock = limit.is_on_clock and limit.is_aligned
  limit.proven, limit.gate, limit.turn, limit.turn_at, limit.steady, limit.law = nil, nil, nil, nil, nil, nil
  limit.vain, limit.patience, limit.raised_at, limit.turn_late, limit.events, limit.vouched = nil, nil, nil, nil, nil, nil
end

-- Whether a declared end was not borne out yet: what it gives back is remembered, should it not hold.
function ladder.doubts(limit)
  return limit.on == ALIGNED and not limit.proven
end

-- Whether readings are not believed to leave more than our own count does: what only one had room for was refused.
function ladder.is_misread(limit)
  return limit.misread and limit.now < limit.misread_at + limit.misread * limit.window
end

-- Keeps what `s` charges by the latest moment at which it executed, for a window, while it may be evidence; and by how much
-- that may be too late, the most of this window and of the one before.
function ladder.remember(state, limit, s)
  if limit.proven or limit.on == PACED then
    return
  end
  slots.add(state, limit, 'shadow', math.ceil((s.moment + limit.window) / limit.slot), s.charge, {})
  local age = limit.now - (limit.late_from or limit.now)
  if not limit.late_from or age >= limit.window then
    limit.late_before = age < 2 * limit.window and limit.late or nil
    limit.late, limit.late_from = 0, limit.now
  end
  limit.late = math.max(limit.late, s.moment - s.granted_at)
end

function ladder.forget(state, limit)
  slots.clear(state, limit, 'shadow')
  limit.late, limit.late_before, limit.late_from = nil, nil, nil
end

-- ## aligned => sliding: what had been given back at ends weighs again.
function ladder.slide(state, limit, now)
  slots.let_go(state, limit, limit.closing_held)
  limit.closing_held = nil
  -- What readings show to be used of what had been given back is nobody else's.
  limit.found_at = now + 1
  if limit.proven then
    -- How much of the last window was used is not known any more; the readings say what is left.
    slots.add(state, limit, 'paid', math.ceil((now + limit.window) / limit.slot), math.max(0, limit.n - limit.paid), {})
  else
    for k, cost in slots.walk(state, limit, 'shadow') do
      slots.add(state, limit, 'paid', k, cost, {})
    end
  end
  limit.closing, limit.cap = 0, nil
  limit.end_early, limit.end_late, limit.end_seen = nil, nil, nil
  ladder.step_to(limit, SLIDING)
end

-- Whether one call may go that finds out.
function ladder.finds_out(limit)
  return limit.turn or (limit.vouched and limit.now >= limit.vouched)
end

-- The next moment from which one may; nil where none is to come.
function ladder.finds_out_at(limit)
  local at, vouched = ladder.turns_at(limit), limit.vouched
  if vouched and vouched > limit.now and not (at and at < vouched) then
    return vouched
  end
  return at
end

-- Nothing is known of what the followed end gives back: whoever came after it was named may have used it up.
function ladder.forgo(limit)
  limit.turn, limit.turn_at, limit.turn_late = nil, nil, nil
  limit.end_seen = limit.end_seen and 1
end

-- The moment from which one permit may find out what a followed end gave back; nil where none is to come.
function ladder.turns_at(limit)
  return limit.turn_at or limit.end_seen == 2 and math.max(limit.end_late, limit.turn_late or 0) or nil
end

-- An end passes: what was granted before and is not out any more was used before it; and of how much of its window readings
-- told, where they did.
function ladder.pass(limit)
  limit.past = limit.granted - limit.out
  limit.spent = limit.is_aligned and limit.cap and limit.n - limit.cap or nil
end

-- ## sliding: a followed end has passed => one permit may find out, once the newest reading's has as well
function ladder.reach(limit)
  limit.turn_at = ladder.turns_at(limit)
  limit.turn_late = nil
  limit.edge_early, limit.edge_late = limit.end_early, limit.end_late
  limit.end_early, limit.end_late, limit.end_seen = nil, nil, nil
  limit.granted_then = limit.granted
  ladder.pass(limit)
end

-- What a reading left refills in a bucket; `fresh` at `at`, and the moment up to which that is counted.
function ladder.refilled(limit, fresh, fresh_at, at)
  if limit.law ~= BUCKET or not fresh or not fresh_at then
    return fresh, fresh_at
  end
  local more = math.max(0, math.floor((at - fresh_at) * limit.n / limit.window + 1e-6))
  return math.min(limit.n, fresh + more), fresh_at + more * limit.window / limit.n
end

-- When a bucket's `fresh` will have refilled by `missing`; nil where it does not.
function ladder.refilled_at(limit, fresh_at, missing)
  if limit.law ~= BUCKET or not fresh_at then
    return nil
  end
  return math.ceil(fresh_at + missing * limit.window / limit.n - 1e-6)
end

function ladder.is_bucket(limit)
  return limit.law == BUCKET
end

-- Gives the turn that is due; refills a paced limit's level.
function ladder.advance(limit, now)
  if limit.turn_at and now >= limit.turn_at then
    limit.turn, limit.turn_at = 1, nil
  end
  if limit.on ~= PACED then
    return
  end
  limit.level = limit.level + (now - limit.level_at) * limit.pace * limit.n / limit.window
  limit.level_at = now
  -- ## without a refusal for long => a little faster; at full pace twice the burst, below what was refused once
  local since = math.max(limit.strike_at or 0, limit.paced_since or 0, limit.raised_at or 0)
  local patience = limit.raised_at and 1 or limit.patience or ladder.PATIENCE
  local is_due = now - since >= patience * limit.window
  if limit.level >= limit.burst + LATE then
    limit.level = limit.burst + LATE
    if is_due and limit.pace >= ladder.PACE and limit.burst * 2 < (limit.burst_most or limit.n / 4) then
      limit.burst, limit.raised_at = limit.burst * 2, now
    end
  elseif is_due and limit.pace < ladder.PACE then
    limit.pace, limit.raised_at = math.min(ladder.PACE, limit.pace * FASTER), now
  end
end

-- What a paced limit lets out now; nil where the rung does not matter.
function ladder.open(limit)
  return limit.on == PACED and math.floor(limit.level + 1e-6) or nil
end

-- Whether a paced limit lets a call out that costs more than it ever lets out at once: one goes when the burst is there, and
-- those after it wait until the rest of what it cost has come as well.
function ladder.lets_one(limit, cost)
  return limit.on == PACED and cost > limit.burst and limit.level + 1e-6 >= limit.burst
end

-- When a paced limit will let `need` out, of which `own` is one call's, as a moment.
function ladder.open_at(limit, need, own, now)
  if limit.on ~= PACED then
    return now
  end
  need = need - math.max(0, own - limit.burst)
  return now + math.max(0, math.ceil((need - limit.level - 1e-6) * limit.window / (limit.pace * limit.n)))
end

function ladder.grant(limit, cost)
  limit.turn, limit.vouched = nil, nil
  if limit.on == PACED then
    limit.level = limit.level - cost
  end
end

function ladder.give_back(limit, cost)
  if limit.on == PACED then
    limit.level = math.min(limit.burst, limit.level + cost)
  end
end
