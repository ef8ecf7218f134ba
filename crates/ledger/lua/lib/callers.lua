-- Who waits at this replica, as its commit tells it: what each is granted of what it asks for, and since when something is left to
-- it. Needed where somebody waits.
-- Invariant: what was left to somebody is left to it until it comes for it, or waits no more.
-- @include lib/contenders

local callers = {}

local function name_of(entry)
  return entry.tier .. ',' .. entry.tenant .. ',' .. entry.class
end

-- Reads who waits here: `list`, as the commit tells it, and `was`, as the replica's field did. `since`: when each got something
-- last; `asked`: what became of those that asked; `rest_of`: those of a tier that are not listed by themselves.
function callers.open(w)
  local c = {
    list = contenders.read(w.told), was = contenders.read(w.mine_text), since = {}, asked = {}, is_listed = {}, rest_of = {},
  }
  for i = 1, #c.was do
    c.since[name_of(c.was[i])] = c.was[i].since
  end
  for i = 1, #c.list do
    local entry = c.list[i]
    c.is_listed[name_of(entry)] = true
    if string.sub(entry.tenant, 1, 1) == '*' then
      c.rest_of[entry.tier] = entry.tenant .. ',' .. entry.class
    end
  end
  return c
end

-- Notes what became of a group: how much of it was granted, and whether what it asks for was there all the same.
function callers.note(c, group, granted, is_there)
  local name = name_of(group)
  if not c.is_listed[name] and c.rest_of[group.tier] then
    name = group.tier .. ',' .. c.rest_of[group.tier]
  end
  local asked = c.asked[name] or { granted = 0, is_there = false }
  asked.granted, asked.is_there = asked.granted + granted, asked.is_there or is_there
  c.asked[name] = asked
end

-- Who waits here now, for the replica's field; whether something that was left to one of them is left no more; and whether
-- that is since it waits no more.
function callers.close(c, now)
  local left, words, gives_up, is_gone = {}, {}, false, false
  for i = 1, #c.was do
    left[name_of(c.was[i])] = c.was[i].left
  end
  for i = 1, #c.list do
    local entry = c.list[i]
    local name = name_of(entry)
    local asked = c.asked[name]
    entry.count = entry.count - (asked and asked.granted or 0)
    if entry.count > 0 then
      -- Who asks and gets something, or finds nothing there, has come for it. Who is refused for another reason has not.
      local goes_on = not asked or (asked.granted == 0 and asked.is_there)
      entry.left = goes_on and left[name] or 0
      gives_up = gives_up or (left[name] or 0) > entry.left
      entry.since = (not asked or asked.granted == 0) and c.since[name] or now
      words[#words + 1] = contenders.text(entry)
    end
    left[name] = entry.count > 0 and left[name] and 0 or left[name]
  end
  for i = 1, #c.was do
    is_gone = is_gone or (left[name_of(c.was[i])] or 0) > 0
  end
  return table.concat(words), gives_up or is_gone, is_gone
end
