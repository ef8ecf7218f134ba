-- Leases: the permits of one acquire group, kept as one hash.
-- `bits` has a character a permit: `-` out, `s` settled, `n` not sent.
-- Invariant: a permit is settled at most once, and a lease whose permits were all not sent is as good as none.
-- @include lib/hash

local lease = {}

-- A lease outlives its deadline by so much, for those who settle late: ms.
local LATE = 600000
-- A lease that is settled wholly is kept for those who settle again: ms.
local AGAIN = 60000

function lease.read(lease_key)
  local h = hash.open(lease_key)
  hash.load_all(h)
  if not h.have['bits'] then
    return nil
  end
  return {
    h = h,
    granted_at = tonumber(h.have['granted_at']),
    send_by = tonumber(h.have['send_by']),
    deadline = tonumber(h.have['deadline']),
    class = h.have['class'],
    tenant = h.have['tenant'],
    tier = h.have['tier'],
    units = h.have['units'],
    probes = h.have['probes'] or '',
    by = h.have['by'],
    bits = h.have['bits'],
  }
end

-- Makes a lease of `count` permits.
function lease.create(lease_key, l, count, now)
  redis.call('DEL', lease_key)
  l.h = hash.open(lease_key)
  l.h.is_whole = true
  l.bits = string.rep('-', count)
  hash.put_int(l.h, 'granted_at', l.granted_at)
  hash.put_int(l.h, 'send_by', l.send_by)
  hash.put_int(l.h, 'deadline', l.deadline)
  hash.put(l.h, 'class', l.class)
  hash.put(l.h, 'tenant', l.tenant)
  hash.put(l.h, 'tier', l.tier)
  hash.put(l.h, 'units', l.units)
  hash.put(l.h, 'probes', l.probes ~= '' and l.probes or nil)
  hash.put(l.h, 'by', l.by)
  hash.put(l.h, 'bits', l.bits)
  l.lives = l.deadline - now + LATE
  hash.put_int(l.h, 'kept_till', l.deadline + LATE)
end

-- What a permit of the lease weighs in a limit, as kept with it.
function lease.put_limit(l, limit, w)
  hash.put_int(l.h, limit.key .. '|cost', w.cost)
  hash.put_int(l.h, limit.key .. '|settled', w.settled_then)
  hash.put_int(l.h, limit.key .. '|blind', w.blind_then)
  hash.put_int(l.h, limit.key .. '|weighed', w.weighed_then)
  hash.put(l.h, limit.key .. '|probe', w.is_probe and '1' or nil)
end

function lease.get_limit(l, limit)
  local cost = hash.num(l.h, limit.key .. '|cost')
  if not cost then
    return nil
  end
  return {
    cost = cost,
    settled_then = hash.num(l.h, limit.key .. '|settled'),
    blind_then = hash.num(l.h, limit.key .. '|blind'),
    weighed_then = hash.num(l.h, limit.key .. '|weighed'),
    is_probe = hash.text(l.h, limit.key .. '|probe') == '1',
  }
end

-- The deadline of one of its permits.
function lease.deadline_of(l, index)
  return hash.num(l.h, 'deadline:' .. int(index)) or l.deadline
end

function lease.set_deadline(l, index, deadline, now)
  local kept_till = math.max(hash.num(l.h, 'kept_till') or 0, deadline + LATE)
  hash.put_int(l.h, 'deadline:' .. int(index), deadline)
  hash.put_int(l.h, 'kept_till', kept_till)
  l.lives = kept_till - now
end

-- The state of one of its permits: `-`, `s`, `n`; or nil where there is no such permit.
function lease.bit(l, index)
  local bit = string.sub(l.bits, index + 1, index + 1)
  return bit ~= '' and bit or nil
end

function lease.set_bits(l, indexes, bit)
  for i = 1, #indexes do
    local at = indexes[i] + 1
    l.bits = string.sub(l.bits, 1, at - 1) .. bit .. string.sub(l.bits, at + 1)
  end
  hash.put(l.h, 'bits', l.bits)
  if not string.find(l.bits, '-', 1, true) then
    l.lives = AGAIN
  end
end

-- Notes that a lease that was there was asked for: whoever asked may hold its permits now.
function lease.ask_again(l)
  hash.put(l.h, 'again', '1')
end

function lease.was_asked_again(l)
  return hash.text(l.h, 'again') == '1'
end

function lease.was_used(l)
  return string.find(l.bits, '[-s]') ~= nil
end

function lease.flush(l)
  hash.flush(l.h)
  if l.lives then
    local lease_key = l.h.key
    redis.call('PEXPIRE', lease_key, int(l.lives))
  end
end
