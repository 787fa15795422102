package poller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postroom/postroom/internal/fault"
)

// grace is for how long writing what was fetched may go on after the poll's deadline.
const grace = 15 * time.Second

// errTimeOver is in the errors that say that the poll's time was not enough. They are no server's and no message's fault.
var errTimeOver = errors.New("the poll's time is over")

// clock is how a poll's time is divided. Zero times: there is no limit.
type clock struct {
	soft time.Time // no further batch is begun: four fifths of the time
	hard time.Time // the server is not waited for any longer: nine tenths, the rest is for writing
	end  time.Time
}

func clockOf(ctx context.Context) clock {
	end, ok := ctx.Deadline()
	if !ok {
		return clock{}
	}
	all := time.Until(end)
	return clock{soft: end.Add(-all / 5), hard: end.Add(-all / 10), end: end}
}

// late reports whether no further batch is to be begun.
func (c clock) late() bool { return !c.soft.IsZero() && time.Now().After(c.soft) }

// network does something with the server until the hard deadline. What that cuts off fails with errTimeOver.
func (c clock) network(ctx context.Context, do func(context.Context) error) error {
	if c.hard.IsZero() {
		return do(ctx)
	}
	limited, cancel := context.WithDeadline(ctx, c.hard)
	defer cancel()
	err := do(limited)
	if err == nil || limited.Err() == nil || errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	return fault.New(fault.Transient, "poll_too_slow", "raise poll_timeout of the profile, or look at why the server is slow",
		fmt.Errorf("%w: %w", errTimeOver, err))
}

// lasting returns a context that survives the poll's deadline by grace, but not that the poll is cancelled.
func (c clock) lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.end.IsZero() {
		return context.WithCancel(ctx)
	}
	out, cancel := context.WithDeadline(context.WithoutCancel(ctx), c.end.Add(grace))
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel()
		}
	})
	return out, func() { stop(); cancel() }
}

// reserve waits until so many octets may be held, and returns how to give them back. Polls that wait here wait for each
// other, not for their servers.
func (r *run) reserve(ctx context.Context, octets int64) (release func(), err error) {
	octets = min(max(octets, 1), r.MaxInFlight)
	limited, until := ctx, r.soft
	if r.late() {
		until = r.hard
	}
	if !until.IsZero() {
		var cancel context.CancelFunc
		limited, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	if err := r.InFlight.Acquire(limited, octets); err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, err
		}
		return nil, fault.New(fault.Transient, "octets_in_flight", "raise limits.octets_in_flight, or lower scheduler.workers",
			fmt.Errorf("other polls held the memory for %d octets: %w", octets, errTimeOver))
	}
	return func() { r.InFlight.Release(octets) }, nil
}
