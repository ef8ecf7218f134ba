-- Replicas whose callers wait: how many do, and of which limits a replica has got nothing since when.
-- A field a replica: `<callers> <known until>`, and ` <limit's key>=<since>,<until>,<weight>,<left since or 0>` for each limit
-- that refused it.
-- Invariant: whoever was refused by a limit PATIENCE longer than the asker finds what one of its calls weighs left there, once,
-- for CLAIM: a replica that does not come for it keeps nothing from anybody until it is heard of again. Between tenants and
-- tiers that is for `fair` to say: who has waited longer counts where it is not told who waits, or all are one.
-- @include lib/hash

local waiting = {}

-- After so long a replica that was not heard of is forgotten: ms.
local KNOWN = 10000
-- What a replica waits for is left to it so long after it asked: ms. It asks every 5 s at least, and when it is woken.
local LEFT = 6000
-- How much longer another must have waited to come first: ms.
local PATIENCE = 1000
-- What is left to a replica that does not come for it is its own so long: ms.
local CLAIM = 1000

-- Others are told of what is left to them, or is no longer, so much later at most each time while nobody gets anything: ms.
local MOST_GAP = 1000

-- The field of the tags that `fair` keeps, `<known until>,<told then>,<gap> <tags>`; no replica is called so.
local TAGS = '='

-- A replica of the version before tells no `left`.
local MARK = ' ([^ =]+)=(%d+),(%d+),(%d+),?(%d*)'

local function marks_of(text)
  local marks = {}
  for key, since, till, weight, left in string.gmatch(text, MARK) do
    marks[key] = { since = tonumber(since), till = tonumber(till), weight = tonumber(weight), left = tonumber(left) or 0 }
  end
  return marks
end

local function mark_text(key, mark)
  return ' ' .. key .. '=' .. int(mark.since) .. ',' .. int(mark.till) .. ',' .. int(mark.weight) .. ',' .. int(mark.left)
end

-- Callers that wait at a replica, by its field; nil where it was not heard of.
function waiting.callers(text, now)
  local _, _, callers, till = string.find(text, '^(%d+) (%d+)')
  return till and tonumber(till) > now and callers or nil
end

