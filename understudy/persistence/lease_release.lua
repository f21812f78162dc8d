-- KEYS = holder records; ARGV: token, my session id. Deletes those that name me; answers {token, how many}.
local count = 0
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[2] then
    count = count + redis.call('DEL', KEYS[i])
  end
end
return {ARGV[1], count}
