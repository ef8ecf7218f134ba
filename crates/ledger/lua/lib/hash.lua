-- A Redis hash, read when needed and written back once.
-- Invariant: what `flush` has not written has not happened, so a script that fails changes nothing.
-- @include lib/number

local hash = {}

-- Fields a call of HMGET, HSET or HDEL takes at most; `unpack` fails far above it.
local FIELDS_A_CALL = 500

function hash.open(the_key)
  -- `is_whole`: every field that there is has been read.
  return { key = the_key, have = {}, known = {}, touched = {}, is_touched = {}, is_whole = false }
end

function hash.load(h, fields)
  if h.is_whole then
    return
  end
  local from = 1
  while from <= #fields do
    local asked = {}
    while from <= #fields and #asked < FIELDS_A_CALL do
      local field = fields[from]
      if not h.known[field] then
        h.known[field] = true
        asked[#asked + 1] = field
      end
      from = from + 1
    end
    if #asked > 0 then
      local hash_key = h.key
      local values = redis.call('HMGET', hash_key, unpack(asked)) -- bound: FIELDS_A_CALL
      for i = 1, #asked do
        h.have[asked[i]] = values[i] or nil
      end
    end
  end
end

function hash.load_all(h)
  local hash_key = h.key
  local flat = redis.call('HGETALL', hash_key)
  local fields = {}
  for i = 1, #flat, 2 do
    fields[#fields + 1] = flat[i]
    h.known[flat[i]] = true
    h.have[flat[i]] = flat[i + 1]
  end
  h.is_whole = true
  return fields
end

function hash.text(h, field)
  if not h.known[field] then
    hash.load(h, { field })
  end
  return h.have[field]
end

function hash.num(h, field)
  local text = hash.text(h, field)
  return text and tonumber(text)
end

-- `text` nil removes the field.
function hash.put(h, field, text)
  h.known[field] = true
  h.have[field] = text
  if not h.is_touched[field] then
    h.is_touched[field] = true
    h.touched[#h.touched + 1] = field
  end
end

function hash.put_int(h, field, n)
  hash.put(h, field, n and int(n))
end

function hash.flush(h)
  local hash_key = h.key
  local set, gone = {}, {}
  for i = 1, #h.touched do
    local field = h.touched[i]
    local text = h.have[field]
    if text then
      set[#set + 1] = field
      set[#set + 1] = text
    else
      gone[#gone + 1] = field
    end
    if #set >= FIELDS_A_CALL then
      redis.call('HSET', hash_key, unpack(set)) -- bound: FIELDS_A_CALL
      set = {}
    end
    if #gone >= FIELDS_A_CALL then
      redis.call('HDEL', hash_key, unpack(gone)) -- bound: FIELDS_A_CALL
      gone = {}
    end
  end
  if #set > 0 then
    redis.call('HSET', hash_key, unpack(set)) -- bound: FIELDS_A_CALL
  end
  if #gone > 0 then
    redis.call('HDEL', hash_key, unpack(gone)) -- bound: FIELDS_A_CALL
  end
  h.touched, h.is_touched = {}, {}
end
