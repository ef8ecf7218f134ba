-- Requests by id: which permit each was granted, `<lease>:<index>` by the request's tag, in two hashes of which one takes
-- in. Once nobody needs the other any more, that is emptied and takes in from there on.
-- Invariant: a request that was granted finds its permit until KEPT after its deadline, unless MOST others came since.
-- @include lib/hash
-- @include lib/record

local requests = {}

-- Requests that a hash takes in at most.
local MOST = 524288
-- A request is kept so long beyond its permit's deadline: ms.
local KEPT = 60000
-- A hash takes in for so long at least: ms.
local SPAN = 30000

-- Of the hash `at`: since when it takes in, until when it is needed, how many it took in; until when the other is needed.
local PARTS = { { fields = { 'at', 'since', 'till', 'count', 'before' }, is_real = {} } }

-- Reads what is known of the requests that have these tags. `keys`: both hashes.
function requests.open(state, now, keys, tags)
  local r = { state = state, now = now, keys = keys, hashes = {}, at = 1, since = now, till = 0, count = 0, before = 0 }
  record.read(hash.text(state, 'requests') or '', r)
  for i = 1, 2 do
    r.hashes[i] = hash.open(keys[i])
  end
  if (r.before <= now and now - r.since >= SPAN) or r.count >= MOST then
    r.at, r.before, r.since, r.till, r.count, r.is_turned = 3 - r.at, r.till, now, 0, 0, true
    r.hashes[r.at].is_whole = true
  end
  for i = 1, 2 do
    hash.load(r.hashes[i], tags)
  end
  return r
end

-- The lease and the index that a request was granted, or nil.
function requests.find(r, tag)
  local text = hash.text(r.hashes[r.at], tag) or hash.text(r.hashes[3 - r.at], tag)
  if not text then
    return nil
  end
  local _, _, id, index = string.find(text, '^(%x+):(%d+)$')
  return id, tonumber(index)
end

-- A request was granted.
function requests.put(r, tag, id, index, deadline)
  hash.put(r.hashes[r.at], tag, id .. ':' .. int(index))
  r.count, r.till, r.is_changed = r.count + 1, math.max(r.till, deadline + KEPT), true
end

-- What a request was granted is there no more.
function requests.forget(r, tag, id, index)
  for i = 1, 2 do
    if hash.text(r.hashes[i], tag) == id .. ':' .. int(index) then
      hash.put(r.hashes[i], tag, nil)
    end
  end
end

function requests.flush(r)
  local asked_key = r.keys[r.at]
  if r.is_turned then
    redis.call('UNLINK', asked_key)
  end
  hash.flush(r.hashes[1])
  hash.flush(r.hashes[2])
  if r.is_changed then
    -- Should nobody ask any more it goes by itself; emptied by a commit it is sooner.
    redis.call('PEXPIRE', asked_key, int(r.till - r.now + KEPT))
  end
  if r.is_turned or r.is_changed then
    hash.put(r.state, 'requests', record.write(r, PARTS))
  end
end
