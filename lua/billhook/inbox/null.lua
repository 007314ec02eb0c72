-- inbox/null.lua: in a change of a row, a column that becomes NULL. Plain data, for changes cross
-- from one thread to another; no text that is stored begins with a NUL.

return "\0null"
