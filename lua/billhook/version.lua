-- version.lua: for the User-Agent, and whoever asks.

return "0.1.0"
