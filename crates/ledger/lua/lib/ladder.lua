-- How far a window's account believes the ends that readings name. Aligned: all is given back at an end. Sliding: an end
-- lets one permit out, and its reading says the rest. Paced: grants are spread as well.
-- Invariant: a declared end is believed once, for one permit, until a reading bears it out, unless it is declared to be
-- on a clock; what contradicts the rung that a limit is on takes it down a rung at once.
-- @include lib/slots
-- @include lib/announce

local ladder = {}

local NAMES = { 'aligned', 'sliding', 'paced' }
local ALIGNED, SLIDING, PACED = 1, 2, 3
-- What `law` is: the ends named are not when a bucket would be full; or they are, over much of what it holds.
local NO_BUCKET, BUCKET = 0, 1
-- Over how much of what a bucket holds its resets must have been seen to say so, at least: cost.
local LEAST_LAW = 16

ladder.fields = {
  'rung', 'proven', 'gate', 'turn', 'shadow', 'shadow_low', 'steady', 'strike_at', 'level', 'level_at',
  'burst', 'burst_most', 'pace', 'end_seen', 'learned', 'low', 'low_from', 'low_till', 'granted_then',
  'tried', 'law', 'aloof', 'strikes', 'paced_since', 'law_least', 'law_most', 'fresh_at', 'vain', 'patience', 'raised_at',
  'excused_at', 'events', 'turn_late', 'turn_at', 'aloof_till', 'late', 'late_before', 'late_from', 'struck_then', 'sparse',
  'scattered', 'vouched',
}
ladder.is_real = { level = true, level_at = true, pace = true, fresh_at = true }

-- An end is told sharply enough to weigh a bucket by it where it is as wide as this share of the window at most.
local SHARP = 1 / 16
-- Readings that fall by so much of the capacity while the end stays where it is are not a bucket's.
local STEADY = 1 / 4
-- Of N/W, what a paced limit lets out; and what is left of it after a refusal that no smaller burst explains.
local PACE, SLOWER, LEAST_PACE = 0.97, 0.9, 0.01
-- So much of a call is kept beside the burst, so that what is asked for a little late is not lost.
local LATE = 1 / 8
-- A slowed pace is tried so much faster, and a burst twice as large, after PATIENCE windows without a refusal, and from then on
-- every window. A refusal ends that, and doubles the patience.
local FASTER, PATIENCE, MOST_PATIENCE = 1.25, 32, 512
-- Refusals while something remains take a limit down when they come again within so much of a window, and the first time
-- refused so many at once.
local STRIKES_WITHIN, LEAST_STRIKES = 1 / 6, 2
-- Or, however few at once, when so many came, each within so many windows of the one before and after few calls: who goes too
-- fast meets the next refusal soon. Where as many come though the limit is paced, each more than a window after the one
-- before, pacing does not help.
local EVENTS, EVENTS_WITHIN = 3, 16
-- So few are this share of the capacity, or this cost.
local DENSE, LEAST_DENSE = 1 / 16, 8
-- Nor does it help where one is let out at a time, and so many refusals came all the same with something left, each after more
-- calls than those.
local SPARSE = 2
-- So many times in a row a paced limit goes slower, without a window that was free of refusals, before it did so in vain.
local VAIN = 3
-- Pacing that did not help is not tried again for so many windows; twice as many each time, up to the most.
local ALOOF, MOST_ALOOF = 32, 512

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
  return limit.law == BUCKET and 'bucket' or NAMES[limit.on]
end

local function step_to(limit, rung)
  announce.say('rung', limit.name, ladder.name(limit), NAMES[rung])
  limit.rung, limit.on, limit.is_aligned = rung, rung, rung == ALIGNED
  limit.is_on_clock = limit.is_on_clock and limit.is_aligned
  limit.proven, limit.gate, limit.turn, limit.turn_at, limit.steady, limit.law = nil, nil, nil, nil, nil, nil
  limit.vain, limit.patience, limit.raised_at, limit.turn_late, limit.events, limit.vouched = nil, nil, nil, nil, nil, nil
