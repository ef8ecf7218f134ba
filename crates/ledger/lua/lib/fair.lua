-- Shares across replicas: who comes next in a limit that cannot give everyone everything.
-- Start-time fair queueing (Goyal, Vin and Cheng 1996): a contender, which is a tenant in a tier wherever it waits, has a start
-- tag that each of its calls moves on by what the call takes of its scarcest limit over its weight. A tier's weight is divided
-- among its tenants that contend. What those before the asker could take is left to them.
-- Invariant: what is left to a contender that does not come for it within CLAIM is anybody's; who was not here has saved up
-- nothing; ties go to whoever asks, so that two who look at the same tags never both leave the same call to the other.
-- Tags are kept in a field of their own, ` <tier>,<tenant>=<lag>`: how far ahead of the present (the start tag served latest).
-- @include lib/contenders
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

-- Reads who waits here (as the commit tells it) and elsewhere.
function fair.open(ctx)
  local w = ctx.waiting
  local f = {
    ctx = ctx, by_name = {}, parties = {}, tenants = {}, now_tag = 0, orders = {}, granted = 0, others = {},
    own = ctx.callers.list, since = ctx.callers.since,
  }
  for tier, tenant, lag in string.gmatch(w.tags or '', ' ([^ ,]+),([^ =]+)=(%S+)') do
    party_of(f, tier, tenant).lag = tonumber(lag)
  end
  for i = 1, #w.rivals do
    local of = contenders.read(w.h.have[w.rivals[i]])
    f.others[i] = of
    for e = 1, #of do
      local party = party_of(f, of[e].tier, of[e].tenant)
      appear(f, party, of[e].tenants)
      party.entries[#party.entries + 1] = of[e]
    end
  end
  for i = 1, #f.own do
    local party = party_of(f, f.own[i].tier, f.own[i].tenant)
    appear(f, party, f.own[i].tenants)
    party.is_own = true
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

-- The most that a call takes of a limit, over its tier's weight.
local function share_of(f, tier, costs)
  local limits_of_it, most = f.ctx.budget.limits, 0
  for l = 1, #limits_of_it do
    local cost = costs[l] or 0
    if cost > 0 then
      most = math.max(most, cost / math.max(1, limits_of_it[l].n))
    end
  end
  return most / spec.weight(f.ctx.budget, tier)
end

-- What a call that takes such a share moves its party's tag on by: its tier's weight is divided among the tier's tenants.
local function stride(f, party, share)
  return share * f.tenants[party.tier] / party.tenants
end

-- How many such calls could be made now if the limit `but` were no matter.
local function room_for(ctx, entry, but)
  local most = math.huge
  local scopes = { 'class:' .. entry.class }
  for l = 1, #ctx.budget.limits do
    local limit, cost = ctx.budget.limits[l], entry.costs[l] or 0
    if cost > 0 then
      scopes[#scopes + 1] = 'limit:' .. limit.name
      if l ~= but.index or limit.shared then
        local open = limit.does.available(limit) - limits.kept_from(limit, entry.tenant, entry.tier, function(party)
          return slots.held(ctx.state, limit, party)
        end)
        most = math.min(most, math.floor(open / limits.weigh(limit, cost)))
      end
      local cap = limits.cap_for(limit, entry.tenant)
      if cap then
        most = math.min(most, math.floor((cap - slots.held(ctx.state, limit, 'tenant:' .. entry.tenant)) / cost))
      end
    end
  end
  for i = 1, #ctx.pauses.scopes > 0 and #scopes or 0 do
    local phase, _, let = pauses.phases().phase(ctx.pauses, scopes[i], ctx.now, ctx.budget.ramp)
    if phase == 'ramp' then
      most = math.min(most, let)
    elseif phase == 'paused' or phase == 'probing' or phase == 'probe' then
      most = 0
    end
  end
  return math.max(0, most)
end

-- Calls of one kind find the same room; where a limit is shared out by name, calls of one kind and tenant.
local function kind_of(f, entry)
  for l = 1, #f.ctx.budget.limits do
    if f.ctx.budget.limits[l].shared then
      return entry.kind .. ' ' .. entry.tier .. ',' .. entry.tenant
    end
  end
  return entry.kind
end

local function comes_before(one, other)
  return one.lag < other.lag or (one.lag == other.lag and one.name < other.name)
end

-- Counts anew what a rival could take of a limit. Answers whether it is anything.
local function count_calls(f, rival, limit, order)
  local kept = {}
  rival.weight, rival.share = 0, 0
  for e = 1, #rival.entries do
    local entry = rival.entries[e]
    entry.calls = math.min(entry.of.count, order.rooms[entry.kind])
    if entry.calls > 0 then
      rival.weight = math.max(rival.weight, entry.weight)
      rival.share = math.max(rival.share, entry.share)
      kept[#kept + 1] = entry
    else
      -- What it cannot take it saves up no more.
      rival.party.is_passed = true
    end
  end
  rival.entries = kept
  rival.party.is_able = rival.party.is_able or #kept > 0
  return #kept > 0
end

-- Something was granted since: what the others could take is no more than it was. It is counted anew only where it is less.
local function catch_up(f, limit, order)
  order.at = f.granted
  local is_less = false
  for kind, like in pairs(order.like) do -- order-free: each kind is counted by itself
    local room = room_for(f.ctx, like, limit)
    is_less = is_less or (room < order.rooms[kind] and room < order.most)
    order.rooms[kind] = room
  end
  if not is_less then
    return
  end
  local at = 0
  for i = 1, #order do
    local rival = order[i]
    order[i] = nil
    if count_calls(f, rival, limit, order) then
      at = at + 1
      order[at] = rival
    end
  end
end

-- Whether a part of a limit is kept for a party.
local function has_part(limit, entry)
  for i = 1, #limit.reserved do
    local party = limit.reserved[i].party
    if party == 'tenant:' .. entry.tenant or party == 'tier:' .. entry.tier then
      return true
    end
  end
  return false
end

-- Those who wait elsewhere for a limit and could take some of it, in the order of their tags.
local function order_of(f, limit)
  local order = f.orders[limit.index]
  if order then
    if order.at ~= f.granted then
      catch_up(f, limit, order)
    end
    return order
  end
  -- `rooms`: by kind of call how many fit; `like`: one of that kind; `most`: the most calls of an entry; `wants`: what all of them
  -- weigh, whether they fit or not; `refused`: who was, since the last grant; `at`: grants seen.
  order = { rooms = {}, like = {}, most = 0, wants = 0, at = f.granted, refused = {} }
  for i = 1, #f.parties do
    local party = f.parties[i]
    local rival = { party = party, entries = {} }
    for e = 1, #party.entries do
      local of = party.entries[e]
      local cost = of.costs[limit.index] or 0
      if cost > 0 and of.left > 0 and f.ctx.now >= of.left + CLAIM then
        -- What it did not take it saves up no more.
        party.is_passed = true
      elseif cost > 0 then
        local kind = kind_of(f, of)
        if not order.like[kind] then
          order.like[kind], order.rooms[kind] = of, room_for(f.ctx, of, limit)
        end
        order.most = math.max(order.most, of.count)
        order.wants = order.wants + of.count * limits.weigh(limit, cost)
        rival.has_part = rival.has_part or has_part(limit, of)
        rival.entries[#rival.entries + 1] = {
          of = of, kind = kind, weight = limits.weigh(limit, cost), share = share_of(f, of.tier, of.costs),
        }
      end
    end
    if #rival.entries > 0 and count_calls(f, rival, limit, order) then
      order[#order + 1] = rival
    end
  end
  table.sort(order, function(a, b)
    return comes_before(a.party, b.party)
  end)
  f.orders[limit.index] = order
  return order
end

local function is_claimed(f, entry, at)
  return entry.left == 0 and at < f.ctx.now + CLAIM or at < entry.left + CLAIM
end

-- What those before `tag` take of a limit, as long as they claim it at `at`; no more than `enough` is counted. `is_open`: of
-- what is kept for nobody.
local function before(f, order, party, tag, at, enough, is_open)
  local sum = 0
  for i = 1, #order do
    local rival = order[i]
    local turns = math.ceil((tag - rival.party.lag) / stride(f, rival.party, rival.share) - EQUAL)
    if turns <= 0 or sum > enough then
      return sum
    end
    if rival.party ~= party and not (is_open and rival.has_part) then
      local wants = 0
      for e = 1, #rival.entries do
        local entry = rival.entries[e]
        if is_claimed(f, entry.of, at) then
          wants = wants + entry.calls * entry.weight
        end
      end
      sum = sum + math.min(wants, turns * rival.weight)
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

-- How many calls of a group, `most` at most, are its share of `all` that is available of a limit, of which `open` is not kept for
-- others; and where that is fewer than it asks for a function that tells when the next one could be: `ready_at(left)` tells when
-- there is enough beside what is left.
function fair.share(f, limit, group, weight, all, open, most, ready_at)
  local party, now = asker(f, group), f.ctx.now
  local order = order_of(f, limit)
  local asked = math.min(most, group.count)
  if order.wants + asked * weight <= open then
    return most
  end
  local name = group.tier .. ',' .. group.tenant .. ',' .. group.class
  local refused = order.refused[name]
  if refused and refused.granted == f.granted and refused.weight == weight then
    return 0, refused.till
  end
  local step = stride(f, party, share_of(f, group.tier, group.costs))
  local since = f.since[name] or now
  local fits, too_many = 0, asked + 1
  -- The n-th call may go where all that come before it and the asker's own up to it find room.
  while too_many - fits > 1 do
    local n = math.floor((fits + too_many) / 2)
    local own = n * weight + longer(f, order, party, since, now)
    local function is_enough(of, is_open)
      return before(f, order, party, party.lag + (n - 1) * step, now, of - own, is_open) <= of - own
    end
    if is_enough(all, false) and (open == all or is_enough(open, true)) then
      fits = n
    else
      too_many = n
    end
  end
  if fits >= asked then
    return most
  end
  -- What is left begins to be claimed now.
  local tag = party.lag + fits * step
  local ends, is_end = { now }, {}
  for i = 1, #order do
    local rival = order[i]
    local is_before = rival.party ~= party and tag - rival.party.lag > EQUAL * stride(f, rival.party, rival.share)
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
  local first
  local function till()
    if first then
      return first
    end
    table.sort(ends)
    for i = #ends, math.max(1, #ends - MOST_ENDS), -1 do
      local left = before(f, order, party, tag, ends[i], math.huge, open < all) + longer(f, order, party, since, ends[i])
      -- More than there ever is will not be there.
      if i == #ends or left + weight <= limit.n then
        local at = math.max(ends[i], ready_at(left))
        first = math.min(first or at, at)
      end
    end
    return first
  end
  order.refused[name] = fits == 0 and { granted = f.granted, weight = weight, till = till } or nil
  return fits, till
end

-- Moves a party whose tag moved on to its place among the others.
local function move_on(order, party)
  local at = 1
  while order[at] and order[at].party ~= party do
    at = at + 1
  end
  local rival = order[at]
  while rival and order[at + 1] and comes_before(order[at + 1].party, party) do
    order[at], at = order[at + 1], at + 1
    order[at] = rival
  end
end

-- A group was granted so many calls: its tag moves on, and the present with it.
function fair.charge(f, group, count)
  local party = asker(f, group)
  local step = stride(f, party, share_of(f, group.tier, group.costs))
  f.now_tag = math.max(f.now_tag, party.lag + (count - 1) * step)
  party.lag = party.lag + count * step
  -- What the others could take has become less.
  f.granted = f.granted + 1
  for l = 1, #party.entries > 0 and #f.ctx.budget.limits or 0 do
    if f.orders[l] then
      move_on(f.orders[l], party)
    end
  end
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
      local text = string.gsub(w.h.have[w.rivals[i]], contenders.ENTRY, function()
        at = at + 1
        return contenders.text(of[at])
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
