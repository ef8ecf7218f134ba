-- What a refusal that no account explains does to the limits that it is put down to: it takes them down the ladder, or spreads
-- their grants more. Needed where one came.
-- Invariant: as the ladder's.
-- @include lib/limits
-- @include lib/lease
-- @include lib/pauses
-- @include lib/ladder
-- @include lib/foreign
-- @include lib/announce

local refusing = {}

local ALIGNED, SLIDING, PACED = ladder.ALIGNED, ladder.SLIDING, ladder.PACED
-- What is left of the pace after a refusal that no smaller burst explains.
local SLOWER, LEAST_PACE = 0.9, 0.01
-- The longest that a paced limit waits before it goes faster again: windows.
local MOST_PATIENCE = 512
-- Refusals while something remains take a limit down when they come again within so much of a window, and the first time
-- refused so many at once.
local STRIKES_WITHIN, LEAST_STRIKES = 1 / 6, 2
-- Or, however few at once, when so many came, each within so many windows of the one before and after few calls: who goes too
-- fast meets the next refusal soon. Where as many come though the limit is paced, each more than a window after the one
-- before, pacing does not help.
local EVENTS, EVENTS_WITHIN = 3, 16
-- Or, when many at once are refused twice after as many calls, give or take so much, and the second time these came as fast as
-- the whole window's do, though it was so much of a window at most.
local ALIKE, PARTS_WITHIN = 1 / 4, 3 / 4
-- So few are this share of the capacity, or this cost.
local DENSE, LEAST_DENSE = 1 / 16, 8
-- Nor does it help where one is let out at a time, and so many refusals came all the same with something left, each after more
-- calls than those; unless it was so many at once that took the limit down: those no chance throws together, and now it is one.
local SPARSE, CROWD = 2, 8
-- So many times in a row a paced limit goes slower, without a window that was free of refusals, before it did so in vain.
local VAIN = 3
-- Pacing that did not help is not tried again for so many windows, nor are readings believed that were contradicted; twice as
-- many each time, up to the most.
local ALOOF, MOST_ALOOF = 32, 512

-- ## sliding => paced: where the refusal named a time, one call after it finds out what has been given back meanwhile, however
-- much a rolling window would still hold.
local function pace(state, limit, now, told_till, crowd)
  if limit.on == ALIGNED then
    ladder.slide(state, limit, now)
  end
  ladder.step_to(limit, PACED)
  ladder.forget(state, limit)
  limit.burst, limit.pace, limit.level, limit.level_at, limit.paced_since = 1, ladder.PACE, 0, now, now
  limit.vouched, limit.crowd = told_till, crowd
end

-- Whether others' use explains a refusal. Where it is not proven how windows end, one that none came before for many windows:
-- weighted windows and limits enforced in parts read as if others called.
local function excuses(limit, s, now)
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

local function is_alike(one, other)
  return math.abs(one - other) <= ALIKE * other
end

-- Whether the limit is enforced in parts of its window, as this refusal and those before show. Of the calls since then, those that
-- are refused with this one are about as many as were with the last.
local function is_in_parts(limit, now)
  local before, since = limit.part, limit.strike_at and now - limit.strike_at
  local is_part = since and since <= PARTS_WITHIN * limit.window and limit.strikes >= LEAST_STRIKES
  limit.part = is_part and limit.granted - limit.struck_then - limit.strikes or nil
  return is_part and before and is_alike(limit.part, before) and is_alike(limit.part * limit.window, since * limit.n)
end

-- Who goes alone, and is refused again though something is left, is not too fast: nor were those that were refused before.
local function absolve_limit(limit)
  limit.strikes = limit.strikes and 0
end

-- ## paced => sliding: spreading does not help; what refuses, with something left, is not this limit.
local function give_up(limit, now)
  ladder.step_to(limit, SLIDING)
  limit.aloof = math.min(MOST_ALOOF, limit.aloof and 2 * limit.aloof or ALOOF)
  limit.aloof_till = now + limit.aloof * limit.window
end

-- ## a reading lets out more than our own count has room for, and it is refused => no reading does: they tell what stood a while
-- ago. It explains all that was granted before.
local function is_misled(limit, s, now)
  if s.granted_at <= (limit.misread_at or 0) then
    return true
  elseif not limit.risen then
    return false
  end
  limit.misread = math.min(MOST_ALOOF, limit.misread and 2 * limit.misread or ALOOF)
  limit.misread_at, limit.risen, limit.fresh = now, nil, nil
  return true
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
    limit.patience, limit.raised_at = math.min(MOST_PATIENCE, 2 * (limit.patience or ladder.PATIENCE)), nil
  end
  limit.level = math.min(limit.level, 0)
