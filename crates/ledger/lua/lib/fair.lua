-- Shares across replicas: who comes next in a limit that cannot give everyone everything.
-- Start-time fair queueing (Goyal, Vin and Cheng 1996): a contender, which is a tenant in a tier wherever it waits, has a start
-- tag that each of its calls moves on by what the call takes of its scarcest limit over its weight. A tier's weight is divided
-- among its tenants that contend. What those before the asker could take is left to them.
-- Invariant: what is left to a contender that does not come for it within CLAIM is anybody's; who was not here has saved up
-- nothing; ties go to whoever asks, so that two who look at the same tags never both leave the same call to the other.
-- Tags are kept in a field of their own, ` <tier>,<tenant>=<lag>`: how far ahead of the present (the start tag served latest).
-- Who waits is told by its replica, in the replica's field: ` <tier>,<tenant>,<class>=x<tenants>:<calls>:<left since or 0>:<got nothing since>:<costs>`;
-- those beyond the ones that are listed are one entry, whose tenant is `*<replica>`.
-- @include lib/limits
-- @include lib/pauses
-- @include lib/slots
-- @include lib/spec
-- @include lib/waiting

local fair = {}

-- Within a contender, how much longer a replica's callers must have got nothing to come first: ms.
local PATIENCE = 1000
-- What is left to a contender that does not come is its own so long: ms.
local CLAIM = 1000
-- Tags of contenders that do not wait now which are kept at most: the rest has had more than its share for longest.
local MOST_TAGS = 256
-- How far a contender may fall behind the present: in whole limits, shared by all tiers that contend.
local MOST_LAG = 2
-- Tags that differ by less of a turn are the same.
local EQUAL = 1e-9
-- Moments at which claims end that are told apart.
local MOST_ENDS = 4

