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
-- Tags that one command takes at most; `unpack` fails far above it.
local TAGS_A_CALL = 500

-- Of the hash `at`: since when it takes in, until when it is needed, how many it took in; until when the other is needed.
local PARTS = { { fields = { 'at', 'since', 'till', 'count', 'before' }, is_real = {} } }

-- What of a hash the tags lead to, by tag; and whether any does.
local function look(asked_key, from, to)
  local found, is_any = {}, false
  while from <= to do
    local last = math.min(to, from + TAGS_A_CALL - 1)
    local values = redis.call('HMGET', asked_key, unpack(ARGV, from, last)) -- bound: TAGS_A_CALL
    for i = 1, #values do
      if values[i] then
        found[ARGV[from + i - 1]], is_any = values[i], true
      end
    end
    from = last + 1
  end
  return found, is_any
end

-- Reads what is known of the requests whose tags are ARGV from `from` to `to`. `keys`: both hashes.
function requests.open(state, now, keys, from, to)
  local r = { state = state, now = now, keys = keys, known = {}, news = {}, gone = {}, at = 1, since = now, till = 0, count = 0, before = 0 }
  record.read(hash.text(state, 'requests') or '', r)
  if (r.before <= now and now - r.since >= SPAN) or r.count >= MOST then
    r.at, r.before, r.since, r.till, r.count, r.is_turned = 3 - r.at, r.till, now, 0, 0, true
  end
  for i = 1, 2 do
    local known, is_any = {}, false
    if not (r.is_turned and i == r.at) then
      known, is_any = look(keys[i], from, to)
    end
    r.known[i], r.is_any = known, r.is_any or is_any
  end
  return r
end

-- Whether one of the requests whose tags are ARGV from `from` to `to` was granted a permit.
function requests.knows_any(r, from, to)
  for i = from, r.is_any and to or 0 do
    if requests.find(r, ARGV[i]) then
      return true
    end
  end
  return false
end

-- The lease and the index that a request was granted, or nil.
function requests.find(r, tag)
  local text = r.known[r.at][tag] or r.known[3 - r.at][tag]
  if not text then
    return nil
  end
  local _, _, id, index = string.find(text, '^(%x+):(%d+)$')
  return id, tonumber(index)
end

-- Requests were granted the first `count` permits of a lease: those whose tags follow ARGV's `tags_at`, at the places `nowhere`
-- if not all in order.
function requests.put(r, tags_at, nowhere, count, id)
  local news, at, lease_of, format = r.news, #r.news, id .. ':', string.format
  for i = 1, count do
    news[at + 1], news[at + 2] = ARGV[tags_at + (nowhere and nowhere[i] or i)], lease_of .. format('%d', i - 1)
    at = at + 2
  end
end

-- Notes until when the requests of so many permits must be kept.
function requests.keep(r, count, deadline)
  r.count, r.till = r.count + count, math.max(r.till, deadline + KEPT)
end

-- What a request was granted is there no more.
function requests.forget(r, tag, id, index)
  for i = 1, 2 do
    if r.known[i][tag] == id .. ':' .. int(index) then
      r.gone[#r.gone + 1] = { at = i, tag = tag }
    end
  end
end

function requests.flush(r)
  local asked_key, news = r.keys[r.at], r.news
  if r.is_turned then
    redis.call('UNLINK', asked_key)
  end
  for i = 1, #r.gone do
    local asked_key, tag = r.keys[r.gone[i].at], r.gone[i].tag
    redis.call('HDEL', asked_key, tag)
  end
  for from = 1, #news, 2 * TAGS_A_CALL do
    redis.call('HSET', asked_key, unpack(news, from, math.min(#news, from + 2 * TAGS_A_CALL - 1))) -- bound: 2 * TAGS_A_CALL
  end
  if #news > 0 then
    -- Should nobody ask any more it goes by itself; emptied by a commit it is sooner.
    redis.call('PEXPIRE', asked_key, int(r.till - r.now + KEPT))
  end
  if r.is_turned or #news > 0 then
    hash.put(r.state, 'requests', record.write(r, PARTS))
  end
end
