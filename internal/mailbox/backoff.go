package mailbox

import (
	"encoding/binary"
	"hash/fnv"
	"time"

	"github.com/postroom/postroom/internal/fault"
)

// The back-off after failed polls: the first wait of a class and the factor from one failure to the next.
const (
	BackoffCap       = time.Hour // the longest wait that a failure makes
	transientFirst   = time.Minute
	transientFactor  = 2
	authFirst        = 5 * time.Minute // a refused log-in that is repeated too often locks accounts
	authFactor       = 4
	jitterShare      = 0.2 // of the wait, either way
	shortestInterval = time.Second
)

// Backoff returns how long to wait after a poll that failed with class, failures times in a row (the first is 1).
// Transient: 1 min, doubled up to 1 h; Auth: 5 min, 20 min, 1 h; Permanent: 1 h. It is spread by a fifth either way with
// jitter, a random number in [0, 1), and never shorter than the mailbox's own interval.
//
// Stopping is nobody's failure and waits for nothing: 0. Classes without a rule are treated as Transient.
func Backoff(class fault.Class, failures int, interval time.Duration, jitter float64) time.Duration {
	var wait time.Duration
	switch class {
	case fault.Stopping:
		return 0
	case fault.Permanent:
		wait = BackoffCap
	case fault.Auth:
		wait = grow(authFirst, authFactor, failures)
	default:
		wait = grow(transientFirst, transientFactor, failures)
	}
	wait += time.Duration(float64(wait) * jitterShare * (2*jitter - 1))
	return max(wait, interval)
}

// grow returns first × factor^(failures-1), at most BackoffCap.
func grow(first time.Duration, factor, failures int) time.Duration {
	wait := first
	for range failures - 1 {
		if wait >= BackoffCap {
			break
		}
		wait *= time.Duration(factor)
	}
	return min(wait, BackoffCap)
}

// Spread returns a wait in [1 s, interval] that depends on the mailbox alone. It stands between a mailbox's first two
// polls, so that mailboxes that were enabled together are not polled together for ever after.
func Spread(mailboxID int64, interval time.Duration) time.Duration {
	if interval <= shortestInterval {
		return interval
	}
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], uint64(mailboxID))
	h := fnv.New64a()
	_, _ = h.Write(id[:]) // a hash takes everything
	return shortestInterval + time.Duration(h.Sum64()%uint64(interval-shortestInterval+1))
}
