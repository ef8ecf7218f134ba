-- What readings show of how a window's ends are: whether they give all back, follow a bucket's law, or are not told and can be
-- learned; and of what others use. Needed where a reading came.
-- Invariant: as the ladder's.
-- @include lib/slots
-- @include lib/ladder
-- @include lib/foreign
-- @include lib/announce

local evidence = {}

local ALIGNED, SLIDING, PACED = ladder.ALIGNED, ladder.SLIDING, ladder.PACED
-- Over how much of what a bucket holds its resets must have been seen to say so, at least: cost.
local LEAST_LAW = 16
-- An end is told sharply enough to weigh a bucket by it where it is as wide as this share of the window at most.
local SHARP = 1 / 16
-- Readings that fall by so much of the capacity while the end stays where it is are not a bucket's.
local STEADY = 1 / 4
-- Where an end gives all back, what a reading shows to be used of what was before it is at most this share of what a rolling
-- window would hold. Where this much of it is left within so much of a window after an end, that gave little back.
local REST, KEPT, SOON = 1 / 4, 3 / 4, 1 / 8

-- On a clock, an end that has passed tells those that passed after it and the next.
local function tell_phase(limit, early, late, now)
  local windows = math.floor((now - late) / limit.window) + 1
  local drift = windows * limit.window * ladder.DRIFT
  early, late = math.floor(early + windows * limit.window - drift), math.ceil(late + windows * limit.window + drift)
  if late - early >= limit.window / 2 or early <= now then
    -- Too vague, or the next may have been as well: another response tells.
    return
  elseif not limit.end_late then
    limit.end_early, limit.end_late = early, late
    limit.edge_early = math.max(limit.edge_early or 0, early - limit.window)
    limit.edge_late = math.max(limit.edge_late or 0, late - limit.window)
  elseif early <= limit.end_late and late >= limit.end_early then
    limit.end_early, limit.end_late = math.max(limit.end_early, early), math.min(limit.end_late, late)
  end
end

-- Whether ends are on a clock, one is known, and [early, late] has it in it and neither the one before nor the next.
local function names_the_known(limit, early, late)
  return limit.is_on_clock and limit.end_late and early <= limit.end_late and late >= limit.end_early
    and early > limit.end_late - limit.window and late < limit.end_early + limit.window
end

-- A window's end is after any call in it, and at most a window away. One too vague to tell windows apart counts as none;
-- and unless ends are on a clock one that a long response leaves vague does, whose probe would be as slow.
function evidence.bound_end(limit, s, now)
  local r = s.reading
  local late = math.min(r.late, s.moment + limit.window)
  local early = math.min(math.max(r.early, s.granted_at), late)
  local width = limit.is_on_clock and late - early or r.late - r.early
  local is_clear = width < limit.window / 2
  if names_the_known(limit, early, late) then
    -- That one and no other: whatever else the vague one meets.
    early, late, is_clear = math.max(early, limit.end_early), math.min(late, limit.end_late), true
  end
  r.early = early
  r.late = late >= s.granted_at and is_clear and late or nil
  if r.late and r.late <= now and limit.is_on_clock then
    tell_phase(limit, r.early, r.late, now)
  end
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

-- An end was named, not before `early`, by `s`, with `remaining`. `steady` is the most that remained under it of what was read
-- when the end was further than a bucket ever takes until it is full; -1 once it stayed where it was while much was used.
-- Ends that are vague overlap without being one: so the second alone shows nothing.
function evidence.note_steady(limit, s, early, remaining)
  if limit.steady == -1 then
    return
  elseif limit.steady and limit.steady - remaining >= math.max(1, limit.n * STEADY) then
    limit.steady = -1
  elseif early - s.answered_at > (limit.n - remaining) * limit.window / limit.n then
    limit.steady = math.max(limit.steady or 0, remaining)
  end
end

