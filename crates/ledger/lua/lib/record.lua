-- Records: named values in one field of a hash, as `name=number name:text`. One field costs the store and the script
-- a fraction of what a field a value does.
-- Invariant: names are of letters, digits and `_`; no value has a blank or an end of line in it.
-- @include lib/number

local record = {}

-- Reads a record of numbers into `into`; what it does not name stays as it is.
function record.read(text, into)
  for name, value in string.gmatch(text, '([^=]+)=(%S*) ?') do
    into[name] = tonumber(value)
  end
end

-- Reads a record of numbers and texts into `into`.
function record.read_all(text, into)
  for name, sort, value in string.gmatch(text, '([%w_]+)([=:])(%S*) ?') do
    into[name] = sort == ':' and value or tonumber(value)
  end
end

-- Writes the numbers in `from` that the parts name in their `fields`, those in their `is_real` with their fractions.
function record.write(from, parts)
  local words, count = {}, 0
  for p = 1, #parts do
    local names, is_real = parts[p].fields, parts[p].is_real
    for i = 1, #names do
      local value = from[names[i]]
      if value then
        local name = names[i]
        count = count + 1
        words[count] = name .. '=' .. (is_real[name] and real(value) or int(value))
      end
    end
  end
  return table.concat(words, ' ')
end