end

-- A refusal that the account cannot explain. `remaining` is what the refusal's reading says, or nil; `told_till`: the moment
-- that it named, from which calls are accepted, or nil.
local function refuse(state, limit, s, remaining, now, told_till)
  if is_misled(limit, s, now) then
    return
  end
  if s.granted_at <= (limit.strike_at or 0) then
    limit.strikes = (limit.strikes or 0) + 1
    return
  end
  local is_in_a_row = limit.strike_at and now - limit.strike_at < limit.window
  local is_dense = limit.granted - (limit.struck_then or limit.granted) <= math.max(LEAST_DENSE, limit.n * DENSE)
  local is_cut = is_in_parts(limit, now)
  limit.struck_then = limit.granted
  local again = is_too_fast(limit, is_dense, now) or is_cut
  if remaining ~= 0 and now < (limit.aloof_till or now) then
    return
  end
  local crowd = limit.strikes
  limit.strike_at, limit.strikes = now, 1
  if limit.law == ladder.BUCKET then
    announce.say('rung', limit.name, 'bucket', ladder.NAMES[limit.on])
    limit.law = ladder.NO_BUCKET
  end
  local is_sparse = limit.on == PACED and limit.burst == 1 and (remaining or 0) > 0 and not is_dense
  local is_relieved = is_sparse and (limit.crowd or 0) >= CROWD
  limit.sparse = is_sparse and not is_relieved and (limit.sparse or 0) + 1 or nil
  local is_in_vain = is_in_a_row and remaining and (limit.vain or 0) >= VAIN
    or not is_in_a_row and not is_relieved and (limit.events or 0) >= EVENTS or (limit.sparse or 0) >= SPARSE
  if limit.on == PACED and remaining ~= 0 and is_in_vain and limit.burst == 1 then
    give_up(limit, now)
  elseif limit.on == PACED then
    if not is_sparse then
      slow(limit, is_in_a_row)
    end
  elseif remaining == 0 and limit.on == ALIGNED then
    ladder.slide(state, limit, now)
  elseif remaining == 0 or again then
    pace(state, limit, now, told_till, crowd)
  end
end

-- A probe was refused: by what is closed, if one before it was as well, and not by limits of which something is left.
local function absolve(ctx, group, l)
  local is_again = false
  for scope in lease.probes_of(l) do
    is_again = is_again or pauses.phases().tries(ctx.pauses, scope) > 1
  end
  for i = 1, #ctx.budget.limits do
    local limit, reading = ctx.budget.limits[i], group.readings[i]
    if is_again and limit.kind == 'window' and lease.get_limit(l, limit) and reading and (reading.least or 0) > 0 then
      absolve_limit(limit)
    end
  end
end

-- Puts a refusal that no account explains down to the limits that it says are used up; if it names none, to the first
-- window of the call, unless there may have been too many at once; or to one of which only a reading had left enough.
function refusing.put_down(ctx, group, l, index, till)
  if l.probes ~= '' then
    -- Alone it cannot have been one of too many.
    absolve(ctx, group, l)
    return
  end
  local first, left, is_named, may_be_at_once = nil, nil, false, false
  for i = 1, #ctx.budget.limits do
    local limit = ctx.budget.limits[i]
    local weight = lease.get_limit(l, limit)
    local reading = group.readings[i]
    if weight and limit.kind == 'concurrency' then
      may_be_at_once = true
    elseif weight and limit.kind == 'window' then
      local is_used_up = reading and reading.least == 0
      -- Others use up what is left, and so did permits that were forgotten: where something is, it was not they.
      local is_left = reading and (reading.least or 0) > 0
      -- What is overdue may hide as much of others' use.
      local by_others = not is_left and (limit.overdue or foreign.a_window(limit, ctx.now) > 0) and excuses(limit, l, ctx.now)
      local is_explained = weight.is_probe or by_others or (not is_left and limit.lost_until)
        or slots.is_gone(limit, l.granted_at, limit.completion == 1 and lease.deadline_of(l, index) or l.send_by)
      is_named = is_named or is_used_up
      if is_used_up and not is_explained then
        refuse(ctx.state, limit, l, 0, ctx.now, till)
      elseif not is_explained and (not first or (limit.risen and not first.risen)) then
        first, left = limit, reading and reading.least
      end
    end
  end
  if first and not is_named and (first.risen or not may_be_at_once) then
    refuse(ctx.state, first, l, left, ctx.now, till)
  end
end