end

-- Whether a declared end was not borne out yet: what it gives back is remembered, should it not hold.
function ladder.doubts(limit)
  return limit.on == ALIGNED and not limit.proven
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

local function forget(state, limit)
  slots.clear(state, limit, 'shadow')
  limit.late, limit.late_before, limit.late_from = nil, nil, nil
end

-- Of what is remembered, what a rolling window cannot have forgotten now, however early it executed, less what was settled
-- since the grant of `s`.
local function certainly(state, limit, s, now)
  local late = math.max(limit.late or 0, limit.late_before or 0)
  local from, cost_of_all = math.ceil((now + late) / limit.slot), 0
  for k, cost in slots.walk(state, limit, 'shadow') do
    if k > from then
      cost_of_all = cost_of_all + cost
    end
  end
  return cost_of_all - (limit.settled - s.settled_then)
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
  step_to(limit, SLIDING)
end

-- ## sliding => paced: where the refusal named a time, one call after it finds out what has been given back meanwhile, however
-- much a rolling window would still hold.
local function pace(state, limit, now, is_told)
  if limit.on == ALIGNED then
    ladder.slide(state, limit, now)
  end
  step_to(limit, PACED)
  forget(state, limit)
  limit.burst, limit.pace, limit.level, limit.level_at, limit.paced_since = 1, PACE, 0, now, now
  limit.vouched = is_told and 1 or nil
end

-- Whether one call may go that finds out.
function ladder.finds_out(limit)
  return limit.turn or limit.vouched
end

-- An end was named, not before `early`, by `s`, with `remaining`. `steady` is the most that remained under it of what was read
-- when the end was further than a bucket ever takes until it is full; -1 once it stayed where it was while much was used.
-- Ends that are vague overlap without being one: so the second alone shows nothing.
function ladder.note_steady(limit, s, early, remaining)
  if limit.steady == -1 then
    return
  elseif limit.steady and limit.steady - remaining >= math.max(1, limit.n * STEADY) then
    limit.steady = -1
  elseif early - s.answered_at > (limit.n - remaining) * limit.window / limit.n then
    limit.steady = math.max(limit.steady or 0, remaining)
  end
end

-- ## (aligned, unproven | sliding) => aligned: a permit granted after an end reads less than what a rolling window could
-- not have forgotten yet, and while it was used up the end stayed where it was, as no bucket's does.
function ladder.prove(state, limit, s, now)
  if limit.proven or limit.on == PACED or limit.steady ~= -1 then
    return
  end
  -- Tried once an end.
  if not limit.edge_late or s.granted_at < limit.edge_late or limit.tried == limit.edge_late then
    return
  end
  limit.tried = limit.edge_late
  if certainly(state, limit, s, now) > limit.n - s.reading.least then
    if limit.on ~= ALIGNED then
      step_to(limit, ALIGNED)
    end
    forget(state, limit)
    limit.proven = 1
  end
end

-- Takes in an end that is named where none is believed: a reading at it is worth a permit. Where ends move with the calls
-- it is the newest reading's that gives something back which no reading has shown yet.
function ladder.follow(limit, s, early, late, is_newest, now)
  if late <= now then
    if is_newest then
      ladder.forgo(limit)
    end
    return
  end
  if is_newest or not limit.turn_late then
    limit.turn_late = late
  end
  if (limit.edge_late and early <= limit.edge_late) or late - early >= limit.window / 2 then
    -- Too vague to be told from another; but it is not later than that.
    return
  end
  if not limit.end_late or early > limit.end_late then
    if limit.end_late then
      limit.steady = nil
    end
    limit.end_early, limit.end_late, limit.end_seen = early, late, 1
  elseif late >= limit.end_early then
    limit.end_early, limit.end_late = math.max(limit.end_early, early), math.min(limit.end_late, late)
    limit.end_seen = 2
  end
  ladder.note_steady(limit, s, early, s.reading.least)
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

