-- Numbers as text. `tostring` and `..` keep 14 digits and differ by server version; these do not.

local format = string.format

-- Up to here `%d` writes what `%.0f` does, at a fraction of the cost; a server whose `long` has 32 bits writes less.
local WHOLE = format('%d', 2 ^ 52) == '4503599627370496' and 2 ^ 52 or 2 ^ 30

local function int(n)
  -- Fractions are rounded, and a zero has a sign.
  if n >= 1 and n < WHOLE and n % 1 == 0 then
    return format('%d', n)
  end
  return format('%.0f', n)
end

local function real(n)
  return format('%.17g', n)
end
