//! The names of what is kept in Redis, and the one script that works on it.
//!
//! The layout's version is in every key, so balancers of two layouts pass by each other instead of misreading. The pool
//! is a hash tag: in a cluster all of its keys are in one slot, which is what lets one script use them together.

/// Version of the keys and of the messages in them.
const LAYOUT: u32 = 1;

/// The keys of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// A sorted set: balancers by when they were last heard (milliseconds of Redis's clock).
    pub(super) live: String,
    /// A hash: what each said last.
    pub(super) said: String,
    /// A number: blocks of turns reserved so far.
    pub(super) turns: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, pool: &str) -> Self {
        let key = |name| format!("{prefix}:{LAYOUT}:{{{pool}}}:{name}");
        Keys { live: key("live"), said: key("said"), turns: key("turns") }
    }
}

/// One round. KEYS: live, said, turns. ARGV: who, what (empty: farewell), time to live (ms), blocks.
///
/// Returns now (ms), the first block reserved, who was heard when, and what was said, as of before it spoke: under the own
/// name stands what this balancer said last, or somebody else of its name. A script, because who is gone must
/// go from the set and the hash together, the clock must be Redis's own, and a block must have one owner.
///
/// Who was heard later than now was heard by another clock: Redis's was turned back, or another server is master. Whoever
/// lives comes again within a second; a dead one would stay for as long as the clocks differ.
///
/// Everything expires once nobody has come for a while; the turns last a day, so that a pause does not repeat any.
pub(super) const ROUND: &str = r"
if redis.replicate_commands then redis.replicate_commands() end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local who, what, ttl, blocks = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if what == '' then
  redis.call('ZREM', KEYS[1], who)
  redis.call('HDEL', KEYS[2], who)
  return {now, 0, {}, {}}
end
local function forget(from, to)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], from, to)) do
    redis.call('ZREM', KEYS[1], name)
    redis.call('HDEL', KEYS[2], name)
  end
end
forget('-inf', string.format('%.0f', now - ttl))
forget(string.format('(%.0f', now + ttl), '+inf')
local live, said = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[2])
redis.call('ZADD', KEYS[1], string.format('%.0f', now), who)
redis.call('HSET', KEYS[2], who, what)
redis.call('PEXPIRE', KEYS[1], ttl * 6)
redis.call('PEXPIRE', KEYS[2], ttl * 6)
local first = 0
if blocks > 0 then
  first = redis.call('INCRBY', KEYS[3], blocks) - blocks
  redis.call('PEXPIRE', KEYS[3], 86400000)
end
return {now, first, live, said}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_prefix_version_and_one_tag() {
        let keys = Keys::new("ballast", "web");
        assert_eq!(keys.live, "ballast:1:{web}:live");
        assert_eq!(
            (keys.said.as_str(), keys.turns.as_str()),
            ("ballast:1:{web}:said", "ballast:1:{web}:turns")
        );
    }
}
