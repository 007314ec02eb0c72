-- core.json and billhook.json: decoding, encoding, digests, redaction,
-- JavaScript's spelling, streams. Which texts are JSON at all is tested in C
-- (spec/c/json_test.c).
local json = require "billhook.json"
local core = require("billhook.core").json

local integers = math.type ~= nil

local function kind(n) return integers and math.type(n) or type(n) end

describe("decode", function()
  local decode = core.decode

  it("makes plain tables", function()
    assert.same({ a = { 1, 2, { b = "x" } }, c = true, d = false },
      decode '{"a":[1,2,{"b":"x"}],"c":true,"d":false}')
    assert.same({}, decode "{}")
    assert.same({}, decode "[]")
    assert.is_nil(getmetatable(decode "{}"))
  end)

  it("takes any value", function()
    assert.same("x", decode '"x"')
    assert.same(12, decode " 12 ")
    assert.same(true, decode "true")
    assert.equal(core.null, decode "null")
  end)

  it("leaves out members that are null, and keeps elements that are", function()
    assert.same({ b = 1 }, decode '{"a":null,"b":1}')
    -- under an id stands an element
    assert.same({ ["41"] = core.null, ["042"] = core.null, ["0"] = core.null },
      decode '{"41":null,"042":null,"0":null,"4x":null,"-1":null,"":null,"\\u0031":null}')
    local list = decode "[null,1,null]"
    assert.equal(3, #list)
    assert.equal(core.null, list[1])
    assert.equal(core.null, list[3])
    assert.equal("null", tostring(core.null))
    assert.equal("userdata", type(core.null))
    assert.is_false(getmetatable(core.null))
  end)

  it("unescapes strings and names", function()
    assert.equal('"\\/\b\f\n\r\té\0😀', decode [["\"\\\/\b\f\n\r\t\u00e9\u0000\ud83d\ude00"]])
    assert.same({ ["a\nb"] = 1 }, decode [[{"a\nb":1}]])
    local long = ("x"):rep(100000)
    assert.equal(long .. "\n", decode('"' .. long .. '\\n"'))
  end)

  it("makes integers of integers", function()
    for text, n in pairs { ["0"] = 0, ["-0"] = 0, ["16"] = 16, ["-7"] = -7,
      ["9007199254740992"] = 2 ^ 53, ["-9007199254740992"] = -2 ^ 53 } do
      assert.equal(n, decode(text))
      assert.equal(integers and "integer" or "number", kind(decode(text)))
    end
    assert.equal("16", tostring(decode "16"))
  end)

  it("keeps the text of integers that no number keeps", function()
    if integers then
      assert.equal(math.maxinteger, decode "9223372036854775807")
      assert.equal(math.mininteger, decode "-9223372036854775808")
    else
      assert.equal("9007199254740993", decode "9007199254740993")
      assert.equal("-9007199254740993", decode "-9007199254740993")
    end
    for _, text in ipairs { "9223372036854775808", "-9223372036854775809",
      "123456789012345678901234567890" } do
      assert.equal(text, decode(text))
    end
  end)

  it("makes doubles of up to 15 digits", function()
    for text, n in pairs { ["19.90"] = 19.9, ["-0.1"] = -0.1, ["1.0"] = 1.0, ["1e3"] = 1000.0,
      ["123456789012.345"] = 123456789012.345, ["1e22"] = 1e22, ["5E-22"] = 5e-22 } do
      assert.equal(n, decode(text))
      assert.equal(integers and "float" or "number", kind(decode(text)))
    end
    assert.equal(-math.huge, 1 / decode "-0.0")
  end)

  it("keeps the text of decimals that no double keeps", function()
    for _, text in ipairs { "0.1234567890123456", "12345678901234.567", "1e400", "1e-400",
      "1e23", "1.0000000000000001" } do
      assert.equal(text, decode(text))
    end
  end)

  it("does not look at the locale", function()
    local old = os.setlocale(nil, "numeric")
    for _, name in ipairs { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8" } do
      if os.setlocale(name, "numeric") then break end
    end
    local price, text = decode "19.90", json.encode { 19.9, 1e300 }
    os.setlocale(old, "numeric")
    assert.equal(19.9, price)
    assert.equal("[19.9,1e+300]", text)
  end)

  it("refuses a member that comes twice, at any depth, however it is spelt", function()
    for text, byte in pairs {
      ['{"a":1,"a":1}'] = 8,
      ['{"a":null,"a":1}'] = 11,
      ['[{"x":{"b":1,"c":2,"b":3}}]'] = 20,
      ['{"a":1,"\\u0061":2}'] = 8,
    } do
      local value, why = decode(text)
      assert.is_nil(value)
      assert.equal("a member comes twice at byte " .. byte, why)
    end
    local many = {}
    for i = 1, 100 do many[i] = ('"k%d":%d'):format(i, i) end
    local text = "{" .. table.concat(many, ",")
    assert.equal(100, decode(text .. "}").k100)
    assert.is_nil(decode(text .. ',"k1":0}'))
    assert.is_nil(decode(text .. ',"\\u006b50":null}'))
  end)

  it("says what is wrong and where, but not with what", function()
    for text, why in pairs {
      [""] = "the text is empty at byte 1",
      ["[1,"] = "the text ends too early at byte 4",
      ["[secret]"] = "a value was expected at byte 2",
      ["{secret}"] = "a name was expected at byte 2",
      ['{"a" 1}'] = "a colon was expected at byte 6",
      ["[1 2]"] = "a comma or a closing bracket was expected at byte 4",
      ["{} {}"] = "bytes after the value at byte 4",
      ["[01]"] = "invalid number at byte 2",
      ['"a\255"'] = "invalid UTF-8 at byte 3",
      ['"a\nb"'] = "control character in a string at byte 3",
      ['"\\x"'] = "invalid escape at byte 3",
      ['"\\ud800"'] = "lone surrogate at byte 4",
      [("["):rep(65)] = "nested deeper than 64 at byte 65",
      ["\239\187\191{}"] = "a value was expected at byte 1",
      ["[]\0"] = "bytes after the value at byte 3",
    } do
      local value, message = decode(text)
      assert.is_nil(value)
      assert.equal(why, message)
    end
  end)

  it("goes 64 deep", function()
    local value = decode(("["):rep(63) .. "{}" .. ("]"):rep(63))
    for _ = 1, 63 do value = value[1] end
    assert.same({}, value)
  end)

  it("gives its room back after a large text, and goes on", function()
    local large = "[" .. ("1,"):rep(200000) .. "1]"
    assert.equal(200001, #decode(large))
    assert.same({ 1 }, decode "[1]")
  end)

  it("can be called from a finalizer while it decodes", function()
    local inner, wrong = 0, 0
    local function finalizer()
      if not (decode '{"x":["\\u0041",2]}' or {}).x then wrong = wrong + 1 end
      inner = inner + 1
    end
    local function litter()
      if not newproxy then return setmetatable({}, { __gc = finalizer }) end
      local proxy = newproxy(true)
      getmetatable(proxy).__gc = finalizer
    end
    local text = "[" .. ('{"a":"\\u0042","b":[1,2,3]},'):rep(2000) .. "0]"
    local rounds = 0
    repeat -- how soon garbage is collected depends on all that other specs have left
      rounds = rounds + 1
      for _ = 1, 20 do litter() end
      local value = decode(text)
      for i = 1, 2000 do
        if value[i].a ~= "B" or value[i].b[3] ~= 3 then wrong = wrong + 1 end
      end
    until rounds >= 20 and inner > 0 or rounds == 5000
    assert.is_true(inner > 0)
    assert.equal(0, wrong)
  end)

  it("raises for what is not a string", function()
    assert.error_matches(function() decode(12) end, "string expected")
    assert.error_matches(function() decode() end, "string expected")
  end)
end)

describe("digest", function()
  local digest = core.digest

  it("is the SHA-256 of the canonical text", function()
    assert.equal("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", digest " { } ")
  end)

  it("does not see order, white space, escapes and the spelling of integers", function()
    local one = digest [[{"b":[1,100,true],"a":"é/"}]]
    assert.equal(64, #one)
    assert.equal(one, digest ' { "a" : "\\u00e9\\/" , "b" : [ 1.0 , 1e2 , true ] }\n')
    for _, other in ipairs { [[{"b":[1,100,true],"a":"e/"}]], [[{"b":[100,1,true],"a":"é/"}]],
      [[{"b":[1,100,true],"a":"é/","c":null}]], [[{"b":["1",100,true],"a":"é/"}]] } do
      assert.not_equal(one, digest(other))
    end
  end)

  it("cannot be fooled by quotes in strings", function()
    assert.not_equal(digest [=[["a","b"]]=], digest [=[["a\",\"b"]]=])
  end)

  it("leaves out members of the top object by name", function()
    assert.equal(digest '{"a":{"id":1}}', digest('{"id":7,"a":{"id":1},"t":0}', { "id", "t" }))
    assert.equal(digest '{"a":1}', digest('{"a":1}', {}))
  end)

  it("refuses a member that comes twice, and what is not JSON", function()
    assert.same({ nil, "a member comes twice" }, { digest '{"a":1,"a":1}' })
    assert.same({ nil, "the text ends too early at byte 2" }, { digest "[" })
  end)

  it("raises for a wrong list of names", function()
    assert.error_matches(function() digest("{}", "id") end, "table expected")
    assert.error_matches(function() digest("{}", { 1 }) end, "a list of names expected")
  end)

  it("takes large, deep and unordered texts", function()
    local members = {}
    for i = 1, 20000 do members[i] = ('"%d":{"b":[],"a":%d}'):format((i * 7919) % 20011, i) end
    local text = "{" .. table.concat(members, ",") .. "}"
    local one = digest(text)
    for i = 1, 10000 do members[i], members[20001 - i] = members[20001 - i], members[i] end
    assert.equal(one, digest("{" .. table.concat(members, ",") .. "}"))
  end)
end)

describe("read", function()
  it("reads what decode takes, and what has come otherwise", function()
    for _, text in ipairs { '{"a":[1,2.5,"x",true,null],"b":null}', '"\\ud83d\\ude00"', "17" } do
      assert.same(core.decode(text), core.read(text))
    end
    assert.same({ a = "x\239\191\189", b = "\239\191\189y\239\191\189", c = "\n\0" },
      core.read '\239\187\191{"a":"x\\ud83d","b":"\255y\192","c":"\n\\u0000"}')
    assert.same({ a = 2, c = 1 }, core.read '{"a":1,"a":2,"b":1,"b":null,"c":null,"c":1}')
    assert.equal("1e999", core.read "1e999")
    local value = core.read(("["):rep(70) .. ("]"):rep(70))
    for _ = 1, 64 do value = value[1] end
    assert.equal("[[[[[[]]]]]]", value)
  end)

  it("says what is wrong with what is no JSON", function()
    assert.same({ nil, "the text ends too early at byte 7" }, { core.read '{"a":1' })
    assert.same({ nil, "the text is empty at byte 1" }, { core.read "" })
  end)
end)

describe("redact", function()
  it("hides values by name at any depth and leaves the rest as it was", function()
    assert.equal('{ "key" : "***", "a":[{"secret":"***"}] }',
      core.redact('{ "key" : {"x":[1]}, "a":[{"secret":null}] }', { "key", "secret" }))
    assert.equal([[{"\u006bey":"***"}]], core.redact([[{"\u006bey":1}]], { "key" }))
    assert.equal(" [1] ", core.redact(" [1] ", {}))
    assert.equal([[{"APIKEY":"***","api_key":"***","Api-Key":"***","apiKeys":1}]],
      core.redact([[{"APIKEY":1,"api_key":1,"Api-Key":1,"apiKeys":1}]], { "apiKey" }))
    local long = ("a"):rep(300) -- too long to be looked at
    assert.equal(('{"%s":"***"}'):format(long), core.redact(('{"%s":1}'):format(long), { "b" }))
    assert.equal(('[{"name":"%s","value":"***"}]'):format(long),
      core.redact(('[{"name":"%s","value":1}]'):format(long), { "b" }))
  end)

  it("goes by what a { name, value } says, and by the place", function()
    local names = { "*key", "password" }
    assert.equal('[{"name":"Signer_Key","value":"***"},{"name":"a","value":1}]',
      core.redact('[{"name":"Signer_Key","value":{"a":[1]}},{"name":"a","value":1}]', names))
    assert.equal('[{"value":"***","key":"***"}]',
      core.redact('[{"value":7,"key":"pass\\u0077ord"}]', names))
    assert.equal('{"params":{"type":"t","a":["***",{"b":"***","c":null}]},"a":1}',
      core.redact('{"params":{"type":"t","a":[1,{"b":true,"c":null}]},"a":1}', {},
        { "params" }, { "type" }))
  end)

  it("leaves of what is no JSON what comes before a secret", function()
    assert.equal('{"***', core.redact('{"key":', { "key" }))
    assert.equal('{"a":1,"***', core.redact('{"a":1,"key":"s', { "key" }))
    assert.equal("a=1&***", core.redact("a=1&Key=s", { "key" }))
    assert.equal("nothing", core.redact("nothing", { "key" }))
  end)
end)

describe("stringify", function()
  it("writes what JSON.stringify would", function()
    assert.equal('{"b":1.0,"a":["é/\\n\\u0001"]}',
      core.stringify ' { "b" : 1.0 , "a" : [ "\\u00e9\\/\\u000a\\u0001" ] } ')
  end)

  it("refuses what is not JSON", function()
    assert.same({ nil, "the text is empty at byte 1" }, { core.stringify "" })
  end)
end)

describe("stream", function()
  -- the elements of a text in two pieces, by the stream's method, and the error
  local function cut(text, at, under, limit, method)
    local stream, out = core.stream(under, limit or 1000), {}
    for _, piece in ipairs { text:sub(1, at), text:sub(at + 1) } do
      local fed, why = stream:feed(piece)
      if not fed then return out, why end
      local element
      repeat
        element, why = stream[method](stream)
        out[#out + 1] = element
      until element == nil
      if why then return out, why end
    end
    return out, select(2, stream:finish())
  end

  local function each_cut(text, under, want, error, limit)
    for at = 0, #text do
      local elements, why = cut(text, at, under, limit, "next")
      assert.same(want, elements)
      assert.equal(error, why)
      local values, why_not = cut(text, at, under, limit, "value")
      for i, element in ipairs(want) do
        assert.same(core.decode(element), values[i])
      end
      assert.equal(#want, #values)
      assert.equal(error, why_not)
    end
  end

  it("cuts lists and maps, wherever the text is cut", function()
    each_cut(' [ {"a":"]\\"}"} , 2 ,[],"\\\\", null ] ', nil,
      { '{"a":"]\\"}"}', "2", "[]", '"\\\\"', "null" })
    each_cut('{"100":{"id":100},"\\u0031":{"id":1}}', nil, { '{"id":100}', '{"id":1}' })
    each_cut("[]", nil, {})
    each_cut("{}", nil, {})
  end)

  it("tells what an element of an object stands under, wherever the text is cut", function()
    local function names(text, at, under)
      local stream, out = core.stream(under), {}
      for _, piece in ipairs { text:sub(1, at), text:sub(at + 1) } do
        assert(stream:feed(piece))
        while true do
          local value, why, name = stream:value()
          assert.is_nil(why)
          if value == nil then break end
          out[#out + 1] = name or false
        end
      end
      assert(stream:finish())
      return out
    end
    local long = ("1"):rep(40)
    for text, want in pairs {
      ['{"100":{"99":1},"":[],"\\u0031":null,"' .. long .. '":5}'] =
        { "100", "", "\\u0031", long:sub(1, 32) },
      ['[{"a":1},null]'] = { false, false },
    } do
      for at = 0, #text do assert.same(want, names(text, at)) end
    end
    assert.same({ "2" }, names('{"x":1,"list":{"2":{"3":4}},"y":2}', 20, "list"))
  end)

  it("finds the list under a member", function()
    each_cut('{"next":{"x":[1,"]"]},"count":2,"invoices":[{"a":1},{"b":2}],"z":null}', "invoices",
      { '{"a":1}', '{"b":2}' })
    each_cut('{"\\u0061":{"1":10}}', "a", { "10" })
    each_cut('{"a":[]}', "a", {})
  end)

  it("refuses what is torn, doubled, missing or wrong", function()
    each_cut("[1,2", nil, { "1" }, "the text ends too early")
    each_cut('[1,"2', nil, { "1" }, "the text ends too early")
    each_cut("[1,2] x", nil, { "1", "2" }, "bytes after the value at byte 7")
    each_cut("[1,]", nil, { "1" }, "a value was expected at byte 4")
    each_cut('{"b":1}', "a", {}, "the list is missing")
    each_cut('{"a":1}', "a", {}, "a list was expected at byte 6")
    each_cut('{"a":[],"a":[]}', "a", {}, "a member comes twice at byte 9")
    each_cut('{"b":tru,"a":[]}', "a", {}, "a value was expected at byte 6")
    each_cut("<html>", nil, {}, "a list was expected at byte 1")
    each_cut(("["):rep(65), nil, {}, "nested deeper than 64 at byte 65")
  end)

  it("says what is wrong with an element, wherever the text is cut", function()
    local deep = ("["):rep(64) .. ("]"):rep(64)
    for text, message in pairs {
      ['[{"a":1},{"a":2,}]'] = "a name was expected at byte 8",
      ['[{"a":1},{"a":2,"\\u0061":3}]'] = "a member comes twice at byte 8",
      ['[{"a":1},["\255"]]'] = "invalid UTF-8 at byte 3",
      ['[{"a":1},' .. deep .. "]"] = "nested deeper than 64 at byte 73",
    } do
      for at = 0, #text do
        local values, why = cut(text, at, nil, nil, "value")
        assert.same({ { a = 1 } }, values)
        assert.equal(message, why)
      end
    end
  end)

  it("gives what decode gives, however many names its elements have", function()
    local elements = { [[{"a":null,"b":1,"":2,"\u0063":3,"\u00fc":4}]], [[{"a":5,"b":null,"c":6}]] }
    for i = 1, 700 do -- more names than are kept, and some that are too long
      elements[#elements + 1] = ('{"a":%d,"n%d":[{"a":{"%s%d":true},"b":null}],"b":"x"}'):format(i,
        i % 400, ("long"):rep(i % 12), i)
    end
    local stream, n = core.stream(), 0
    stream:feed("[" .. table.concat(elements, ",") .. "]")
    for value in function() return (stream:value()) end do
      n = n + 1
      assert.same(core.decode(elements[n]), value)
    end
    assert.equal(#elements, n)
    assert.is_true(stream:finish())
  end)

  it("refuses an element with a member twice, whatever names came before", function()
    for _, name in ipairs { "a", "b", ("long"):rep(20), "" } do
      local first = ('{"a":null,"%s1":{"b":1}}'):format(name)
      local twice = ('{"c":{"%s":null,"d":2,"%s":3}}'):format(name, name)
      local stream = core.stream()
      stream:feed(("[%s,%s,%s]"):format(first, first, twice))
      assert.same({ core.decode(first), nil }, { stream:value() })
      assert.same({ core.decode(first), nil }, { stream:value() })
      assert.same({ core.decode(twice) }, { stream:value() })
      assert.same({ nil, ("a member comes twice at byte %d"):format(21 + #name) },
        { core.decode(twice) })
    end
  end)

  it("is not used while an element of it is decoded", function()
    local stream, inside, values = core.stream(), 0, 0
    local function finalizer()
      local _, message = pcall(stream.value, stream)
      if message == "the stream is in use" then inside = inside + 1 end
    end
    local function lay() -- what calls it while tables are made
      if newproxy then
        getmetatable(newproxy(true)).__gc = finalizer
      else
        setmetatable({}, { __gc = finalizer })
      end
    end
    -- all the time, however much there is; a large heap takes several rounds
    local pause, step = collectgarbage("setpause", 1), collectgarbage("setstepmul", 1000)
    stream:feed "["
    for _ = 1, 200 do
      if inside > 0 then break end
      stream:feed(('{"a":["b"]},'):rep(20000))
      while inside == 0 and stream:value() do
        values = values + 1
        lay()
      end
    end
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", step)
    assert.is_true(inside > 0 and values > 0)
  end)

  it("holds elements to a limit", function()
    each_cut('["12345678","123456789"]', nil, { '"12345678"' },
      "element larger than 10 bytes", 10)
  end)

  it("stays broken, and says so again", function()
    local stream = core.stream(nil, 10)
    assert.is_true(stream:feed "x")
    for _ = 1, 2 do
      assert.same({ nil, "a list was expected at byte 1" }, { stream:next() })
    end
    assert.same({ nil, "a list was expected at byte 1" }, { stream:feed "[" })
    assert.same({ nil, "a list was expected at byte 1" }, { stream:finish() })
  end)

  it("does not call it whole while elements are unread", function()
    local stream = core.stream()
    stream:feed "[1]"
    assert.same({ nil, "elements were left unread" }, { stream:finish() })
  end)

  it("raises for wrong arguments", function()
    assert.error_matches(function() core.stream(nil, 0) end, "limit out of range")
    assert.error_matches(function() core.stream(1) end, "string expected")
    assert.error_matches(function() core.stream():feed(1) end, "string expected")
    assert.error_matches(function() core.stream().feed({}, "") end, "billhook.json.stream")
  end)
end)

describe("encode", function()
  it("writes lists, objects in order, and scalars", function()
    assert.equal('{"a":[1,2],"b":{},"c":true,"d":null,"e":"é/\\n"}',
      json.encode { b = {}, a = { 1, 2 }, e = "é/\n", c = true, d = json.null })
    assert.equal('"x"', json.encode "x")
    assert.equal("false", json.encode(false))
  end)

  it("writes an empty table as an object, and as a list where that was said", function()
    assert.equal('{"items":[]}', json.encode { items = json.array {} })
    assert.equal("[1]", json.encode(json.array { 1 }))
    assert.equal("{}", json.encode {})
  end)

  it("keeps every digit of numbers", function()
    for text, n in pairs { ["16"] = 16.0, ["0"] = -0.0, ["19.99"] = 19.99, ["0.1"] = 0.1,
      ["0.30000000000000004"] = 0.1 + 0.2, ["9007199254740991"] = 2 ^ 53 - 1,
      ["12345678901234.56"] = 12345678901234.56 } do
      assert.equal(text, json.encode(n))
    end
    if integers then assert.equal("9223372036854775807", json.encode(math.maxinteger)) end
    assert.equal("[1e+22]", json.encode { 1e22 })
  end)

  it("writes decimals as strings", function()
    local decimal = require("billhook.core").decimal
    assert.equal('{"price":"19.90"}', json.encode { price = decimal.new "19.90" })
  end)

  it("writes numbers with all the digits that they came with", function()
    local decimal = require("billhook.core").decimal
    for text, value in pairs { ["9.90"] = decimal.new "9.90", ["-0.5"] = -0.5, ["300"] = 300,
      ["92233720368547758.07"] = "92233720368547758.07", ["0.00"] = "0.00" } do
      assert.equal('{"amount":' .. text .. "}", json.encode { amount = json.number(value) })
      assert.equal(text, tostring(json.number(value)))
    end
    assert.equal("[1.10,\"1.10\"]", json.encode { json.number "1.10", "1.10" })
    for _, value in ipairs { "1e3", "1.", "", "NaN", {}, true, 0.1 + 0.2 } do
      local _, message = pcall(function() json.number(value) end)
      assert.matches("^%S*json_spec.lua:%d+: json%.number: ", message)
    end
    for _, text in ipairs { '1,"x":2', "1.", "-", " 1", 5 } do
      local forged = setmetatable({ text }, getmetatable(json.number "1"))
      assert.error_matches(function() json.encode { n = forged } end, "no number %(value at n%)")
    end
  end)

  it("comes back the same", function()
    local value = { id = 7, list = { 1, { x = "y" }, json.null }, price = "1.50", ok = true }
    assert.same(value, json.decode(json.encode(value)))
  end)

  it("raises for what is not JSON, and says where", function()
    local circle = {}
    circle[1] = circle
    for why, value in pairs {
      ["a function is not JSON %(value at items%.2%.f%)"] = { items = { 1, { f = print } } },
      ["keys must be all names or 1 to n"] = { 1, x = 2 },
      ["keys must be all names or 1 to n %(value at a%)"] = { a = { [3] = 1 } },
      ["not a finite number %(value at n%)"] = { n = 0 / 0 },
      ["not a finite number %(value at 1%)"] = { -math.huge },
      ["invalid UTF%-8 %(value at s%)"] = { s = "\255" },
      ["invalid UTF%-8 in a name"] = { ["\255"] = 1 },
      ["nested deeper than 64"] = circle,
    } do
      local _, message = pcall(function() json.encode(value) end)
      assert.matches("^%S*json_spec.lua:%d+: json%.encode: " .. why, message)
    end
    assert.error_matches(function() json.encode(nil) end, "a nil is not JSON")
  end)

  it("raises where array gets no plain table", function()
    assert.error_matches(function() json.array "x" end,
      "json.array: 'list' must be a table, got string")
    assert.error_matches(function() json.array(setmetatable({}, {})) end, "'list' has a metatable")
  end)
end)
