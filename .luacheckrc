-- What the code may use of the two Luas, of nginx and of busted.
std = "lua54+luajit"
max_line_length = 100
files["lua/billhook/openresty.lua"].read_globals = { "ngx" }
files["lua/billhook/transport"].read_globals = { "ngx" }
files["lua/billhook/nginx"].read_globals = { "ngx" }
files["lua/billhook/shared"].read_globals = { "ngx" }
files["lua/billhook/sandbox"].read_globals = { "ngx" }
files["lua/billhook/sandbox"].globals = { "ngx" }
files["spec"].std = "lua54+luajit+busted"
files["spec/support/standin"].read_globals = { "ngx" }
files["bench"].ignore = { "111", "112", "113" } -- wrk's scripts work by globals
files["lua/billhook/*meta.lua"].ignore = { "212" }