-- ## sliding: a followed end has passed => one permit may find out, once the newest reading's has as well
function ladder.reach(limit)
  limit.turn_at = ladder.turns_at(limit)
  limit.turn_late = nil
  limit.edge_early, limit.edge_late = limit.end_early, limit.end_late
  limit.end_early, limit.end_late, limit.end_seen = nil, nil, nil
  limit.granted_then = limit.granted
end

-- ## sliding => bucket: each end named was when a bucket that refills N/W would be full, however much was used.
function ladder.weigh_law(limit, s, early, late)
  local used = limit.n - s.reading.least
  local width = late - early + s.answered_at - s.granted_at
  if limit.on ~= SLIDING or limit.law or used == 0 or width > limit.window * SHARP then
    return
  end
  local full = used * limit.window / limit.n
  if late < s.granted_at + full or early > s.answered_at + full then
    limit.law, limit.law_least, limit.law_most = NO_BUCKET, nil, nil
    return
  end
  limit.law_least = math.min(limit.law_least or used, used)
  limit.law_most = math.max(limit.law_most or used, used)
  if limit.law_most - limit.law_least >= math.max(LEAST_LAW, limit.n * STEADY) then
    announce.say('rung', limit.name, NAMES[limit.on], 'bucket')
    limit.law, limit.law_least, limit.law_most = BUCKET, nil, nil
  end
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

local function expect(limit, early, late)
  if late - early < limit.window / 2 then
    limit.end_early, limit.end_late, limit.end_seen, limit.learned = early, late, 2, 1
  end
end

-- Where remaining is sent and no end: what remains rose between two calls, the one settled before the other was granted,
-- by more than a bucket or a rolling window could have given back. So a window ended between them, and the next does a
-- window later; a reading after it that does not bear it out drops the guess.
function ladder.learn_phase(state, limit, s, now)
  local r = s.reading.least
  if limit.on == PACED then
    return
  end
  local is_later = limit.low and s.granted_at >= limit.low_till
  if is_later then
    local refill = limit.n * (s.answered_at - limit.low_from) / limit.window
    if r - limit.low > refill and certainly(state, limit, s, now) > limit.n - r then
      local early, late = limit.low_from, s.answered_at
      if limit.learned and limit.edge_late and early <= limit.edge_late and late >= limit.edge_early then
        -- A window may have begun with a call that came after the last one's end.
        early = math.max(early, limit.edge_early)
      end
      limit.edge_early, limit.edge_late, limit.granted_then = early, late, nil
      expect(limit, early + limit.window, late + limit.window)
    elseif limit.learned and limit.granted_then and s.granted_at >= limit.edge_late then
      local used = limit.n - r
      if used > limit.granted - limit.granted_then + limit.n * STEADY then
        limit.learned, limit.end_early, limit.end_late, limit.end_seen = nil, nil, nil, nil
      else
        expect(limit, limit.edge_early + limit.window, s.answered_at + limit.window)
      end
      limit.granted_then = nil
    end
  end
  if is_later or not limit.low then
    limit.low, limit.low_from, limit.low_till = r, s.granted_at, now
  elseif r < limit.low then
    limit.low = r
  end
end

-- Whether others' use explains a refusal. Where it is not proven how windows end, one that none came before for many windows:
-- weighted windows and limits enforced in parts read as if others called.
function ladder.excuses(limit, s, now)
  if limit.proven or s.granted_at <= (limit.excused_at or 0) then
    return true
  end
  local is_first = not limit.excused_at or now - limit.excused_at >= EVENTS_WITHIN * limit.window
  limit.excused_at = now
  return is_first
end

-- Whether this refusal, with something left, shows that calls went too fast. One that is refused is bad luck; many at once, and
-- soon again, are not, nor is one again and again. Where they come one by one after many calls as well, chance throws some
-- together: for each of those, up to EVENTS, it takes one more, of those that come soon and of those at once.
local function is_too_fast(limit, is_dense, now)
  local since = limit.strike_at and now - limit.strike_at
  local is_near = since and since < EVENTS_WITHIN * limit.window
  limit.events = is_near and (is_dense or limit.on == PACED) and (limit.events or 0) + 1 or 1
  if not is_near then
    limit.scattered = nil
  elseif not is_dense and limit.on ~= PACED and limit.strikes < LEAST_STRIKES then
    limit.scattered = math.min(EVENTS, (limit.scattered or 0) + 1)
  end
  local more = limit.scattered or 0
  local is_many = since and since < STRIKES_WITHIN * limit.window and limit.strikes >= LEAST_STRIKES + more
  return is_many or (limit.events or 0) >= EVENTS + more