-- What the reading shows to be used still, of what was used before the end that passed.
local function used_before(limit, s)
  return limit.n - s.reading.least - (limit.granted - (limit.past or limit.granted))
end

-- Whether a reading shows, soon after an end, that most of what was used before it is used still, and that this was much. Who
-- weighs two windows against each other names the end of the newer one, and gives back there by and by. What is beyond that
-- others used.
function evidence.disproves(limit, s)
  if not limit.spent or limit.spent < limit.n / 2 or s.granted_at < limit.edge_late then
    return false
  end
  local still, passed = used_before(limit, s), s.granted_at - limit.edge_late
  return s.answered_at <= limit.edge_early + limit.window * SOON and still >= limit.spent * KEPT
    and still <= limit.spent * (1 - passed / limit.window) + 1
end

-- ## (aligned, unproven | sliding) => aligned: a permit granted after an end reads less than what a rolling window could
-- not have forgotten yet, hardly any of it from before the end; and while it was used up the end stayed where it was, as no
-- bucket's does.
function evidence.prove(state, limit, s, now)
  if limit.proven or limit.on == PACED or limit.steady ~= -1 then
    return
  end
  -- Tried once an end.
  if not limit.edge_late or s.granted_at < limit.edge_late or limit.tried == limit.edge_late then
    return
  end
  limit.tried = limit.edge_late
  local certain = certainly(state, limit, s, now)
  if certain > limit.n - s.reading.least and used_before(limit, s) <= certain * REST then
    if limit.on ~= ALIGNED then
      ladder.step_to(limit, ALIGNED)
    end
    ladder.forget(state, limit)
    limit.proven = 1
  end
end

-- Takes in an end that is named where none is believed: a reading at it is worth a permit. Where ends move with the calls
-- it is the newest reading's that gives something back which no reading has shown yet.
function evidence.follow(limit, s, early, late, is_newest, now)
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
  evidence.note_steady(limit, s, early, s.reading.least)
end

-- ## sliding => bucket: each end named was when a bucket that refills N/W would be full, however much was used.
function evidence.weigh_law(limit, s, early, late)
  local used = limit.n - s.reading.least
  local width = late - early + s.answered_at - s.granted_at
  if limit.on ~= SLIDING or limit.law or used == 0 or width > limit.window * SHARP then
    return
  end
  local full = used * limit.window / limit.n
  if late < s.granted_at + full or early > s.answered_at + full then
    limit.law, limit.law_least, limit.law_most = ladder.NO_BUCKET, nil, nil
    return
  end
  limit.law_least = math.min(limit.law_least or used, used)
  limit.law_most = math.max(limit.law_most or used, used)
  if limit.law_most - limit.law_least >= math.max(LEAST_LAW, limit.n * STEADY) then
    announce.say('rung', limit.name, ladder.NAMES[limit.on], 'bucket')
    limit.law, limit.law_least, limit.law_most = ladder.BUCKET, nil, nil
  end
end

local function expect(limit, early, late)
  if late - early < limit.window / 2 then
    limit.end_early, limit.end_late, limit.end_seen, limit.learned = early, late, 2, 1
  end
end

-- Where remaining is sent and no end: what remains rose between two calls, the one settled before the other was granted,
-- by more than a bucket or a rolling window could have given back. So a window ended between them, and the next does a
-- window later; a reading after it that does not bear it out drops the guess.
function evidence.learn_phase(state, limit, s, now)
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

-- What a reading shows to be used beyond all that we can have used was somebody else's: it weighs for a window from now.
function evidence.charge_foreign(state, limit, s, now)
  local excess = s.of - s.reading.least - (s.weighed_then + limit.granted + limit.foreign)
  if excess > 0 and not limit.lost_until and s.granted_at >= (limit.found_at or 0) then
    slots.add(state, limit, 'paid', math.ceil((now + limit.window) / limit.slot), excess, {})
    limit.others_since = limit.others_since or now
    foreign.see(limit, (limit.others or 0) + excess)
  end
end
