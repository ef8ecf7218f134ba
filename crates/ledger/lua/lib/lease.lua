-- Leases: the permits of one acquire group, kept as one text, whose parts are apart by blanks:
--   bits granted_at send_by deadline kept_till class tenant tier units by again probes (scope,...), then on a line each
--   what a permit weighs in a limit: key cost settled blind weighed is_probe, and the deadlines that were moved: @index deadline
-- `bits` has a character a permit: `-` out, `+` out and claimed by its request once more, `s` settled, `n` not sent. For
-- parts `-` stands for one that there is not.
-- Invariant: a permit is settled at most once, and a lease whose permits were all not sent is as good as none.
-- @include lib/number

local lease = {}

-- A lease outlives its deadline by so much, for those who settle late: ms.
local LATE = 600000
-- A lease that is settled wholly is kept for those who settle again: ms.
local AGAIN = 60000

local HEAD = '^(%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+) (%S+) (%S+) (%d) (%S+)'

local function present(part)
  return part ~= '-' and part or ''
end

local function part_of(text)
  return text ~= '' and text or '-'
end

function lease.read(lease_key)
  local text = redis.call('GET', lease_key)
  if not text then
    return nil
  end
  local _, at, bits, granted_at, send_by, deadline, kept_till, class, tenant, tier, units, by, again, probes =
    string.find(text, HEAD)
  local l = {
    key = lease_key, bits = bits, granted_at = tonumber(granted_at), send_by = tonumber(send_by),
    deadline = tonumber(deadline), kept_till = tonumber(kept_till), class = class, tenant = tenant, tier = tier,
    units = present(units), by = by, again = again == '1', probes = present(probes),
    weights = {}, order = {}, moved = {}, is_changed = false, lives = false, text = text,
  }
  for name, numbers in string.gmatch(string.sub(text, at + 1), '\n(%S+) ([^\n]+)') do
    local _, _, first, settled, blind, weighed, is_probe =
      string.find(numbers, '^(%-?%d+) ?(%-?%d*) ?(%-?%d*) ?(%-?%d*) ?(%d?)')
    if string.sub(name, 1, 1) == '@' then
      l.moved[tonumber(string.sub(name, 2))] = tonumber(first)
      l.is_moved = true
    else
      l.order[#l.order + 1] = name
      l.weights[name] = {
        cost = tonumber(first), settled_then = tonumber(settled), blind_then = tonumber(blind),
        weighed_then = tonumber(weighed), is_probe = is_probe == '1',
      }
    end
  end
  return l
end

-- Makes `l` a lease of `count` permits.
function lease.create(lease_key, l, count, now)
  l.key, l.bits = lease_key, string.rep('-', count)
  l.kept_till = l.deadline + LATE
  l.lives = l.kept_till - now
  l.weights, l.order, l.moved = {}, {}, {}
  l.is_changed = true
end

-- What is given back before it was granted, or after it was forgotten: a commit may come late, and must not be granted what
-- nobody waits for. A lease of permits that were not sent.
function lease.bury(lease_key, group, replica, now)
  local l = {
    granted_at = now, send_by = now, deadline = now, class = '-', tenant = '-', tier = '-', units = '', probes = '', by = replica,
  }
  local count = 1
  for i = 1, #group.indexes do
    count = math.max(count, group.indexes[i] + 1)
  end
  lease.create(lease_key, l, count, now)
  l.bits, l.lives = string.rep('n', count), AGAIN
  return l
end

-- What a permit of the lease weighs in a limit, as kept with it.
function lease.put_limit(l, limit, w)
  l.order[#l.order + 1] = limit.key
  l.weights[limit.key] = w
end

function lease.get_limit(l, limit)
  return l.weights[limit.key]
end

-- The scopes whose probes a lease has.
function lease.probes_of(l)
  return string.gmatch(l.probes, '[^,]+')
end

-- Until when a probe granted then, to live so long, is waited for: times `send_within`. Then it is followed by another.
local PROBE_PATIENCE = 2

function lease.probe_till(granted_at, ttl, send_within)
  return granted_at + math.min(ttl, PROBE_PATIENCE * send_within) + 1
end

-- The deadline of one of its permits.
function lease.deadline_of(l, index)
  return l.moved[index] or l.deadline
end

function lease.set_deadline(l, index, deadline, now)
  l.moved[index], l.is_moved = deadline, true
  l.kept_till = math.max(l.kept_till, deadline + LATE)
  l.lives = l.kept_till - now
  l.is_changed, l.text = true, nil
end

-- Whether the deadline of one of its permits was moved.
function lease.is_moved(l)
  return l.is_moved
end

-- The state of one of its permits: `-`, `+`, `s`, `n`; or nil where there is no such permit.
function lease.bit(l, index)
  local bit = string.sub(l.bits, index + 1, index + 1)
  return bit ~= '' and bit or nil
end

function lease.is_out(bit)
  return bit == '-' or bit == '+'
end

-- Notes that the request of a permit asked once more: whoever asked may hold it now.
function lease.claim(l, index)
  if lease.bit(l, index) == '-' then
    lease.set_bits(l, { index }, '+')
  end
end

local function put_in_order(indexes)
  for i = 2, #indexes do
    if indexes[i] < indexes[i - 1] then
      table.sort(indexes)
      return
    end
  end
end

-- The bits with those of `indexes` set to `bit`; as many as follow each other at once.
local function with_bits(bits, indexes, bit)
  if #indexes == #bits then
    return string.rep(bit, #bits)
  end
  put_in_order(indexes)
  local parts, from, at = {}, 1, 1
  while indexes[at] do
    local first, last = indexes[at], indexes[at]
    at = at + 1
    while indexes[at] == last + 1 do
      last, at = last + 1, at + 1
    end
    parts[#parts + 1] = string.sub(bits, from, first) .. string.rep(bit, last - first + 1)
    from = last + 2
  end
  return table.concat(parts) .. string.sub(bits, from)
end

-- Sets the state of permits of the lease, each named once, in any order; afterwards `indexes` are in order.
function lease.set_bits(l, indexes, bit)
  l.bits, l.is_changed = with_bits(l.bits, indexes, bit), true
  if not string.find(l.bits, '[-+]') then
    l.lives = AGAIN
  end
end

-- Notes that a lease that was there was asked for: whoever asked may hold its permits now.
function lease.ask_again(l)
  if not l.again then
    l.again, l.is_changed, l.text = true, true, nil
  end
end

function lease.was_asked_again(l)
  return l.again
end

function lease.was_used(l)
  return string.find(l.bits, '[-+s]') ~= nil
end

local function text_of(l)
  if l.text then
    -- As it was read, but for its bits.
    return l.bits .. string.sub(l.text, #l.bits + 1)
  end
  local text = l.bits .. ' ' .. int(l.granted_at) .. ' ' .. int(l.send_by) .. ' ' .. int(l.deadline) .. ' ' .. int(l.kept_till)
    .. ' ' .. l.class .. ' ' .. l.tenant .. ' ' .. l.tier .. ' ' .. part_of(l.units) .. ' ' .. l.by
    .. (l.again and ' 1 ' or ' 0 ') .. part_of(l.probes)
  for i = 1, #l.order do
    local w = l.weights[l.order[i]]
    text = text .. '\n' .. l.order[i] .. ' ' .. int(w.cost) .. ' ' .. int(w.settled_then) .. ' ' .. int(w.blind_then)
      .. ' ' .. int(w.weighed_then) .. (w.is_probe and ' 1' or ' 0')
  end
  for index = 0, l.is_moved and #l.bits - 1 or -1 do
    if l.moved[index] then
      text = text .. '\n@' .. int(index) .. ' ' .. int(l.moved[index])
    end
  end
  return text
end

function lease.flush(l)
  if not l.is_changed then
    return
  end
  local lease_key = l.key
  if l.lives then
    redis.call('SET', lease_key, text_of(l), 'PX', int(l.lives))
  else
    redis.call('SET', lease_key, text_of(l), 'KEEPTTL')
  end
end
