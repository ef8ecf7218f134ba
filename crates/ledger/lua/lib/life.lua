-- A budget's life in the store: an incarnation, and a sequence that every commit moves on. Who remembers another
-- incarnation, or a higher sequence, has seen what this state no longer knows.
-- Invariant: an incarnation begins at most once, and one that was replaced knowingly is remembered by the next.
-- @include lib/hash

local life = {}

-- Incarnations that went before and are remembered; who comes with an older one is taken for a witness of a loss.
local ANCESTORS = 8

-- Reads it, and the store's time, at once.
function life.load(state)
  hash.load(state, { 'clock.last', 'clock.skew', 'life', 'life.seq', 'life.before', 'life.deadline', 'life.lost', 'requests' })
end

-- Whether a replica that remembers `incarnation` (empty: none) at `seq` knows more than is here.
function life.is_behind(state, incarnation, seq)
  if incarnation == '' then
    return false
  end
  return hash.text(state, 'life') ~= incarnation or (hash.num(state, 'life.seq') or 0) < seq
end

-- Whether `incarnation` went before this one.
function life.went_before(state, incarnation)
  return string.find(hash.text(state, 'life.before') or '', incarnation .. '\n', 1, true) ~= nil
end

local function newborn(now, jitter)
  return int(now) .. '-' .. int(jitter * 1e9)
end

-- Moves the sequence on; a state without an incarnation begins one.
function life.go_on(state, now, jitter)
  if not hash.text(state, 'life') then
    hash.put(state, 'life', newborn(now, tonumber(jitter)))
  end
  hash.put_int(state, 'life.seq', (hash.num(state, 'life.seq') or 0) + 1)
end

-- ## living => a new incarnation that replaces this one and `incarnation`, which a replica remembers at `seq`
function life.begin_anew(state, incarnation, seq, now, jitter)
  local before = { incarnation }
  local here = hash.text(state, 'life')
  if here and here ~= incarnation then
    before[#before + 1] = here
  end
  for older in string.gmatch(hash.text(state, 'life.before') or '', '[^\n]+') do
    if #before < ANCESTORS and older ~= incarnation and older ~= here then
      before[#before + 1] = older
    end
  end
  hash.put(state, 'life.before', table.concat(before, '\n') .. '\n')
  hash.put(state, 'life', newborn(now, jitter))
  hash.put_int(state, 'life.seq', math.max(seq, hash.num(state, 'life.seq') or 0) + 1)
  hash.put_int(state, 'life.lost', (hash.num(state, 'life.lost') or 0) + 1)
end

-- The latest deadline of all permits ever granted.
function life.deadline(state)
  return hash.num(state, 'life.deadline') or 0
end

function life.grant(state, deadline)
  if deadline > life.deadline(state) then
    hash.put_int(state, 'life.deadline', deadline)
  end
end
