-- A budget's life in the store: an incarnation, and a sequence that every commit moves on. Who remembers another
-- incarnation, or a higher sequence, has seen what this state no longer knows. So has who remembers a later commit of its
-- own than this state does: others may have gone on where a new master began, past what it never heard of.
-- Invariant: an incarnation begins at most once, and one that was replaced knowingly is remembered by the next.
-- @include lib/hash

local life = {}

-- Incarnations that went before and are remembered; who comes with an older one is taken for a witness of a loss.
local ANCESTORS = 8

-- The last commit that each witness knows of, as `\n<witness> <sequence>`, the latest first: so many bytes, and of one at most.
-- Those that committed longest ago fall out; of a text that may have lost one nothing is concluded.
local TIPS_BYTES = 512
local TIP_BYTES = 160

-- Reads it, and the store's time, at once.
function life.load(state)
  hash.load(state, { 'clock.last', 'clock.skew', 'life', 'life.seq', 'life.tips', 'life.before', 'life.deadline', 'life.lost',
    'requests', 'pauses' })
end

-- Where in `tips` the witness's begins and ends, and its sequence; nil where there is none.
local function tip_of(tips, witness)
  local from, to = string.find(tips, '\n' .. witness .. ' ', 1, true)
  if not from then
    return nil
  end
  local till = string.find(tips, '\n', to, true)
  till = till and till - 1 or #tips
  return from, till, tonumber(string.sub(tips, to + 1, till))
end

-- Whether the replica remembers a later commit of its own than is here. Nobody told of any before this was kept.
local function has_lost_own(state, witness, seq)
  local tips = hash.text(state, 'life.tips')
  if not tips then
    return false
  end
  local _, _, tip = tip_of(tips, witness)
  if tip then
    return tip < seq
  end
  return #tips <= TIPS_BYTES - TIP_BYTES
end

-- Whether a replica that remembers `incarnation` (empty: none) at `seq`, by its own last commit, knows more than is here.
function life.is_behind(state, incarnation, seq, witness)
  if incarnation == '' then
    return false
  end
  return hash.text(state, 'life') ~= incarnation or (hash.num(state, 'life.seq') or 0) < seq or has_lost_own(state, witness, seq)
end

-- Whether `incarnation` went before this one.
function life.went_before(state, incarnation)
  return string.find(hash.text(state, 'life.before') or '', incarnation .. '\n', 1, true) ~= nil
end

local function newborn(now, jitter)
  return int(now) .. '-' .. int(jitter * 1e9)
end

-- The replica knows of all up to the sequence.
function life.note(state, witness)
  local tips = hash.text(state, 'life.tips') or ''
  local from, till = tip_of(tips, witness)
  if from then
    tips = string.sub(tips, 1, from - 1) .. string.sub(tips, till + 1)
  end
  tips = '\n' .. witness .. ' ' .. int(hash.num(state, 'life.seq')) .. tips
  while #tips > TIPS_BYTES do
    tips = string.match(tips, '^(.*)\n')
  end
  hash.put(state, 'life.tips', tips)
end

-- Moves the sequence on for a commit of the replica's; a state without an incarnation begins one.
function life.go_on(state, now, jitter, witness)
  if not hash.text(state, 'life') then
    hash.put(state, 'life', newborn(now, tonumber(jitter)))
  end
  hash.put_int(state, 'life.seq', (hash.num(state, 'life.seq') or 0) + 1)
  life.note(state, witness)
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
