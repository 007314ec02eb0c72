-- powerloss.lua - what a power cut may leave of the files of an inbox.
--
--   local shim = powerloss.shim(folder)
--   local records = powerloss.record(folder, { shim = shim, seed = 7, synchronous = "FULL" })
--   for image in powerloss.images(records, 60) do
--     image.files      { [name] = bytes }
--     image.last       the state that was committed last before the cut, as state() gives it
--     image.next       the one that was being committed, or nil
--     image.cut        where it was, in words
--   end
--
-- A process works on an inbox, now by one connection, now by another, under powerloss.c, which
-- tells all that is written, cut off, made, deleted, renamed and synced in its folder. Of a file
-- there is in an image
--   * everything up to its last sync before the cut,
--   * of what was written or cut off since: all, nothing, a random part in any order with the last
--     write torn at a 512-byte boundary, or a random part of its 512-byte pieces in any order.
-- Names that were made, deleted or changed are there up to the folder's last sync; of later ones a
-- random number of the first ones. What the -shm says is lost.
-- Not imitated: a disk that says it has synced and has not, that harms bytes beside those it
-- writes, or that changes what it has kept; names that outrun each other within one folder; the
-- attribute by which place.c marks a log: no image has it.

local core = require "billhook.core"
local inbox = require "billhook.inbox"
local process = require "billhook.process"

local M = {}

-- --- what an inbox says -----------------------------------------------------------

local KEYS = { counters = { "name" }, deliveries = { "account", "id" },
  events = { "account", "id" }, invoices = { "account", "invoice" }, marks = { "seq", "rule" },
  meta = { "name" }, results = { "seq", "rule", "name" }, texts = { "name" } }

