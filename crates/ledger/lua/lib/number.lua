-- Numbers as text. `tostring` and `..` keep 14 digits and differ by server version; these do not.

local function int(n)
  return string.format('%.0f', n)
end

local function real(n)
  return string.format('%.17g', n)
end
