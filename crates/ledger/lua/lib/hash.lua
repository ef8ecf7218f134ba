-- A Redis hash, read when needed and written back once.
-- Invariant: what `flush` has not written has not happened, so a script that fails changes nothing.
-- @include lib/number

local hash = {}

-- Fields a call of HMGET, HSET or HDEL takes at most; `unpack` fails far above it.
local FIELDS_A_CALL = 500

function hash.open(the_key)
  -- `have`: the texts of fields, false where there is none; what was not read is not in it, unless all of it has been
  -- (`is_whole`). `is_begun`: something was read or put. `touched`: the fields that were put, in order; and true by the name
  -- of each.
  return { key = the_key, have = {}, touched = {}, is_whole = false, is_begun = false }
end

local function read(h, fields)
  local hash_key, have = h.key, h.have
  local values = redis.call('HMGET', hash_key, unpack(fields)) -- bound: FIELDS_A_CALL
  for i = 1, #fields do
    have[fields[i]] = values[i] or false
  end
  h.is_begun = true
end

function hash.load(h, fields)
  if h.is_whole or #fields == 0 then
    return
  end
  if not h.is_begun and #fields <= FIELDS_A_CALL then
    -- None of them is known.
    return read(h, fields)
  end
  local have, asked, count = h.have, {}, 0
  for i = 1, #fields do
    local field = fields[i]
    if have[field] == nil then
      have[field] = false
      count = count + 1
      asked[count] = field
      if count == FIELDS_A_CALL then
        read(h, asked)
        asked, count = {}, 0
      end
    end
  end
  if count > 0 then
    read(h, asked)
  end
end

function hash.load_all(h)
  local hash_key, have = h.key, h.have
  local flat = redis.call('HGETALL', hash_key)
  local fields = {}
  for i = 1, #flat, 2 do
    fields[#fields + 1] = flat[i]
    have[flat[i]] = flat[i + 1]
  end
  h.is_whole = true
  return fields
end

function hash.text(h, field)
  local text = h.have[field]
  if text == nil and not h.is_whole then
    read(h, { field })
    text = h.have[field]
  end
  return text or nil
end

function hash.num(h, field)
  local text = h.have[field]
  if text == nil then
    text = hash.text(h, field)
  end
  return text and tonumber(text) or nil
end

-- `text` nil removes the field.
function hash.put(h, field, text)
  h.have[field], h.is_begun = text or false, true
  local touched = h.touched
  if not touched[field] then
    touched[field] = true
    touched[#touched + 1] = field
  end
end

function hash.put_int(h, field, n)
  hash.put(h, field, n and int(n))
end

function hash.flush(h)
  local hash_key, have, touched = h.key, h.have, h.touched
  if #touched == 0 then
    return
  end
  local set, set_count, gone = {}, 0, {}
  for i = 1, #touched do
    local field = touched[i]
    local text = have[field]
    if text then
      set[set_count + 1], set[set_count + 2] = field, text
      set_count = set_count + 2
      if set_count >= FIELDS_A_CALL then
        redis.call('HSET', hash_key, unpack(set)) -- bound: FIELDS_A_CALL
        set, set_count = {}, 0
      end
    else
      gone[#gone + 1] = field
      if #gone >= FIELDS_A_CALL then
        redis.call('HDEL', hash_key, unpack(gone)) -- bound: FIELDS_A_CALL
        gone = {}
      end
    end
  end
  if set_count > 0 then
    redis.call('HSET', hash_key, unpack(set)) -- bound: FIELDS_A_CALL
  end
  if #gone > 0 then
    redis.call('HDEL', hash_key, unpack(gone)) -- bound: FIELDS_A_CALL
  end
  h.touched = {}
end