-- What is known of those who wait; `callers` of them here.
function waiting.open(wait_key, replica, now, callers)
  local w = {
    h = hash.open(wait_key), replica = replica, now = now, is_waiting = callers > 0, mine = {}, others = {}, asked = {},
    is_anybody = false, telling = {}, rivals = {}, told = '', mine_text = '', woken = 0, gap = 0,
  }
  local replicas = hash.load_all(w.h)
  for i = 1, #replicas do
    local text = w.h.have[replicas[i]]
    if replicas[i] == TAGS then
      local _, at, till, woken, gap = string.find(text, '^(%d+),(%d+),(%d+)')
      if not at then
        -- As an older replica writes it.
        _, at, till = string.find(text, '^(%d+)')
      end
      w.tags_till = tonumber(till or 0)
      w.had_tags, w.tags = true, w.tags_till > now and string.sub(text, at + 1) or nil
      w.woken, w.gap = tonumber(woken or 0), tonumber(gap or 0)
    elseif not waiting.callers(text, now) then
      hash.put(w.h, replicas[i], nil)
    elseif replicas[i] == replica then
      w.mine, w.mine_text = marks_of(text), text
      w.is_left = string.find(text, '=x%d+:%d+:[1-9]')
    else
      w.is_anybody = true
      if string.find(text, '=x', 1, true) then
        w.telling[#w.telling + 1] = replicas[i]
      else
        w.others[#w.others + 1] = { replica = replicas[i], marks = marks_of(text) }
      end
    end
  end
  return w
end

-- Notes who waits here beside the groups that ask. Where all of them are one tenant in one tier there is nothing to share
-- out by name.
function waiting.tell(w, told, groups)
  w.told = told
  if told == '' and #w.telling == 0 then
    return
  end
  local party, is_one = nil, true
  local function see(name)
    party = party or name
    is_one = is_one and name == party
  end
  local function look(text)
    for name in string.gmatch(text, ' ([^ ,=]+,[^ ,=]+),[^ ,=]+=x') do
      see(name)
    end
  end
  for i = 1, #w.telling > 0 and #groups or 0 do
    see(groups[i].tier .. ',' .. groups[i].tenant)
  end
  look(told)
  for i = 1, #w.telling do
    look(w.h.have[w.telling[i]])
  end
  for i = 1, #w.telling do
    if is_one then
      w.others[#w.others + 1] = { replica = w.telling[i], marks = marks_of(w.h.have[w.telling[i]]) }
    else
      w.rivals[#w.rivals + 1] = w.telling[i]
    end
  end
end

-- Whether others may be told to come for what is left. Who comes and may not take it, for a reason that those who left it
-- cannot see, leaves it to them again: where nothing comes of it they are told ever more rarely.
function waiting.may_tell(w)
  if w.now < w.woken + w.gap then
    return false
  end
  w.woken, w.gap = w.now, math.min(2 * w.gap + 1, MOST_GAP)
  return true
end

-- Something was granted: those who wait may be told at once again.
function waiting.served(w)
  w.gap = 0
end

-- Whether others contend, or did lately: what is granted counts for whose turn it is.
function waiting.is_shared(w)
  return #w.rivals > 0 or w.tags
end

local function since(w, limit)
  local mark = w.mine[limit.key]
  return mark and mark.till > w.now and mark.since or w.now
end

local function is_older(w, limit, mark)
  return mark.since < since(w, limit) - PATIENCE
end

-- What is left of a limit to those that have waited longer and until when at most: of replicas that do not tell
-- who waits there, and where all who wait are one tenant.
function waiting.left_to_others(w, limit)
  local left, latest = 0, 0
  for i = 1, #w.others do
    local mark = w.others[i].marks[limit.key]
    local till = mark and math.min(mark.till, (mark.left > 0 and mark.left or w.now) + CLAIM)
    if till and till > w.now and is_older(w, limit, mark) then
      left = left + mark.weight
      latest = math.max(latest, till)
    end
  end
  return left, latest
end

-- What is left of a limit to others begins to be claimed now: they are told to come for it.
function waiting.leave(w, limit)
  for i = 1, #w.others do
    local mark = w.others[i].marks[limit.key]
    if mark and mark.left == 0 and mark.till > w.now and is_older(w, limit, mark) then
      mark.left, mark.is_new, w.others[i].is_new, w.has_left = w.now, true, true, true
    end
  end
end

-- Notes what became of a group that asked a limit: whether something was granted, and the weight that it was refused.
function waiting.note(w, limit, is_served, weight)
  local asked = w.asked[limit.key] or { is_served = false }
  asked.is_served = asked.is_served or is_served
  asked.weight = asked.weight or weight
  w.asked[limit.key] = asked
end

-- Writes how many callers wait here now, for what, and who they are; and the tags.
function waiting.close(w, callers, limits_of_it, tags)
  if callers == 0 then
    if w.h.have[w.replica] then
      hash.put(w.h, w.replica, nil)
    end
  else
    local text = int(callers) .. ' ' .. int(w.now + KNOWN)
    for l = 1, #limits_of_it do
      local limit = limits_of_it[l]
      local asked, mark = w.asked[limit.key], w.mine[limit.key]
      if asked then
        mark = asked.weight and {
          since = asked.is_served and w.now or since(w, limit), till = w.now + LEFT, weight = asked.weight, left = 0,
        }
      end
      if mark and mark.till > w.now then
        text = text .. mark_text(limit.key, mark)
      end
    end
    hash.put(w.h, w.replica, text .. w.told)
  end
  for i = 1, #w.others do
    local other = w.others[i]
    if other.is_new then
      hash.put(w.h, other.replica, (string.gsub(w.h.have[other.replica], MARK, function(key)
        return other.marks[key].is_new and mark_text(key, other.marks[key]) or nil
      end)))
    end
  end
  tags = (callers > 0 or w.is_anybody) and (tags or w.tags) or nil
  if tags or (w.gap > 0 and w.is_anybody) then
    local till = #w.rivals > 0 and w.now + KNOWN or w.tags_till or 0
    hash.put(w.h, TAGS, int(till) .. ',' .. int(w.woken) .. ',' .. int(w.gap) .. (tags or ''))
  elseif w.had_tags then
    hash.put(w.h, TAGS, nil)
  end
  hash.flush(w.h)
end
