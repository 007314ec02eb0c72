-- dice.lua: a number from 0 to 99 for an event's id: which of the events something is done with.

return function(id)
  local n = 0
  for i = 1, #id do n = (n * 31 + id:byte(i)) % 10007 end
  return n % 100
end
