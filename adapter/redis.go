package adapter

import "strings"

// redisRefusals are the prefixes of errors with which Redis refuses a command or a
// script before it writes anything.
var redisRefusals = []string{
	"OOM", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MISCONF", "NOREPLICAS",
	"NOAUTH", "WRONGPASS", "NOPERM", "NOSCRIPT", "MOVED", "ASK", "ERR max number of clients reached",
}

// RedisRefused reports whether an error text of Redis means that it refused the
// command and wrote nothing.
func RedisRefused(text string) bool { return hasPrefix(text, redisRefusals) }

// redisConnectionRefusals are the prefixes of errors with which Redis will refuse
// every command on the same connection.
var redisConnectionRefusals = []string{"LOADING", "READONLY", "MASTERDOWN", "NOAUTH"}

// RedisCondemns reports whether an error text of Redis means that the connection
// should be closed. The server will refuse every further command on it, because it
// became a replica, is still loading, or wants a new login. A new connection may
// reach another server.
func RedisCondemns(text string) bool { return hasPrefix(text, redisConnectionRefusals) }

func hasPrefix(text string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// RedisErrorText returns the text of a Redis error. It omits the arguments that
// Redis quotes of an unknown command, and the "redis: " at the beginning of go-redis's
// own errors, since callers say that it was Redis.
func RedisErrorText(err error) string {
	text, _, _ := strings.Cut(ErrorText(err, 0), ", with args")
	return strings.TrimPrefix(text, "redis: ")
}