local function party_of(f, tier, tenant)
  local name = tier .. ',' .. tenant
  local party = f.by_name[name]
  if not party then
    party = { name = name, tier = tier, tenants = 1, lag = 0, entries = {}, is_here = false }
    f.by_name[name] = party
    f.parties[#f.parties + 1] = party
  end
  return party
end

local function appear(f, party, tenants)
  if not party.is_here then
    party.is_here = true
    party.tenants = tenants
    f.tenants[party.tier] = (f.tenants[party.tier] or 0) + tenants
  end
end

local ENTRY = ' ([^ ,]+),([^ ,]+),([^ =]+)=x(%d+):(%d+):(%d+):(%d+):([%d.]*)'

local function entries_of(text)
  local list = {}
  for tier, tenant, class, tenants, count, left, since, costs in string.gmatch(text, ENTRY) do
    local entry = {
      tier = tier, tenant = tenant, class = class, tenants = tonumber(tenants), count = tonumber(count),
      left = tonumber(left), since = tonumber(since), costs = {},
    }
    for cost in string.gmatch(costs, '%d+') do
      entry.costs[#entry.costs + 1] = tonumber(cost)
    end
    list[#list + 1] = entry
  end
  return list
end

local function text_of(entry)
  local costs = {}
  for i = 1, #entry.costs do
    costs[i] = int(entry.costs[i])
  end
  return ' ' .. entry.tier .. ',' .. entry.tenant .. ',' .. entry.class .. '=x' .. int(entry.tenants) .. ':' .. int(entry.count)
    .. ':' .. int(entry.left) .. ':' .. int(entry.since) .. ':' .. table.concat(costs, '.')
end

-- Reads who waits here (as the commit tells it) and elsewhere.
function fair.open(ctx)
  local w = ctx.waiting
  local f = {
    ctx = ctx, by_name = {}, parties = {}, tenants = {}, now_tag = 0, orders = {}, others = {}, own = entries_of(w.told), asked = {},
    own_as = {}, rest_of = {}, since = {},
  }
  for tier, tenant, lag in string.gmatch(w.tags or '', ' ([^ ,]+),([^ =]+)=(%S+)') do
    party_of(f, tier, tenant).lag = tonumber(lag)
  end
  for i = 1, #w.rivals do
    local of = entries_of(w.h.have[w.rivals[i]])
    f.others[i] = of
    for e = 1, #of do
      local party = party_of(f, of[e].tier, of[e].tenant)
      appear(f, party, of[e].tenants)
      party.entries[#party.entries + 1] = of[e]
    end
  end
  local was = entries_of(w.mine_text)
  for i = 1, #was do
    f.since[was[i].tier .. ',' .. was[i].tenant .. ',' .. was[i].class] = was[i].since
  end
  for i = 1, #f.own do
    local party = party_of(f, f.own[i].tier, f.own[i].tenant)
    appear(f, party, f.own[i].tenants)
    party.is_own = true
    f.own_as[f.own[i].tier .. ',' .. f.own[i].tenant .. ',' .. f.own[i].class] = true
    if string.sub(f.own[i].tenant, 1, 1) == '*' then
      f.rest_of[f.own[i].tier] = f.own[i].tenant .. ',' .. f.own[i].class
    end
  end
  return f
end

-- The asker's party: one that is not listed by itself is of those that its replica lists together.
local function asker(f, group)
  local name = group.tier .. ',' .. group.tenant
  local party = f.by_name[name] or f.by_name[group.tier .. ',*' .. f.ctx.replica] or party_of(f, group.tier, group.tenant)
  appear(f, party, party.tenants)
  return party
end

-- What a call moves its party's tag on by: the most that it takes of a limit, over the party's part of its tier's weight.
local function stride(f, party, costs)
  local limits_of_it, most = f.ctx.budget.limits, 0
  for l = 1, #limits_of_it do
    local cost = costs[l] or 0
    if cost > 0 then
      most = math.max(most, cost / math.max(1, limits_of_it[l].n))
    end
  end
  local weight = spec.weight(f.ctx.budget, party.tier)
  return most * f.tenants[party.tier] / (weight * party.tenants)
end

-- How many of its calls a contender could make now if the limit `but` were no matter.
local function could_take(ctx, entry, but)
  local most = entry.count
  local scopes = { 'class:' .. entry.class }
  for l = 1, #ctx.budget.limits do
    local limit, cost = ctx.budget.limits[l], entry.costs[l] or 0
    if cost > 0 then
      scopes[#scopes + 1] = 'limit:' .. limit.name
      local weight = limits.weigh(limit, cost)
      local open = limit.does.available(limit) - limits.kept_from(limit, entry.tenant, entry.tier, function(party)
        return slots.held(ctx.state, limit, party)
      end)
      if l ~= but.index or limit.shared then
        most = math.min(most, math.floor(open / weight))
      end
      local cap = limits.cap_for(limit, entry.tenant)
      if cap then
        most = math.min(most, math.floor((cap - slots.held(ctx.state, limit, 'tenant:' .. entry.tenant)) / cost))
      end
    end
  end
  for i = 1, #ctx.pauses.scopes > 0 and #scopes or 0 do
    local phase, _, let = pauses.phase(ctx.pauses, scopes[i], ctx.now, ctx.budget.ramp)
    if phase == 'ramp' then
      most = math.min(most, let)
    elseif phase == 'paused' or phase == 'probing' or phase == 'probe' then
      most = 0
    end
  end
  return math.max(0, most)
end

local function in_turn(order)
  table.sort(order, function(a, b)
    if a.party.lag ~= b.party.lag then
      return a.party.lag < b.party.lag
    end
    return a.party.name < b.party.name
  end)
end

-- Those who wait elsewhere for a limit and could take some of it, in the order of their tags.
local function order_of(f, limit)
  local order = f.orders[limit.index]
  if order then
    return order
  end
  order = {}
  for i = 1, #f.parties do
    local party = f.parties[i]
    local rival = { party = party, entries = {}, weight = 0, stride = 0 }
    for e = 1, #party.entries do
      local entry = party.entries[e]
      local cost = entry.costs[limit.index] or 0
      if cost > 0 then
        local calls = entry.left > 0 and f.ctx.now >= entry.left + CLAIM and 0 or could_take(f.ctx, entry, limit)
        if calls > 0 then
          party.is_able = true
          rival.weight = math.max(rival.weight, limits.weigh(limit, cost))
          rival.stride = math.max(rival.stride, stride(f, party, entry.costs))
          rival.entries[#rival.entries + 1] = { of = entry, calls = calls }
        else
          -- What it cannot take, or did not, it saves up no more.
          party.is_passed = true
        end
      end
    end
    if #rival.entries > 0 then
      order[#order + 1] = rival
    end
  end
  in_turn(order)
  f.orders[limit.index] = order
  return order
end

local function is_claimed(f, entry, at)
  return entry.left == 0 and at < f.ctx.now + CLAIM or at < entry.left + CLAIM
end

-- What those before `tag` take of a limit, as long as they claim it at `at`; no more than `enough` is counted.
local function before(f, order, party, tag, at, enough)
  local sum = 0
  for i = 1, #order do
    local rival = order[i]
    local turns = math.ceil((tag - rival.party.lag) / rival.stride - EQUAL)
    if turns <= 0 or sum > enough then
      return sum
    end
    if rival.party ~= party then
      local calls = 0
      for e = 1, #rival.entries do
        if is_claimed(f, rival.entries[e].of, at) then
          calls = calls + rival.entries[e].calls
        end
      end
      sum = sum + math.min(calls, turns) * rival.weight
    end
  end
  return sum
end

-- What is left of a limit to the asker's own tenant at replicas that have got nothing for longer: one call each.
local function longer(f, order, party, since, at)
  local sum = 0
  for i = 1, #order do
    for e = 1, order[i].party == party and #order[i].entries or 0 do
      local entry = order[i].entries[e].of
      if entry.since > 0 and entry.since < since - PATIENCE and is_claimed(f, entry, at) then
        sum = sum + order[i].weight
      end
    end
  end
  return sum
end

-- How many calls of a group, `most` at most, are its share of what is available of a limit; and where that is fewer than it asks
-- for a function that tells when the next one could be: `ready_at(left)` tells when there is enough beside what is left.
function fair.share(f, limit, group, weight, available, most, ready_at)
  local order = order_of(f, limit)
  local party, now = asker(f, group), f.ctx.now
  local step = stride(f, party, group.costs)
  local since = f.since[group.tier .. ',' .. group.tenant .. ',' .. group.class] or now
  local fits, too_many = 0, math.min(most, group.count) + 1
  -- The n-th call may go where all that come before it and the asker's own up to it find room.
  while too_many - fits > 1 do
    local n = math.floor((fits + too_many) / 2)
    local enough = available - n * weight - longer(f, order, party, since, now)
    if before(f, order, party, party.lag + (n - 1) * step, now, enough) <= enough then
      fits = n
    else
      too_many = n
    end
  end
  if fits >= math.min(most, group.count) then
    return most
  end
  -- What is left begins to be claimed now.
  local tag = party.lag + fits * step
  local ends, is_end = { now }, {}
  for i = 1, #order do
    local rival = order[i]
    local is_before = rival.party ~= party and tag - rival.party.lag > EQUAL * rival.stride
    for e = 1, (is_before or rival.party == party) and #rival.entries or 0 do
      local entry = rival.entries[e].of
      if is_before or (entry.since > 0 and entry.since < since - PATIENCE) then
        if entry.left == 0 then
          entry.left, entry.is_new, f.has_left = now, true, true
        end
        local till = entry.left + CLAIM
        if not is_end[till] then
          is_end[till] = true
          ends[#ends + 1] = till
        end
      end
    end
  end
  return fits, function()
    table.sort(ends)
    local first
    for i = #ends, math.max(1, #ends - MOST_ENDS), -1 do
      local left = before(f, order, party, tag, ends[i], math.huge) + longer(f, order, party, since, ends[i])
      -- More than there ever is will not be there.
      if i == #ends or left + weight <= limit.n then
        local at = math.max(ends[i], ready_at(left))
        first = math.min(first or at, at)
      end
    end
    return first
  end
end

-- A group was granted so many calls: its tag moves on, and the present with it.
function fair.charge(f, group, count)
  local party = asker(f, group)
  local step = stride(f, party, group.costs)
  f.now_tag = math.max(f.now_tag, party.lag + (count - 1) * step)
  party.lag = party.lag + count * step
  waiting.served(f.ctx.waiting)
  -- What the others could take has become less.
  f.orders = {}
end

-- Notes what became of a group: how much of it was granted, and whether what it asks for was there all the same.
function fair.note(f, group, granted, is_there)
  local name = group.tier .. ',' .. group.tenant .. ',' .. group.class
  if not f.own_as[name] and f.rest_of[group.tier] then
    name = group.tier .. ',' .. f.rest_of[group.tier]
  end
  local asked = f.asked[name] or { granted = 0, is_there = false }
  asked.granted, asked.is_there = asked.granted + granted, asked.is_there or is_there
  f.asked[name] = asked
end

-- Who waits here now, for the replica's field; whether something that was left to one of them is left no more; and whether
-- that is since it waits no more.
function fair.close(f)
  local since, words, gives_up, is_gone = {}, {}, false, false
  local was = entries_of(f.ctx.waiting.mine_text)
  for i = 1, #was do
    since[was[i].tier .. ',' .. was[i].tenant .. ',' .. was[i].class] = was[i].left
  end
  for i = 1, #f.own do
    local entry = f.own[i]
    local name = entry.tier .. ',' .. entry.tenant .. ',' .. entry.class
    local asked = f.asked[name]
    entry.count = entry.count - (asked and asked.granted or 0)
    if entry.count > 0 then
      -- Who asks and gets something, or finds nothing there, has come for it. Who is refused for another reason has not.
      local goes_on = not asked or (asked.granted == 0 and asked.is_there)
      entry.left = goes_on and since[name] or 0
      gives_up = gives_up or (since[name] or 0) > entry.left
      entry.since = (not asked or asked.granted == 0) and f.since[name] or f.ctx.now
      words[#words + 1] = text_of(entry)
    end
    since[name] = entry.count > 0 and since[name] and 0 or since[name]
  end
  for i = 1, #was do
    is_gone = is_gone or (since[was[i].tier .. ',' .. was[i].tenant .. ',' .. was[i].class] or 0) > 0
  end
  return table.concat(words), gives_up or is_gone, is_gone
end

-- Writes into other replicas' fields since when something is left to them.
function fair.flush(f, w)
  for i = 1, #w.rivals do
    local of, is_new = f.others[i], false
    for e = 1, #of do
      is_new = is_new or of[e].is_new
    end
    if is_new then
      local at = 0
      local text = string.gsub(w.h.have[w.rivals[i]], ENTRY, function()
        at = at + 1
        return text_of(of[at])
      end)
      hash.put(w.h, w.rivals[i], text)
    end
  end
end

-- The tags as they are kept: of who waits, and of who has had more than its share.
function fair.tags(f)
  local weights, floor = 0, 0
  for i = 1, #spec.TIERS do
    if f.tenants[spec.TIERS[i]] then
      weights = weights + spec.weight(f.ctx.budget, spec.TIERS[i])
    end
  end
  floor = weights > 0 and -MOST_LAG / weights or 0
  local kept, gone = {}, {}
  for i = 1, #f.parties do
    local party = f.parties[i]
    local is_here = #party.entries > 0 or party.is_own
    local lag = party.lag - f.now_tag
    if not is_here or (party.is_passed and not party.is_able) then
      lag = math.max(0, lag)
    end
    party.lag = math.max(floor, lag)
    if is_here then
      kept[#kept + 1] = party
    elseif party.lag > 0 then
      gone[#gone + 1] = party
    end
  end
  if #gone > MOST_TAGS then
    table.sort(gone, function(a, b)
      return a.lag > b.lag or (a.lag == b.lag and a.name < b.name)
    end)
  end
  local words = {}
  for i = 1, #kept do
    words[#words + 1] = ' ' .. kept[i].name .. '=' .. real(kept[i].lag)
  end
  for i = 1, math.min(#gone, MOST_TAGS) do
    words[#words + 1] = ' ' .. gone[i].name .. '=' .. real(gone[i].lag)
  end
  return table.concat(words)
end
