-- Delete a dead letter and its entry in the list. ARGV: delivery. Returns 1, or 0 if there was none.
even_if_full()
for _, entry in ipairs(call('XREVRANGE', P .. ':dead', '+', '-')) do
  if entry[2][2] == ARGV[1] then call('XDEL', P .. ':dead', entry[1]) end
end
return call('DEL', P .. ':dead:' .. ARGV[1])