local function line_of(name, row)
  local key, all = { name }, {}
  for _, column in ipairs(KEYS[name]) do key[#key + 1] = tostring(row[column]) end
  for column, value in pairs(row) do all[#all + 1] = column .. "=" .. tostring(value) end
  table.sort(all)
  key[#key + 1] = row.state
  key[#key + 1] = core.text.sha256(table.concat(all, "\n")):sub(1, 8)
  return table.concat(key, " ")
end

---All rows of all tables, a line each, sorted; what does not fit a line as a digest.
function M.state(db)
  local lines = {}
  for name in pairs(KEYS) do
    for _, row in ipairs(assert(db:query("SELECT * FROM " .. name))) do
      lines[#lines + 1] = line_of(name, row)
    end
  end
  table.sort(lines)
  return table.concat(lines, "\n")
end

---The lines of a state that another one has not.
function M.missing(state, other)
  local there, gone = {}, {}
  for line in other:gmatch "[^\n]+" do there[line] = true end
  for line in state:gmatch "[^\n]+" do
    if not there[line] then gone[#gone + 1] = line end
  end
  return gone
end

-- --- the process ---------------------------------------------------------------------

function M.delivery(id, invoice, body)
  return { account = "school", id = id, again = true, vendor = "dreamclass",
    type = "invoice.updated", native = "INVOICE_UPDATED", invoice = invoice, live = true,
    trust = "id", body = body or "{}" }
end

local function bytes() return ("%d "):format(math.random(9999)):rep(math.random(2000)) end

local function marker(path)
  local log = assert(io.open(path, "ab"))
  return function(text)
    log:write(("mark %d\n%s\n"):format(#text, text))
    assert(log:flush())
  end
end

local function open(options, work)
  local store = assert(inbox.open(options.url, { clock = function() return work.now end }))
  local db = store.db
  assert(db:exec("PRAGMA synchronous = " .. options.synchronous))
  -- small ones, so that the log begins anew and pages leave the cache before their commit
  assert(db:exec(("PRAGMA wal_autocheckpoint = %d; PRAGMA cache_size = %d")
    :format(math.random(5, 120), math.random(4) > 1 and 10 or 4000)))
  store.db = setmetatable({ query = function(_, text, ...)
    local rows, changed, message = db:query(text, ...)
    if rows and text == "COMMIT" then work.mark(work.step .. "\n" .. M.state(db)) end
    return rows, changed, message
  end }, { __index = function(_, name)
    return function(_, ...) return db[name](db, ...) end
  end })
  return store
end

local steps = {}

function steps.admit(store, work)
  local list = {}
  for i = 1, math.random(math.random(4) == 1 and 30 or 6) do
    work.ids = work.ids + (math.random(6) == 1 and 0 or 1)
    list[i] = M.delivery("d" .. work.ids, tostring(math.random(12)), bytes())
  end
  assert(store:admit(list))
end

-- Rolled back after it has filled the cache. What is left of it in a buffer below SQLite would be
-- written over what the other connection commits next.
function steps.refused(store)
  local list = {}
  for i = 1, math.random(5, 30) do list[i] = M.delivery("r" .. i, "1", ("r"):rep(5000)) end
  list[#list].trust = nil
  assert(store:admit(list) == nil)
end

function steps.route(store)
  local changes = {}
  for i, one in ipairs(assert(store:incoming("school", math.random(20)))) do
    changes[i] = { account = "school", route = { { seq = one.seq, state = "pending" } } }
  end
  assert(store:apply(changes))
end

function steps.apply(store, work)
  local changes = {}
  for i = 1, math.random(3) do
    local invoice = tostring(math.random(4) + 4 * (i - 1))
    local row = assert(store:look("school", { invoice })).rows[1]
    local version, data = row.version + 1, bytes()
    changes[i] = { account = "school", invoice = invoice, expect = row.stamp, settle = "done",
      began = work.now * 1000, set = { version = version, known = true, data = data },
      events = { { account = "school", id = ("school:%s@%d"):format(invoice, version),
        vendor = "dreamclass", type = "invoice.updated", invoice = invoice, version = version,
        live = true, trust = "api", data = data, rules = { "a", "b" } } } }
  end
  assert(store:apply(changes))
end

function steps.run(store)
  local rows = assert(store:claim { kind = "run", account = "school", owner = "me", lease = 60000,
    limit = math.random(4), page = 8, hold = 900000 }).rows
  local ends = { "done", "done", "done", "waiting", "dead" }
  local list = {}
  for i, row in ipairs(rows) do
    for _, event in ipairs(row.events) do
      for _, rule in ipairs(event.rules) do
        local outcome = { seq = event.seq, rule = rule, state = ends[math.random(5)] }
        if outcome.state == "waiting" then outcome.delay, outcome.message = 1000, "later" end
        assert(store:step(event.seq, rule, "asked", bytes()))
        assert(store:mark(row.lane, row.token, outcome))
      end
    end
    list[i] = { lane = row.lane, token = row.token, after = 1000 }
  end
  if #list > 0 then assert(store:release(list)) end
end

function steps.purge(store) assert(store:purge { older_than = math.random(60) }) end

function steps.texts(store, work)
  assert(store:set("text " .. math.random(5), bytes()))
  assert(store:update("quota", function(text) return (text or "") .. "x" end))
  assert(store:count { { name = "n", n = 1, total = work.now } })
  assert(store:ticket())
end

local CHECKPOINTS = { "PASSIVE", "FULL", "RESTART", "TRUNCATE" }
function steps.checkpoint(store)
  assert(store.db:query(("PRAGMA wal_checkpoint(%s)"):format(CHECKPOINTS[math.random(4)])))
end

local ORDER = { "admit", "admit", "admit", "route", "route", "apply", "apply", "apply", "run",
  "run", "texts", "refused", "refused", "purge", "checkpoint", "reopen" }

---What the process does; options: url, log, seed, synchronous, steps.
function M.work(options)
  math.randomseed(options.seed)
  local work = { now = 1700000000, ids = 0, step = "open", mark = marker(options.log) }
  local stores = { open(options, work), open(options, work) }
  work.mark("open\n" .. M.state(stores[1].db))
  for n = 1, options.steps do
    local name, which = ORDER[math.random(#ORDER)], math.random(2)
    work.step, work.now = ("%d %s"):format(n, name), work.now + math.random(3)
    if name == "reopen" then
      local both = math.random(3) == 1 -- the last one deletes the log
      stores[which]:close()
      if both then
        stores[3 - which]:close()
        stores[3 - which] = open(options, work)
      end
      stores[which] = open(options, work)
    else
      steps[name](stores[which], work)
    end
  end
  for _, store in ipairs(stores) do store:close() end
end

---Builds powerloss.c; gives its path.
function M.shim(folder)
  local path = folder .. "/powerloss.so"
  local built = os.execute("cc -std=gnu11 -O1 -Wall -Wextra -Werror -shared -fPIC -o " .. path
    .. " spec/support/powerloss.c -ldl")
  assert(built == true or built == 0, "powerloss.c cannot be built")
  return path
end

---@param folder string an empty one
---@param options { shim: string, seed: number, synchronous: string, steps?: number }
---@return table records of the log, in order, each { what it was, its words, data }
function M.record(folder, options)
  local log, output = folder .. "/log", folder .. "/output"
  assert(process.mkdir(folder .. "/files"))
  local text = ("package.path, package.cpath = %q, %q\nrequire('spec.support.powerloss').work {"
    .. "url = %q, log = %q, seed = %d, synchronous = %q, steps = %d }"):format(package.path,
    package.cpath, "sqlite:" .. folder .. "/files/a.db", log, options.seed, options.synchronous,
    options.steps or 60)
  local pid = assert(process.spawn({ rawget(_G, "jit") and "luajit" or "lua5.4", "-e", text },
    { stdout = output, stderr = output, env = { POWERLOSS_FOLDER = folder .. "/files",
      POWERLOSS_LOG = log, LD_PRELOAD = (os.getenv "LD_PRELOAD" or "") .. " " .. options.shim } }))
  local how, code = process.wait(pid)
  local said = assert(io.open(output)):read "*a"
  if how ~= "exit" or code ~= 0 then
    error(("POWERLOSS_SEED=%d: the process: %s %s %s")
      :format(options.seed, how, tostring(code), said))
  end
  local records = M.read(log)
  assert(records[1][1] == "create", "what the process does was not told")
  return records
end

-- --- the log -----------------------------------------------------------------------------

---The records of a log: { kind, word, word, word, data = bytes }.
function M.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  local records, at = {}, 1
  while at <= #text do
    local stop = assert(text:find("\n", at, true))
    local one = {}
    for word in text:sub(at, stop - 1):gmatch "%S+" do one[#one + 1] = tonumber(word) or word end
    at = stop + 1
    local length = one[1] == "write" and one[4] or one[1] == "mark" and one[2]
    if length then
      one.data = text:sub(at, at + length - 1)
      at = at + length + 1
    end
    records[#records + 1] = one
  end
  return records
end

-- --- what a file holds, by its sectors --------------------------------------------------------

local SECTOR = 512
local ZEROS = ("\0"):rep(SECTOR)

local function put(content, at, data)
  local stop = at + #data
  for i = math.floor(at / SECTOR), math.floor((stop - 1) / SECTOR) do
    local start = i * SECTOR
    local from, to = math.max(at, start), math.min(stop, start + SECTOR)
    local piece, old = data:sub(from - at + 1, to - at), content[i] or ZEROS
    content[i] = old:sub(1, from - start) .. piece .. old:sub(to - start + 1)
  end
  content.size = math.max(content.size, stop)
end

local function resize(content, size)
  for i = math.floor(size / SECTOR), math.floor(content.size / SECTOR) do
    local kept = math.max(0, size - i * SECTOR)
    content[i] = kept > 0 and content[i] and content[i]:sub(1, kept) .. ZEROS:sub(kept + 1) or nil
  end
  content.size = size
end

local function change(content, one)
  if one.data then put(content, one.at, one.data) else resize(content, one.size) end
end

local function copy(content)
  local out = {}
  for i, sector in pairs(content) do out[i] = sector end
  return out
end

local function bytes_of(content)
  local out = {}
  for i = 0, math.ceil(content.size / SECTOR) - 1 do out[i + 1] = content[i] or ZEROS end
  return table.concat(out):sub(1, content.size)
end

-- --- what is left of what was not synced --------------------------------------------------------

local function some(list)
  local out, rate = {}, math.random()
  for _, one in ipairs(list) do
    if math.random() < rate then table.insert(out, math.random(#out + 1), one) end
  end
  return out
end

-- the write up to a boundary, where it has one
local function torn(one)
  local first = SECTOR - one.at % SECTOR
  if first >= #one.data then return one end
  local length = first + SECTOR * math.random(0, math.floor((#one.data - 1 - first) / SECTOR))
  return { at = one.at, data = one.data:sub(1, length) }
end

local function pieces(list)
  local out = {}
  for _, one in ipairs(list) do
    local from = 1
    while one.data and from <= #one.data do
      local at = one.at + from - 1
      local length = SECTOR - at % SECTOR
      out[#out + 1] = { at = at, data = one.data:sub(from, from + length - 1) }
      from = from + length
    end
    if not one.data then out[#out + 1] = one end
  end
  return out
end

local fates = {
  function(list) return list end,
  function() return {} end,
  function(list)
    list = some(list)
    local last = list[#list]
    if last and last.data and math.random(2) == 1 then list[#list] = torn(last) end
    return list
  end,
  function(list) return some(pieces(list)) end,
}

local function left_of(file)
  local content = copy(file.content)
  for _, one in ipairs(fates[math.random(#fates)](file.pending)) do change(content, one) end
  return bytes_of(content)
end

-- --- the images --------------------------------------------------------------------------------

local function rename(names, one)
  local kind, first, second = one[1], one[2], one[3]
  if kind == "create" then names[second] = one.file end
  if kind == "rename" then names[second] = names[first] end
  if kind ~= "create" then names[first] = nil end
end

local function image_of(disk)
  local names, files = copy(disk.names), {}
  for i = 1, math.random(0, #disk.renamed) do rename(names, disk.renamed[i]) end
  for name, file in pairs(names) do
    files[name] = left_of(file)
    if name:find "-shm$" then
      files[name] = string.char(math.random(0, 255)):rep(#files[name])
    end
  end
  return files
end

local apply = {}

function apply.create(disk, one)
  one.file = { content = { size = 0 }, pending = {} }
  disk.files[one[2]] = one.file
  table.insert(disk.renamed, one)
end

function apply.rename(disk, one) table.insert(disk.renamed, one) end
apply.unlink = apply.rename

function apply.write(disk, one)
  table.insert(disk.files[one[2]].pending, { at = one[3], data = one.data })
end

function apply.size(disk, one)
  table.insert(disk.files[one[2]].pending, { size = one[3] })
end

function apply.sync(disk, one)
  local file = disk.files[one[2]]
  for _, each in ipairs(file.pending) do change(file.content, each) end
  file.pending = {}
end

function apply.folder(disk)
  for _, each in ipairs(disk.renamed) do rename(disk.names, each) end
  disk.renamed = {}
end

function apply.mark(disk, one)
  disk.marks = disk.marks + 1
  disk.step = one.data:match "^[^\n]*"
end

function apply.other(_, one) error("a change that is not imitated: " .. table.concat(one, " ")) end

-- Half of them right after a commit has returned, when nothing else may have synced it yet.
local function cuts(records, marks, n)
  local list = {}
  for i = 1, n do
    list[i] = i % 2 == 0 and marks[math.random(#marks)].at or math.random(0, #records)
  end
  table.sort(list)
  return list
end

---@param records table of record()
---@param n number of images, at random moments
---@return function that gives the next image, or nil
function M.images(records, n)
  local marks = {}
  for i, one in ipairs(records) do
    if one[1] == "mark" then
      marks[#marks + 1] = { at = i, state = one.data:match "^[^\n]*\n(.*)$" }
    end
  end
  local disk = { files = {}, names = {}, renamed = {}, marks = 0, step = "nothing" }
  local list, done, nth = cuts(records, marks, n), 0, 0
  return function()
    nth = nth + 1
    if not list[nth] then return nil end
    for i = done + 1, list[nth] do apply[records[i][1]](disk, records[i]) end
    done = list[nth]
    local last, following = marks[disk.marks] or marks[1], marks[disk.marks + 1]
    return { files = image_of(disk), last = last.state, next = following and following.state,
      cut = ("record %d of %d, after step %s"):format(done, #records, disk.step) }
  end
end

return M