end

-- Who goes alone, and is refused again though something is left, is not too fast: nor were those that were refused before.
function ladder.absolve(limit)
  limit.strikes = limit.strikes and 0
end

-- ## paced => sliding: spreading does not help; what refuses, with something left, is not this limit.
local function give_up(limit, now)
  step_to(limit, SLIDING)
  limit.aloof = math.min(MOST_ALOOF, limit.aloof and 2 * limit.aloof or ALOOF)
  limit.aloof_till = now + limit.aloof * limit.window
end

-- A paced limit lets out half of what it did at once, or goes slower.
local function slow(limit, is_in_a_row)
  limit.events = not is_in_a_row and limit.events or nil
  limit.vain = is_in_a_row and limit.burst == 1 and (limit.vain or 0) + 1 or nil
  if limit.burst > 1 then
    limit.burst_most = limit.burst
    limit.burst = math.floor(limit.burst / 2)
  else
    limit.pace = math.max(LEAST_PACE, limit.pace * SLOWER)
  end
  if limit.raised_at then
    limit.patience, limit.raised_at = math.min(MOST_PATIENCE, 2 * (limit.patience or PATIENCE)), nil
  end
  limit.level = math.min(limit.level, 0)
end

-- A refusal that the account cannot explain. `remaining` is what the refusal's reading says, or nil; `is_told`: it named a time
-- from which calls are accepted.
function ladder.refuse(state, limit, s, remaining, now, is_told)
  if s.granted_at <= (limit.strike_at or 0) then
    limit.strikes = (limit.strikes or 0) + 1
    return
  end
  local is_in_a_row = limit.strike_at and now - limit.strike_at < limit.window
  local is_dense = limit.granted - (limit.struck_then or limit.granted) <= math.max(LEAST_DENSE, limit.n * DENSE)
  limit.struck_then = limit.granted
  local again = is_too_fast(limit, is_dense, now)
  if remaining ~= 0 and now < (limit.aloof_till or now) then
    return
  end
  limit.strike_at, limit.strikes = now, 1
  if limit.law == BUCKET then
    announce.say('rung', limit.name, 'bucket', NAMES[limit.on])
    limit.law = NO_BUCKET
  end
  local is_sparse = limit.on == PACED and limit.burst == 1 and (remaining or 0) > 0 and not is_dense
  limit.sparse = is_sparse and (limit.sparse or 0) + 1 or nil
  local is_in_vain = is_in_a_row and remaining and (limit.vain or 0) >= VAIN or not is_in_a_row and (limit.events or 0) >= EVENTS
    or (limit.sparse or 0) >= SPARSE
  if limit.on == PACED and remaining ~= 0 and is_in_vain and limit.burst == 1 then
    give_up(limit, now)
  elseif limit.on == PACED then
    if not is_sparse then
      slow(limit, is_in_a_row)
    end
  elseif remaining == 0 and limit.on == ALIGNED then
    ladder.slide(state, limit, now)
  elseif remaining == 0 or again then
    pace(state, limit, now, is_told)
  end
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
  local patience = limit.raised_at and 1 or limit.patience or PATIENCE
  local is_due = now - since >= patience * limit.window
  if limit.level >= limit.burst + LATE then
    limit.level = limit.burst + LATE
    if is_due and limit.pace >= PACE and limit.burst * 2 < (limit.burst_most or limit.n / 4) then
      limit.burst, limit.raised_at = limit.burst * 2, now
    end
  elseif is_due and limit.pace < PACE then
    limit.pace, limit.raised_at = math.min(PACE, limit.pace * FASTER), now
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
