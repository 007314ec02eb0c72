-- taking.lua - for specs: what a worker thread of nginx does that is slow with the inbox in a
-- folder. It has the connection that others have parked, from when there is a file "taken" there
-- until there is one called "go".

local sqlite = require "billhook.sqlite"

local M = {}

function M.hold(folder)
  local db = assert(sqlite.take(folder .. "/inbox.db"), "there is none")
  io.open(folder .. "/taken", "w"):close()
  while not io.open(folder .. "/go") do require("billhook.process").sleep(0.01, true) end
  db:park()
  return true
end

return M
