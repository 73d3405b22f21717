-- Tell the gates of a held claim what a model call came to that nobody settles.
-- ARGV: delivery, owner, tokens, '1' if the server refused because of its limits or '', ms for which it wants no more.
-- Answers 'ok', or 'gone' when the claim is not held.
local f = call('HMGET', delivery_key(ARGV[1]), 'owner', 'gates')
if f[1] ~= ARGV[2] then return 'gone' end
even_if_full()
if f[2] then gate_report(f[2], clock(), ARGV[3], ARGV[4] ~= '', ARGV[5]) end
return 'ok'
